// A real origin, the whole proxy with its control plane before it, and the four ways to that origin which every HTTP client is played over:
// straight, and through the proxy as injection sends it there (endpoints, hosts, HTTPS_PROXY).
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { startControl, type Control } from "../../../cli/dev/control.ts";
import { freePorts } from "../../../cli/dev/ports.ts";
import type { AddressMap } from "../../../contract/addresses.ts";
import { trustEnvironment } from "../../../contract/trust.ts";
import { annotations } from "../../../operator/injection/names.ts";
import { startProxy, type RunningProxy } from "../../../proxy/start.ts";
import { writeTrust } from "../../../proxy/tls/trust.ts";
import { issueServerCertificate } from "../../integration/postgres-tls.ts";
import { startOpenAiServer } from "../../openai-server/server.ts";
import { roomAddresses, type RoomAddresses } from "./addresses.ts";
import { injectedPod, type Injected } from "./injected-pod.ts";
import {
  apiHost,
  gitHost,
  manifests,
  openaiHost,
  originHosts,
  placeholder,
  type Secrets,
} from "./manifests.ts";
import { startNames } from "./names.ts";
import { startOrigin } from "./origin.ts";

export const modes = ["endpoints", "hosts", "proxy"] as const;
export type Mode = (typeof modes)[number];

/** One way to the origin, as the environment and the names of a client's container. */
export interface Way {
  readonly name: "direct" | Mode;
  readonly apiUrl: string;
  readonly gitUrl: string;
  /** What a client would send as its own credential. */
  readonly token: string;
  readonly env: Readonly<Record<string, string>>;
  /** Lines of /etc/hosts. */
  readonly hosts: readonly string[];
}

export interface HttpRoom {
  readonly directory: string;
  /** Where the proxy's trust files lie. */
  readonly trustDirectory: string;
  readonly direct: Way;
  readonly ways: Readonly<Record<Mode, Way>>;
  close(): Promise<void>;
}

/** A few of the public ones: every client reads them all at its start, and what is tested is ours. */
const roots = rootCertificates.slice(0, 4);

const answers = { models: ["gpt-test"], steps: [{ text: "one two three" }] } as const;

export async function openHttpRoom(): Promise<HttpRoom> {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-http-"));
  const addresses = roomAddresses();
  const secrets: Secrets = {
    token: randomBytes(12).toString("hex"),
    openaiKey: `sk-${randomBytes(12).toString("hex")}`,
    anthropicKey: `sk-ant-${randomBytes(12).toString("hex")}`,
    gitPassword: randomBytes(12).toString("hex"),
  };
  const closers: (() => Promise<unknown>)[] = [
    () => rm(directory, { recursive: true, force: true }),
  ];
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).toReversed()) await closer();
  };
  try {
    const caPem = await startUpstreams(directory, addresses, secrets, closers);
    const control = await startControlPlane(directory, manifests(secrets, caPem));
    closers.push(() => control.close());
    const { interception, forwardProxy } = annotations;
    const endpoints = injectedPod(control, { [interception]: "endpoints" });
    const hosts = injectedPod(control, { [interception]: "hosts" });
    const proxied = injectedPod(control, { [interception]: "endpoints", [forwardProxy]: "true" });
    const plan = await planOf(endpoints.addresses, addresses.moved(hosts.addresses));
    const trustDirectory = join(directory, "trust");
    await mkdir(trustDirectory);
    const caFile = join(trustDirectory, "ca.crt");
    const proxy = await startWhole(control, plan, directory, caFile, addresses);
    closers.push(() => proxy.close());
    const originCa = join(directory, "origin", "ca.crt");
    await mkdir(join(directory, "origin"));
    await writeTrust(originCa, { roots, extraCAs: [], podCa: caPem });
    const setting: Setting = { directory, addresses, secrets, plan, caFile };
    return {
      directory,
      trustDirectory,
      direct: directWay(setting, originCa),
      ways: {
        endpoints: injectedWay("endpoints", endpoints, setting),
        hosts: injectedWay("hosts", hosts, setting),
        proxy: proxyWay(proxied, setting),
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

interface Setting {
  readonly directory: string;
  readonly addresses: RoomAddresses;
  readonly secrets: Secrets;
  readonly plan: AddressMap;
  readonly caFile: string;
}

/** Returns the PEM of the CA that vouches for them. */
async function startUpstreams(
  directory: string,
  addresses: RoomAddresses,
  secrets: Secrets,
  closers: (() => Promise<unknown>)[],
): Promise<string> {
  const { caPem, keyPem, certificatePem } = await issueServerCertificate(
    [...originHosts, openaiHost],
    [],
  );
  const tls = { key: keyPem, cert: certificatePem };
  const repositories = join(directory, "repositories");
  await mkdir(repositories);
  const names = new Map(originHosts.map((name) => [name, addresses.origin] as const));
  names.set(openaiHost, addresses.openai);
  const started = await Promise.all([
    startOrigin({
      address: addresses.origin,
      port: 443,
      tls,
      token: secrets.token,
      messagesKey: secrets.anthropicKey,
      repositories,
      gitPassword: secrets.gitPassword,
    }),
    startOpenAiServer({
      script: answers,
      apiKey: secrets.openaiKey,
      tls,
      host: addresses.openai,
      port: 443,
    }),
    startNames(addresses.names, names),
  ]);
  closers.push(...started.map((server) => () => server.close()));
  return caPem;
}

async function startControlPlane(directory: string, yaml: string): Promise<Control> {
  const file = join(directory, "manifests.yaml");
  await writeFile(file, yaml, { mode: 0o600 });
  return startControl({
    files: [file],
    namespace: undefined,
    serviceAccount: "agent",
    chain: undefined,
    portBase: undefined,
    state: join(directory, "state"),
    logLevel: "warn",
    say: (line) => void process.stderr.write(`${line}\n`),
  });
}

/** Both plans in one: one proxy then listens for both kinds of pod. */
async function planOf(endpoints: AddressMap, hosts: AddressMap): Promise<AddressMap> {
  const [forward = 0, ...ports] = await freePorts(endpoints.connections.length + 1);
  return {
    ...endpoints,
    forwardProxy: { address: "127.0.0.1", port: forward },
    connections: endpoints.connections.map((entry, index) => ({
      ...entry,
      hosts: hosts.connections[index]?.hosts ?? [],
      endpoint: { ...entry.endpoint, port: ports[index] ?? 0 },
    })),
  };
}

async function startWhole(
  control: Control,
  plan: AddressMap,
  directory: string,
  caFile: string,
  addresses: RoomAddresses,
): Promise<RunningProxy> {
  const resolvConf = join(directory, "resolv.conf");
  await writeFile(resolvConf, `nameserver ${addresses.names}\n`);
  return startProxy({
    subject: control.identity.subject,
    addresses: plan,
    operator: { url: control.api.origin, socketPath: control.paths.socket },
    readToken: () => control.identity.readToken(),
    stream: control.stream,
    spoolDirectory: join(directory, "spool"),
    authorityDirectory: join(directory, "authority"),
    trustFile: caFile,
    roots,
    extraCAs: [],
    resolvConf,
    version: "test",
    logger: control.logger,
    // Loopback endpoints are allowed; what a web page sends is refused; no key is asked for.
    local: { guardKey: "", keyed: () => false },
  });
}

/** What a container's image brings, and nothing of this machine's own trust or proxies; what Node compiled is kept from play to play. */
function imageEnvironment(directory: string): Record<string, string> {
  const { PATH = "", NODE_COMPILE_CACHE = "" } = process.env;
  return { PATH, NODE_COMPILE_CACHE, HOME: directory, LANG: "C.UTF-8" };
}

const inHosts = (names: readonly string[], address: string): readonly string[] =>
  names.map((name) => `${address} ${name}`);

function directWay({ directory, addresses, secrets }: Setting, originCa: string): Way {
  return {
    name: "direct",
    apiUrl: `https://${apiHost}`,
    gitUrl: `https://agent:${secrets.gitPassword}@${gitHost}/git`,
    token: secrets.token,
    env: {
      ...imageEnvironment(directory),
      ...trustEnvironment(originCa),
      OPENAI_API_KEY: secrets.openaiKey,
      ANTHROPIC_API_KEY: secrets.anthropicKey,
    },
    hosts: [...inHosts(originHosts, addresses.origin), `${addresses.openai} ${openaiHost}`],
  };
}

/** The container's environment and hostAliases as injection wrote them, with the paths and places of this room. */
function injectedWay(
  mode: "endpoints" | "hosts",
  pod: Injected,
  { directory, addresses, caFile, plan }: Setting,
): Way {
  const env = Object.fromEntries(
    Object.entries(pod.env).map(([name, value]) => [name, placed(value, pod, plan, caFile)]),
  );
  const names = [...originHosts, openaiHost];
  const hosts =
    mode === "hosts"
      ? plan.connections.flatMap((entry) =>
          entry.hosts.map(({ name, address }) => `${address} ${name}`),
        )
      : inHosts(names, addresses.nowhere);
  return {
    name: mode,
    apiUrl: env["API_URL"] ?? "",
    gitUrl: env["GIT_URL"] ?? "",
    token: placeholder,
    env: { ...imageEnvironment(directory), ...env },
    hosts,
  };
}

function placed(value: string, pod: Injected, plan: AddressMap, caFile: string): string {
  let here = value.replaceAll(pod.trustDirectory, join(caFile, ".."));
  const [asked, given] = [pod.addresses.forwardProxy?.port, plan.forwardProxy?.port];
  if (asked !== undefined) here = here.replaceAll(String(asked), String(given));
  for (const [index, { endpoint }] of pod.addresses.connections.entries()) {
    const port = plan.connections[index]?.endpoint.port ?? 0;
    here = here.replace(`${endpoint.address}:${endpoint.port}`, `${endpoint.address}:${port}`);
  }
  return here;
}

/** Programs that know nothing of the injected addresses and dial the real hosts: the Connections' own variables are left out. */
function proxyWay(pod: Injected, setting: Setting): Way {
  const { env, ...way } = injectedWay("endpoints", pod, setting);
  const named = /^(API|GIT|OPENAI|ANTHROPIC)_(BASE_)?URL$/;
  return {
    ...way,
    name: "proxy",
    apiUrl: `https://${apiHost}`,
    gitUrl: `https://${gitHost}/git`,
    env: Object.fromEntries(Object.entries(env).filter(([name]) => !named.test(name))),
  };
}
