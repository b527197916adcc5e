// Local mode as a user meets it: real servers, manifests in a directory, and the built `chaperone` in processes of its own.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { Backend } from "../../cli/backend.ts";
import type { Script } from "../openai-server/script.ts";
import { startOpenAiServer, type OpenAiServer } from "../openai-server/server.ts";
import {
  connectionsYaml,
  databasePolicyYaml,
  modelPolicyYaml,
  newPassword,
  schemaSql,
  tablesSql,
  type Targets,
} from "./local-manifests.ts";
import { startPostgres, type PostgresServer } from "./postgres-server.ts";
import { issueServerCertificate } from "./postgres-tls.ts";

/** The bundle that users run; `CHAPERONE_PROGRAM` names another, so that a suite can run while one is being built. */
const program =
  process.env["CHAPERONE_PROGRAM"] ?? join(import.meta.dirname, "../../dist/chaperone.mjs");
/** A loaded machine takes seconds to start a process; a lost one must fail the test, not hang it. */
const patienceMs = 60_000;

export interface Ended {
  /** Absent when a signal ended it. */
  readonly code: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ReadyConnection {
  readonly namespace: string;
  readonly name: string;
  readonly protocol: string;
  readonly address: string;
  readonly url: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface Dev {
  readonly pid: number;
  readonly stateDir: string;
  readonly caFile: string;
  readonly line: string;
  readonly databaseUrl: string;
  readonly openaiUrl: string;
  readonly openaiKey: string;
  connection(name: string): ReadyConnection;
  stdout(): string;
  stderr(): string;
  /** Waits until stderr, from a place in it on, holds the text. */
  said(text: string | RegExp, from?: number): Promise<void>;
  stop(signal?: NodeJS.Signals): Promise<Ended>;
}

export interface Servers {
  readonly postgres: PostgresServer;
  readonly openai: OpenAiServer;
  readonly targets: Targets;
  /** One statement as the superuser, past Chaperone. */
  superuser(sql: string): Promise<Record<string, unknown>[]>;
  close(): Promise<void>;
}

export interface LocalSystem {
  readonly directory: string;
  readonly manifests: string;
  readonly state: string;
  /** Writes one manifest file at once, as an editor that renames does. */
  write(file: string, text: string): Promise<void>;
  remove(file: string): Promise<void>;
  dev(options?: DevOptions): Promise<Dev>;
  /** Runs a command to its end. */
  cli(args: readonly string[], options?: RunOptions): Promise<Ended>;
  /** The same for a state command with JSON. */
  ask<T>(...args: readonly string[]): Promise<T>;
  /** What state commands are made of, without a process for each: for what is asked again and again. */
  backend(): Promise<Backend>;
  close(): Promise<void>;
}

export interface DevOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly state?: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Called once it runs, for instance to send it a signal. */
  readonly started?: (child: ChildProcess) => void;
}

export function requireProgram(): void {
  if (!existsSync(program)) throw new Error(`${program} is missing; run: npm run build`);
}

export async function startServers(script: Script): Promise<Servers> {
  const databasePassword = newPassword();
  const openaiKey = `sk-local-${newPassword()}`;
  const certificate = await issueServerCertificate(["localhost"], ["127.0.0.1"]);
  const tls = { key: certificate.keyPem, cert: certificate.certificatePem };
  const [postgres, openai] = await Promise.all([
    startPostgres({ tls: true }),
    startOpenAiServer({ script, apiKey: openaiKey, tls }),
  ]);
  const inDatabase = async (database: string, sql: string): Promise<Record<string, unknown>[]> => {
    const client = new pg.Client({
      host: postgres.host,
      port: postgres.port,
      user: postgres.superuser,
      password: postgres.password,
      database,
      ssl: { ca: postgres.caPem, servername: "localhost" },
    });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(sql)).rows;
    } finally {
      await client.end();
    }
  };
  for (const sql of schemaSql(databasePassword)) await inDatabase("postgres", sql);
  await inDatabase("orders", tablesSql());
  return {
    postgres,
    openai,
    targets: {
      postgresPort: postgres.port,
      postgresCa: postgres.caPem ?? "",
      databasePassword,
      openaiPort: openai.port,
      openaiCa: certificate.caPem,
      openaiKey,
    },
    superuser: (sql) => inDatabase("orders", sql),
    close: async () => {
      await Promise.all([openai.close(), postgres.stop()]);
    },
  };
}

export async function createSystem(targets: Targets): Promise<LocalSystem> {
  requireProgram();
  const directory = await mkdtemp(join(tmpdir(), "chaperone-local-"));
  const manifests = join(directory, "manifests");
  const state = join(directory, "state");
  await mkdir(manifests);
  const running = new Set<ChildProcess>();
  let opened: Promise<Backend> | undefined;
  const write = async (file: string, text: string): Promise<void> => {
    const draft = join(directory, `${file}.draft`);
    await writeFile(draft, text, { mode: 0o600 });
    await rename(draft, join(manifests, file));
  };
  await write("connections.yaml", connectionsYaml(targets));
  await write("database.yaml", databasePolicyYaml());
  await write("models.yaml", modelPolicyYaml());
  const cli = async (args: readonly string[], options: RunOptions = {}): Promise<Ended> => {
    const { child, ended } = start(args, options.env, directory);
    running.add(child);
    if (options.input !== undefined) child.stdin?.write(options.input);
    child.stdin?.end();
    options.started?.(child);
    return ended().finally(() => running.delete(child));
  };
  return {
    directory,
    manifests,
    state,
    write,
    remove: (file) => rm(join(manifests, file)),
    cli,
    async ask<T>(...args: readonly string[]): Promise<T> {
      const ended = await cli([...args, "--state", state, "-o", "json"]);
      if (ended.code !== 0) throw new Error(`chaperone ${args.join(" ")}: ${ended.stderr}`);
      return JSON.parse(ended.stdout) as T;
    },
    async backend() {
      // Not every suite needs it, and it brings the store along.
      const { openLocalBackend } = await import("../../cli/dev/backend.ts");
      opened ??= openLocalBackend(state);
      return opened;
    },
    async dev(options: DevOptions = {}) {
      const args = ["dev", "--json", "-f", manifests, "--service-account", "invoice-agent"];
      const where = ["--state", options.state ?? state];
      const process_ = start([...args, ...where, ...(options.args ?? [])], options.env, directory);
      running.add(process_.child);
      return ready(process_, () => running.delete(process_.child));
    },
    async close() {
      await (await opened?.catch(() => undefined))?.close();
      for (const child of running) child.kill("SIGKILL");
      await Promise.all([...running].map((child) => exited(child)));
      await rm(directory, { recursive: true, force: true });
    },
  };
}

interface Started {
  readonly child: ChildProcess;
  readonly stdout: () => string;
  readonly stderr: () => string;
  readonly ended: () => Promise<Ended>;
}

function start(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  cwd: string,
): Started {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...env },
    cwd,
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const closed = once(child, "close", { signal: AbortSignal.timeout(patienceMs * 3) });
  closed.catch(() => undefined);
  return {
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    async ended() {
      const [code, signal] = (await closed) as [number | null, NodeJS.Signals | null];
      return { code: code ?? undefined, signal: signal ?? undefined, stdout, stderr };
    },
  };
}

async function ready(process_: Started, over: () => void): Promise<Dev> {
  const { child, stdout, stderr, ended } = process_;
  const line = await until(
    () => stdout().split("\n", 2)[0] ?? "",
    () => stdout().includes("\n"),
    {
      child,
      stderr,
    },
  );
  const parsed = JSON.parse(line) as {
    stateDir: string;
    caFile: string;
    connections: ReadyConnection[];
  };
  const connection = (name: string): ReadyConnection => {
    const found = parsed.connections.find((row) => row.name === name);
    if (found === undefined) throw new Error(`no connection ${name} in ${line}`);
    return found;
  };
  const variable = (name: string, key: string): string =>
    parsed.connections.find((row) => row.name === name)?.env[key] ?? "";
  return {
    pid: child.pid ?? 0,
    stateDir: parsed.stateDir,
    caFile: parsed.caFile,
    line,
    databaseUrl: variable("orders-db", "DATABASE_URL"),
    openaiUrl: variable("openai", "OPENAI_BASE_URL"),
    openaiKey: variable("openai", "OPENAI_API_KEY"),
    connection,
    stdout,
    stderr,
    async said(text, from = 0) {
      const found = (): boolean => {
        const since = stderr().slice(from);
        return typeof text === "string" ? since.includes(text) : text.test(since);
      };
      await until(stderr, found, { child, stderr });
    },
    async stop(signal = "SIGTERM") {
      child.kill(signal);
      return ended().finally(over);
    },
  };
}

async function until(
  value: () => string,
  done: () => boolean,
  { child, stderr }: { readonly child: ChildProcess; readonly stderr: () => string },
): Promise<string> {
  const deadline = Date.now() + patienceMs;
  while (!done()) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`chaperone ended with ${child.exitCode}: ${stderr()}`);
    if (Date.now() > deadline) throw new Error(`chaperone did not say it in time: ${stderr()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return value();
}

async function exited(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "close");
}

/** Waits until somebody's decision is asked for; returns the request's name. */
export async function pendingRequest(
  system: LocalSystem,
  except: readonly string[] = [],
): Promise<string> {
  let found: string | undefined;
  const backend = await system.backend();
  await eventually(
    "a request is open",
    async () => {
      const rows = await backend.requests(false);
      found = rows.find(({ name, phase }) => phase === "Pending" && !except.includes(name))?.name;
      return found !== undefined;
    },
    patienceMs,
  );
  return found ?? "";
}

/** Asks again until it holds, at most `withinMs`; returns how long it took. */
export async function eventually(
  what: string,
  holds: () => Promise<boolean> | boolean,
  withinMs: number,
): Promise<number> {
  const started = performance.now();
  while (!(await holds())) {
    if (performance.now() - started > withinMs)
      throw new Error(`${what}: not so after ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return performance.now() - started;
}
