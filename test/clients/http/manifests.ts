// The Connections and policies of the HTTP clients' tests: every host a client dials, with a credential that the agent does not hold.

export interface Secrets {
  readonly token: string;
  readonly openaiKey: string;
  readonly anthropicKey: string;
  readonly gitPassword: string;
}

export const apiHost = "api.example.test";
export const gitHost = "git.example.test";
export const openaiHost = "api.openai.com";
export const anthropicHost = "api.anthropic.com";
/** Of one origin; the scripted OpenAI API is a server of its own. */
export const originHosts: readonly string[] = [apiHost, gitHost, anthropicHost];

/** What stands in an agent's environment where a program insists on a key. */
export const placeholder = "held-by-chaperone";

export function manifests(secrets: Secrets, caPem: string): string {
  const basic = Buffer.from(`agent:${secrets.gitPassword}`).toString("base64");
  return [
    secret("origin-ca", { "ca.crt": caPem }),
    ...connection(
      "api",
      "http",
      `https://${apiHost}`,
      ["Authorization", `Bearer ${secrets.token}`],
      {
        API_URL: "${url}",
      },
    ),
    ...connection("git", "http", `https://${gitHost}`, ["Authorization", `Basic ${basic}`], {
      GIT_URL: "${url}/git",
    }),
    ...connection(
      "anthropic",
      "http",
      `https://${anthropicHost}`,
      ["x-api-key", secrets.anthropicKey],
      {
        ANTHROPIC_BASE_URL: "${url}",
        ANTHROPIC_API_KEY: placeholder,
      },
    ),
    ...connection(
      "openai",
      "openai",
      `https://${openaiHost}/v1`,
      ["Authorization", `Bearer ${secrets.openaiKey}`],
      { OPENAI_BASE_URL: "${url}", OPENAI_API_KEY: placeholder },
    ),
    policy("http", ["api", "git", "anthropic"], { name: "everything", action: "Allow", http: {} }),
    policy("models", ["openai"], {
      name: "everything",
      action: "Allow",
      llm: { operations: ["*"], models: ["*"] },
    }),
  ]
    .map((object) => JSON.stringify(object))
    .join("\n---\n");
}

function secret(name: string, stringData: Readonly<Record<string, string>>): object {
  return { apiVersion: "v1", kind: "Secret", metadata: { name, namespace: "agents" }, stringData };
}

function connection(
  name: string,
  protocol: "http" | "openai",
  url: string,
  [header, value]: readonly [string, string],
  env: Readonly<Record<string, string>>,
): readonly object[] {
  return [
    secret(name, { value }),
    {
      apiVersion: "chaperone.dev/v1alpha1",
      kind: "Connection",
      metadata: { name, namespace: "agents" },
      spec: {
        protocol,
        endpoint: {
          url,
          tls: { mode: "VerifyFull", caSecretRef: { name: "origin-ca", key: "ca.crt" } },
        },
        credential: {
          static: { secretRef: { name }, header: { name: header, value: "${value}" } },
        },
        http: { cookies: "Pass" },
        inject: { env },
      },
    },
  ];
}

function policy(name: string, connections: readonly string[], rule: object): object {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessPolicy",
    metadata: { name, namespace: "agents" },
    spec: {
      targetRefs: connections.map((target) => ({
        group: "chaperone.dev",
        kind: "Connection",
        name: target,
      })),
      subjects: [{ serviceAccounts: ["agent"] }],
      rules: [rule],
    },
  };
}
