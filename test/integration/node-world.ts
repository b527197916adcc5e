// A node as its agent and its container runtime see it: folders of CNI, named network namespaces, and the runtime's calls of the plugin.
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:https";
import { createInterface } from "node:readline";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { provide } from "../bench/rivals.ts";
import { issueServerCertificate } from "./postgres-tls.ts";
import { lacking as lackingNetwork } from "./redirect-network.ts";

const busybox = "/bin/busybox";
const root = join(import.meta.dirname, "../..");

/** Why there can be no such node here; undefined when there can. */
export async function lacking(): Promise<string | undefined> {
  const reason =
    (await lackingNetwork()) ?? (await provide(busybox, "busybox-static", () => undefined));
  if (reason !== undefined) return reason;
  return reason;
}

export const list = `{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [ { "type": "ptp" } ]
}
`;

export interface Called {
  readonly status: number | null;
  readonly stdout: string;
  readonly json: unknown;
  readonly stderr: string;
}

export class Node {
  readonly folder: string;
  readonly conf: string;
  readonly plugins: string;
  readonly mailbox: string;
  readonly lines: string[] = [];
  readonly #env: Readonly<Record<string, string>>;
  #agent: ChildProcess | undefined;

  private constructor(folder: string, api: { readonly port: number; readonly account: string }) {
    this.folder = folder;
    this.conf = join(folder, "cni/conf");
    this.plugins = join(folder, "cni/plugins");
    this.mailbox = join(folder, "mailbox");
    this.#env = {
      PATH: process.env.PATH ?? "",
      CHAPERONE_HOST: folder,
      CHAPERONE_CNI_PLUGINS: this.plugins,
      CHAPERONE_NETNS: "/run/netns",
      CHAPERONE_MAILBOX: this.mailbox,
      CHAPERONE_NAMESPACE: "chaperone-system",
      CHAPERONE_DAEMON_SET: "chaperone-node",
      CHAPERONE_ACCOUNT: api.account,
      KUBERNETES_SERVICE_HOST: "127.0.0.1",
      KUBERNETES_SERVICE_PORT: String(api.port),
    };
  }

  static async create(
    t: TestContext,
    files: Readonly<Record<string, string>>,
    api: { readonly port: number; readonly account: string },
  ): Promise<Node> {
    const node = new Node(mkdtempSync("/tmp/chaperone-node-"), api);
    for (const folder of [node.conf, node.plugins]) mkdirSync(folder, { recursive: true });
    // In the agent's container the node's folder is mounted there.
    symlinkSync("/run/netns", join(node.folder, "netns"));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(node.conf, name), text);
    t.after(async () => {
      await node.kill();
      rmSync(node.folder, { recursive: true, force: true });
    });
    return node;
  }

  /** Ready as the kubelet would find it. */
  async start(): Promise<void> {
    const child = spawn(process.execPath, [join(root, "proxy/node/main.ts")], {
      stdio: ["ignore", "pipe", "inherit"],
      env: this.#env,
    });
    this.#agent = child;
    createInterface({ input: child.stdout }).on("line", (line) => this.lines.push(line));
    await until("the agent to be ready", () => existsSync(join(this.mailbox, "ready")));
  }

  /** As the kubelet ends a pod. */
  async stop(): Promise<void> {
    if (this.#agent === undefined) return;
    this.#agent.kill("SIGTERM");
    await once(this.#agent, "exit");
    this.#agent = undefined;
  }

  async kill(): Promise<void> {
    if (this.#agent === undefined) return;
    this.#agent.kill("SIGKILL");
    await once(this.#agent, "exit");
    this.#agent = undefined;
  }

  read(name: string): string {
    return readFileSync(join(this.conf, name), "utf8");
  }

  /** As libcni calls the plugin: with nothing of the host's programs to be found. */
  call(command: string, config: unknown, env: Readonly<Record<string, string>> = {}): Called {
    const { status, stdout, stderr } = spawnSync(join(this.plugins, "chaperone"), {
      encoding: "utf8",
      input: typeof config === "string" ? config : JSON.stringify(config),
      env: {
        PATH: "/nowhere",
        CNI_COMMAND: command,
        CNI_CONTAINERID: "0a1b",
        CNI_IFNAME: "eth0",
        ...env,
      },
      timeout: 60_000,
    });
    return { status, stdout, json: stdout === "" ? undefined : JSON.parse(stdout), stderr };
  }

  /** The same without waiting here, so that the agent may live in this process' time. */
  async callLater(
    command: string,
    config: unknown,
    env: Readonly<Record<string, string>>,
  ): Promise<Called> {
    const child = spawn(join(this.plugins, "chaperone"), {
      env: {
        PATH: "/nowhere",
        CNI_COMMAND: command,
        CNI_CONTAINERID: "0a1b",
        CNI_IFNAME: "eth0",
        ...env,
      },
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk) => (stdout += String(chunk)));
    child.stderr.on("data", (chunk) => (stderr += String(chunk)));
    child.stdin.end(JSON.stringify(config));
    await once(child, "close");
    return { status: child.exitCode, stdout, json: JSON.parse(stdout), stderr };
  }
}

/** An API server that knows one DaemonSet, and says of it what it is told to. */
export async function apiServer(t: TestContext) {
  const { caPem, certificatePem, keyPem } = await issueServerCertificate([], ["127.0.0.1"]);
  const answer = { status: 200, body: "{}" };
  const asked: string[] = [];
  const server = createServer({ key: keyPem, cert: certificatePem }, (request, response) => {
    asked.push(`${request.method} ${request.url} ${request.headers.authorization}`);
    response.writeHead(answer.status).end(answer.body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const account = mkdtempSync("/tmp/chaperone-account-");
  t.after(() => {
    server.close();
    rmSync(account, { recursive: true, force: true });
  });
  writeFileSync(join(account, "token"), "agent-token\n");
  writeFileSync(join(account, "ca.crt"), caPem);
  const address = server.address();
  return { answer, asked, account, port: Object(address).port as number };
}

export async function until(what: string, holds: () => boolean): Promise<void> {
  for (let left = 1000; left > 0; left -= 1) {
    if (holds()) return;
    await sleep(20);
  }
  throw new Error(`waited for ${what}`);
}
