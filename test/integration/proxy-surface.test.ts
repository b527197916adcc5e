// The proxy as injection starts it, seen from beside it: what it listens on, what a signal opens, what its process shows.
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect, type Socket } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { freePorts } from "../../cli/dev/ports.ts";
import type { AddressMap } from "../../contract/addresses.ts";
import { contextOf } from "../../operator/injection/fixture.ts";
import { proxyContainer } from "../../operator/injection/template.ts";
import { listAt } from "../../operator/kube/objects.ts";
import { newAuthority } from "../../operator/pki/authority.ts";

const isLinux = process.platform === "linux";
const skip = isLinux ? false : "reads /proc";

/** Starting reads the SQL grammar. */
const startMs = 30_000;

const token = "a-token-that-nobody-but-the-proxy-reads";
const settings = contextOf([], { operatorCa: newAuthority(Date.now()).certificate }).settings;
const [, ...command] = listAt(proxyContainer(settings, false), "command").map(String);
const flags = command.slice(0, -1);

interface Started {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly adminPort: number;
  readonly dataPorts: readonly number[];
}

const folder = mkdtempSync(path.join(tmpdir(), "chaperone-surface-"));
let proxy: Started;

function environment(adminPort: number, dataPorts: readonly number[]): NodeJS.ProcessEnv {
  const [data = 0, forward = 0] = dataPorts;
  const map: AddressMap = {
    version: 1,
    interception: "endpoints",
    forwardProxy: { address: "127.0.0.1", port: forward },
    connections: [
      {
        connection: "agents/orders-db",
        protocol: "postgres",
        scheme: "postgres",
        path: "",
        names: ["db.example"],
        hosts: [],
        port: 5432,
        endpoint: { address: "127.0.0.1", port: data },
      },
    ],
  };
  const file = (name: string, content: string): string => {
    writeFileSync(path.join(folder, name), content);
    return path.join(folder, name);
  };
  mkdirSync(path.join(folder, "ca"), { recursive: true });
  return {
    PATH: process.env["PATH"],
    CHAPERONE_OPERATOR_URL: "https://127.0.0.1:1",
    CHAPERONE_OPERATOR_CA: settings.operatorCa,
    CHAPERONE_NAMESPACE: "agents",
    CHAPERONE_SERVICE_ACCOUNT: "invoice",
    CHAPERONE_POD: "invoice-1",
    CHAPERONE_POD_UID: "uid-1",
    CHAPERONE_ADDRESSES_FILE: file("addresses", JSON.stringify(map)),
    CHAPERONE_TOKEN_FILE: file("token", token),
    CHAPERONE_SPOOL: path.join(folder, "spool"),
    CHAPERONE_AUTHORITY: path.join(folder, "ca"),
    CHAPERONE_TRUST_FILE: path.join(folder, "trust.crt"),
    CHAPERONE_ADMIN_PORT: String(adminPort),
    CHAPERONE_LOG_LEVEL: "warn",
  };
}

function launch(env: NodeJS.ProcessEnv, more: readonly string[] = []): ChildProcess {
  const program = path.join(import.meta.dirname, "../../proxy/main.ts");
  return spawn(process.execPath, [...flags, ...more, program], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
}

before(async () => {
  if (!isLinux) return;
  const [adminPort = 0, ...dataPorts] = await freePorts(3);
  const child = launch(environment(adminPort, dataPorts));
  proxy = { child, pid: child.pid ?? 0, adminPort, dataPorts };
  const deadline = Date.now() + startMs;
  for (;;) {
    const answer = await ask("/readyz").catch(() => undefined);
    if (answer?.status === 200) return;
    if (Date.now() > deadline || child.exitCode !== null)
      throw new Error(`the proxy did not start: ${String(child.stdout?.read())}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
});

after(async () => {
  if (isLinux && proxy.child.exitCode === null) {
    const ended = once(proxy.child, "exit");
    proxy.child.kill();
    await ended;
  }
  rmSync(folder, { recursive: true, force: true });
});

async function ask(at: string, init: RequestInit = {}): Promise<{ status: number; text: string }> {
  const url = `http://127.0.0.1:${proxy.adminPort}${at}`;
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(5_000) });
  return { status: response.status, text: await response.text() };
}

interface Listening {
  readonly isLoopback: boolean;
  readonly port: number;
}

/** What the process listens on, from its own descriptors and the kernel's tables. */
function listening(pid: number): readonly Listening[] {
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return []; // closed meanwhile
      }
    }),
  );
  return ["tcp", "tcp6", "udp", "udp6"].flatMap((table) =>
    readFileSync(`/proc/${pid}/net/${table}`, "utf8")
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , state, , , , , , inode]) => {
        const isListening = table.startsWith("tcp") ? state === "0A" : state === "07";
        return isListening && sockets.has(inode ?? "");
      })
      .map(([, local = ""]) => {
        const [address = "", port = ""] = local.split(":");
        const isLoopback =
          address.length === 8 ? address.endsWith("7F") : /^0{24}01000000$/.test(address);
        return { isLoopback, port: Number.parseInt(port, 16) };
      }),
  );
}

test("it listens on loopback alone, but for the admin port that the kubelet asks", { skip }, () => {
  const found = listening(proxy.pid);
  assert.deepEqual(
    found.filter(({ isLoopback }) => !isLoopback).map(({ port }) => port),
    [proxy.adminPort],
  );
  assert.deepEqual(
    found
      .filter(({ isLoopback }) => isLoopback)
      .map(({ port }) => port)
      .toSorted((a, b) => a - b),
    [...proxy.dataPorts].toSorted((a, b) => a - b),
  );
});

test("no data listener answers on another address of the machine", { skip }, async (t) => {
  const outer = Object.values(networkInterfaces())
    .flatMap((entries) => entries ?? [])
    .find(({ internal, family }) => !internal && family === "IPv4");
  if (outer === undefined) return t.skip("this machine has loopback only");
  for (const port of proxy.dataPorts) {
    const socket: Socket = connect(port, outer.address);
    const [error] = (await once(socket, "error")) as [Error & { readonly code?: string }];
    assert.equal(error.code, "ECONNREFUSED");
  }
});

test(
  "a signal opens no inspector, which it does in a Node without the flag",
  { skip },
  async () => {
    const program = "console.log('up'); setInterval(() => {}, 1e6)";
    const unguarded = spawn(process.execPath, ["--inspect-port=0", "-e", program], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    await once(unguarded.stdout, "data"); // a signal before its handler stands would end it
    unguarded.kill("SIGUSR1");
    const [said] = (await once(unguarded.stderr, "data")) as [Buffer];
    assert.match(said.toString(), /Debugger listening/);
    unguarded.kill("SIGKILL");

    const before = listening(proxy.pid).length;
    let heard = "";
    proxy.child.stderr?.on("data", (chunk: Buffer) => (heard += chunk.toString()));
    proxy.child.kill("SIGUSR1");
    // An answer to a request made afterwards comes from a turn after the signal's.
    assert.equal((await ask("/healthz")).status, 200);
    assert.equal((await ask("/healthz")).status, 200);
    assert.equal(listening(proxy.pid).length, before);
    assert.equal(heard, "");
  },
);

test(
  "neither its arguments nor its environment hold a secret, and a core dump would hold no memory",
  { skip },
  () => {
    for (const file of ["cmdline", "environ"]) {
      const text = readFileSync(`/proc/${proxy.pid}/${file}`, "utf8");
      assert.ok(text.length > 0);
      assert.doesNotMatch(text, /PRIVATE KEY|password|secret/i);
      assert.ok(!text.includes(token));
    }
    assert.equal(readFileSync(`/proc/${proxy.pid}/coredump_filter`, "utf8").trim(), "00000000");
    assert.notEqual(readFileSync("/proc/self/coredump_filter", "utf8").trim(), "00000000");
  },
);

test(
  "the admin port answers GET of three paths, and names neither hosts nor secrets",
  { skip },
  async () => {
    for (const at of ["/healthz", "/readyz", "/metrics"]) {
      const { status, text } = await ask(at);
      assert.equal(status, 200, at);
      assert.doesNotMatch(text, /db\.example|127\.0\.0\.1:1\b/);
      assert.ok(!text.includes(token));
      for (const method of ["POST", "PUT", "DELETE"])
        assert.equal((await ask(at, { method })).status, 405);
    }
    for (const at of ["/", "/debug/pprof", "/config_dump", "/quitquitquit", "/json/list"])
      assert.equal((await ask(at)).status, 404, at);
  },
);

test(
  "started with another's code or flags it ends at once and says why, without the value",
  { skip },
  async () => {
    const preload = path.join(folder, "evil.mjs");
    writeFileSync(preload, "");
    for (const [env, more, expected] of [
      [{ NODE_OPTIONS: `--import=${preload}` }, [], /NODE_OPTIONS is set/],
      [{ NODE_EXTRA_CA_CERTS: path.join(folder, "trust.crt") }, [], /NODE_EXTRA_CA_CERTS is set/],
      [{}, ["--inspect=127.0.0.1:0"], /the flag --inspect has no place/],
    ] as const) {
      const child = launch({ ...environment(1, [2, 3]), ...env }, more);
      let said = "";
      child.stdout?.on("data", (chunk: Buffer) => (said += chunk.toString()));
      const [code] = (await once(child, "exit")) as [number | null];
      assert.equal(code, 1);
      assert.match(said, expected);
      assert.ok(!said.includes(preload));
    }
  },
);
