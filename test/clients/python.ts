// Python for the tests of clients: packages are installed once into the user's cache, from the index pip is set up with.
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
/** A few wheels from a slow index. */
const installTimeoutMs = 5 * 60_000;
const scriptTimeoutMs = 120_000;
const maxOutputBytes = 16 * 1024 * 1024;

/** Drivers, SQLAlchemy and LangChain, installed together once. */
export const pythonDrivers: readonly string[] = [
  "psycopg[binary]==3.3.9",
  "psycopg2-binary==2.9.13",
  "asyncpg==0.32.0",
  "pg8000==1.31.6",
  "SQLAlchemy[asyncio]==2.1.9",
  "langchain-community==0.4.2",
];

/** Why no Python client can be tested here; undefined when it can. */
export function reasonWithoutPython(): string | undefined {
  try {
    execFileSync("python3", ["-c", "import sys; assert sys.version_info >= (3, 10); import pip"], {
      stdio: "ignore",
    });
    return undefined;
  } catch {
    return "Python clients need python3 (3.10 or newer) with pip";
  }
}

/** The folder that holds these packages, for PYTHONPATH. */
export async function pythonPackages(requirements: readonly string[]): Promise<string> {
  const { stdout: version } = await run("python3", ["--version"]);
  const key = createHash("sha256")
    .update([process.arch, version, ...requirements].join("\n"))
    .digest("hex")
    .slice(0, 12);
  const cache = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  const kept = join(cache, "chaperone", "python", key);
  if (existsSync(kept)) return kept;
  const fresh = `${kept}.${process.pid}`;
  await mkdir(fresh, { recursive: true });
  try {
    await run(
      "python3",
      ["-m", "pip", "install", "--quiet", "--no-input", "--target", fresh, ...requirements],
      { timeout: installTimeoutMs },
    );
    await rename(fresh, kept);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return kept;
}

/** Runs a script of this folder and reads the JSON it prints. */
export async function runPython(
  script: string,
  args: readonly string[],
  packages: string,
): Promise<unknown> {
  const { stdout } = await run("python3", [join(import.meta.dirname, script), ...args], {
    env: { ...process.env, PYTHONPATH: packages },
    timeout: scriptTimeoutMs,
    maxBuffer: maxOutputBytes,
  });
  return JSON.parse(stdout);
}
