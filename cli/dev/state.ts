// The state directory of local mode: what stands where, and that only one process at a time works in it.
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join, resolve } from "node:path";
import { Failure } from "../exit.ts";

export interface StatePaths {
  readonly directory: string;
  readonly store: string;
  readonly spool: string;
  readonly keys: string;
  readonly requests: string;
  readonly quarantines: string;
  readonly authority: string;
  /** Trust bundle for the agent: public roots and this directory's own CA. */
  readonly caFile: string;
  /** Unix socket of the control plane; its directory is readable by its owner alone. */
  readonly socket: string;
  readonly lock: string;
}

/** Bytes a Unix socket path may have on Linux (108) and macOS (104), with the ending zero. */
const maxSocketPathBytes = 103;

export function statePaths(directory: string): StatePaths {
  const absolute = resolve(directory);
  return {
    directory: absolute,
    store: join(absolute, "store.sqlite"),
    spool: join(absolute, "spool"),
    keys: join(absolute, "keys"),
    requests: join(absolute, "requests"),
    quarantines: join(absolute, "quarantines"),
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
    paths.spool,
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

function takeLock(paths: StatePaths): void {
  for (let attempt = 0; attempt < 2; attempt += 1) {
    try {
      const descriptor = openSync(paths.lock, "wx", 0o600);
      writeSync(descriptor, String(process.pid));
      closeSync(descriptor);
      return;
    } catch (error) {
      if (!isCode(error, "EEXIST")) throw error;
      const holder = Number(readFileSync(paths.lock, "utf8"));
      if (isAlive(holder))
        throw new Failure(
          `${paths.directory} is in use by process ${holder}; stop it, or choose another directory with --state`,
        );
      rmSync(paths.lock, { force: true });
    }
  }
  throw new Failure(`${paths.lock} cannot be taken; is another chaperone just starting there?`);
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
