// Python for the tests of clients: packages are installed once into the user's cache, from the index pip is set up with.
import { execFile, execFileSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { cached } from "../integration/user-cache.ts";
import { installTimeoutMs } from "./cache.ts";

const run = promisify(execFile);
const scriptTimeoutMs = 120_000;
const maxOutputBytes = 16 * 1024 * 1024;

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
  return cached("python", [process.arch, version, ...requirements], (folder) =>
    run(
      "python3",
      ["-m", "pip", "install", "--quiet", "--no-input", "--target", folder, ...requirements],
      { timeout: installTimeoutMs },
    ),
  );
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
