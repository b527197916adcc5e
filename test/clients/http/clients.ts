// The HTTP clients under test: what is installed, what carries the pod's trust to each, and how each finds a proxy. The suite holds
// every word of it true, and docs/http-clients.md prints it.

/** Installed together once. */
export const pythonRequirements: readonly string[] = [
  "requests==2.34.2",
  "urllib3==2.8.0",
  "httpx[http2]==0.28.1",
  "aiohttp==3.14.5",
  "openai==3.57.0",
  "anthropic==2.14.0",
];

export const nodeRequirements: readonly string[] = [
  "axios@1.21.1",
  "openai@7.59.0",
  "@anthropic-ai/sdk@1.14.0",
];

/** Of the variables that injection sets; each one alone must do, and without them nothing may. */
export type TrustVariable =
  | "SSL_CERT_FILE"
  | "REQUESTS_CA_BUNDLE"
  | "CURL_CA_BUNDLE"
  | "GIT_SSL_CAINFO"
  | "NODE_EXTRA_CA_CERTS"
  | "JAVA_TOOL_OPTIONS";

export interface HttpClient {
  readonly name: string;
  readonly version: string;
  readonly trust: readonly TrustVariable[];
  /** How it comes to use `HTTPS_PROXY`. */
  readonly proxy: string;
  readonly scenes: number;
}

const byItself = "by itself";
const whenTold = "by `NODE_USE_ENV_PROXY`, which is set too";

function versionIn(requirements: readonly string[], name: string): string {
  for (const requirement of requirements) {
    const [, found, version] = /^(@?[^@=[]+)(?:\[\w+\])?(?:@|==)(.+)$/.exec(requirement) ?? [];
    if (found === name && version !== undefined) return version;
  }
  throw new Error(`no version of ${name} is listed`);
}

const python = (name: string): string => versionIn(pythonRequirements, name);
const npm = (name: string): string => versionIn(nodeRequirements, name);
const fromMachine = "of the machine";

export const httpClients = {
  requests: {
    name: "requests (Python)",
    version: python("requests"),
    trust: ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"],
    proxy: byItself,
    scenes: 38,
  },
  urllib3: {
    name: "urllib3 (Python)",
    version: python("urllib3"),
    trust: ["SSL_CERT_FILE"],
    proxy: "with a `ProxyManager` of the program's own",
    scenes: 36,
  },
  httpx: {
    name: "httpx (Python)",
    version: python("httpx"),
    trust: ["SSL_CERT_FILE"],
    proxy: byItself,
    scenes: 36,
  },
  httpx2: {
    name: "httpx with `http2=True` (Python)",
    version: python("httpx"),
    trust: ["SSL_CERT_FILE"],
    proxy: byItself,
    scenes: 36,
  },
  aiohttp: {
    name: "aiohttp (Python)",
    version: python("aiohttp"),
    trust: ["SSL_CERT_FILE"],
    proxy: "with `trust_env=True` of the program's own",
    scenes: 38,
  },
  openaiPython: {
    name: "OpenAI SDK (Python)",
    version: python("openai"),
    trust: ["SSL_CERT_FILE"],
    proxy: byItself,
    scenes: 5,
  },
  anthropicPython: {
    name: "Anthropic SDK (Python)",
    version: python("anthropic"),
    trust: ["SSL_CERT_FILE"],
    proxy: byItself,
    scenes: 4,
  },
  fetch: {
    name: "fetch (Node)",
    version: "24",
    trust: ["NODE_EXTRA_CA_CERTS"],
    proxy: whenTold,
    scenes: 35,
  },
  https: {
    name: "node:https",
    version: "24",
    trust: ["NODE_EXTRA_CA_CERTS"],
    proxy: whenTold,
    scenes: 38,
  },
  axios: {
    name: "axios (Node)",
    version: npm("axios"),
    trust: ["NODE_EXTRA_CA_CERTS"],
    proxy: byItself,
    scenes: 36,
  },
  openaiNode: {
    name: "OpenAI SDK (Node)",
    version: npm("openai"),
    trust: ["NODE_EXTRA_CA_CERTS"],
    proxy: whenTold,
    scenes: 5,
  },
  anthropicNode: {
    name: "Anthropic SDK (Node)",
    version: npm("@anthropic-ai/sdk"),
    trust: ["NODE_EXTRA_CA_CERTS"],
    proxy: whenTold,
    scenes: 4,
  },
  go: {
    name: "net/http (Go)",
    version: fromMachine,
    trust: ["SSL_CERT_FILE"],
    proxy: byItself,
    scenes: 42,
  },
  java: {
    name: "java.net.http.HttpClient",
    version: fromMachine,
    trust: ["JAVA_TOOL_OPTIONS"],
    proxy: "by `JAVA_TOOL_OPTIONS`",
    scenes: 36,
  },
  curl: {
    name: "curl",
    version: fromMachine,
    trust: ["CURL_CA_BUNDLE", "SSL_CERT_FILE"],
    proxy: byItself,
    scenes: 42,
  },
  curl2: {
    name: "curl --http2",
    version: fromMachine,
    trust: ["CURL_CA_BUNDLE", "SSL_CERT_FILE"],
    proxy: byItself,
    scenes: 42,
  },
  git: {
    name: "git over https",
    version: fromMachine,
    trust: ["GIT_SSL_CAINFO"],
    proxy: byItself,
    scenes: 12,
  },
} as const satisfies Readonly<Record<string, HttpClient>>;

export type ClientKey = keyof typeof httpClients;
