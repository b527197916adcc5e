// The state directory of local mode: what stands where, and that only one process at a time works in it.
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Failure } from "../exit.ts";

export interface StatePaths {
  readonly directory: string;
  readonly store: string;
  /** One directory for each start: a stream is numbered by one process. */
  readonly spools: string;
  readonly keys: string;
  readonly requests: string;
  readonly quarantines: string;
  /** Pins of the tools of MCP servers. */
  readonly tools: string;
  readonly authority: string;
  /** Trust bundle for the agent: public roots and this directory's own CA. */
  readonly caFile: string;
  /** Unix socket of the control plane; its directory is readable by its owner alone. */
  readonly socket: string;
  readonly lock: string;
}

/** Bytes a Unix socket path may have on Linux (108) and macOS (104), with the ending zero. */
const maxSocketPathBytes = 103;
/** A dead process's lock is removed once, perhaps by two who start at a time; more rounds would not help. */
const lockAttempts = 3;

export function statePaths(directory: string): StatePaths {
  const absolute = resolve(directory);
  return {
    directory: absolute,
    store: join(absolute, "store.sqlite"),
    spools: join(absolute, "spool"),
    keys: join(absolute, "keys"),
    requests: join(absolute, "requests"),
    quarantines: join(absolute, "quarantines"),
    tools: join(absolute, "tools.json"),
    authority: join(absolute, "authority"),
    caFile: join(absolute, "ca.crt"),
    socket: join(absolute, "control.sock"),
    lock: join(absolute, "lock"),
  };
}

/** Makes the directory, for its owner alone, and takes its lock. Returns the function that gives the lock back. */
export function claimState(paths: StatePaths): () => void {
  if (Buffer.byteLength(paths.socket) > maxSocketPathBytes) {
    throw new Failure(
      `the state directory's path is too long for a Unix socket (${paths.socket}); choose a shorter one with --state`,
    );
  }
  for (const directory of [
    paths.directory,
    paths.spools,
    paths.requests,
    paths.quarantines,
    paths.authority,
  ])
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  takeLock(paths);
  rmSync(paths.socket, { force: true });
  return () => {
    rmSync(paths.socket, { force: true });
    rmSync(paths.lock, { force: true });
  };
}

/** Linking a finished file takes the lock and says by whom in one step: nobody ever reads half a lock. */
function takeLock(paths: StatePaths): void {
  const draft = `${paths.lock}.${process.pid}`;
  writeFileSync(draft, String(process.pid), { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < lockAttempts; attempt += 1) {
      try {
        linkSync(draft, paths.lock);
        return;
      } catch (error) {
        if (!isCode(error, "EEXIST")) throw error;
        const holder = lockHolder(paths.lock);
        if (holder !== undefined && isAlive(holder))
          throw new Failure(
            `${paths.directory} is in use by process ${holder}; stop it, or choose another directory with --state`,
          );
        rmSync(paths.lock, { force: true });
      }
    }
  } finally {
    rmSync(draft, { force: true });
  }
  throw new Failure(`${paths.lock} cannot be taken; is another chaperone just starting there?`);
}

/** Undefined when the lock was given back in the meantime. */
function lockHolder(file: string): number | undefined {
  try {
    return Number(readFileSync(file, "utf8"));
  } catch (error) {
    if (isCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return isCode(error, "EPERM");
  }
}

export function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
