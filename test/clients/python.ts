// Python for the tests of clients: packages are installed once into the user's cache, from the index pip is set up with.
import { execFile, execFileSync } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { cached } from "../integration/user-cache.ts";
import { installTimeoutMs } from "./cache.ts";
import { playPython, type Play, type Played } from "./python-stage.ts";

const run = promisify(execFile);

interface Interpreter {
  /** Itself, where a shim would look for it at every start. */
  readonly program: string;
  readonly version: string;
}

let found: Interpreter | undefined;

/** @throws where there is no python3 of 3.10 or newer with pip */
function interpreter(): Interpreter {
  const script =
    "import platform, sys; assert sys.version_info >= (3, 10); import pip; print(sys.executable); print(platform.python_version())";
  if (found === undefined) {
    const told = execFileSync("python3", ["-c", script], { stdio: ["ignore", "pipe", "ignore"] });
    const [program = "", version = ""] = told.toString().split("\n");
    found = { program, version };
  }
  return found;
}

/** Why no Python client can be tested here; undefined when it can. */
export function reasonWithoutPython(): string | undefined {
  try {
    interpreter();
    return undefined;
  } catch {
    return "Python clients need python3 (3.10 or newer) with pip";
  }
}

/** The path of the interpreter. */
export function pythonProgram(): string {
  return interpreter().program;
}

/** The folder that holds these packages, for PYTHONPATH. */
export async function pythonPackages(requirements: readonly string[]): Promise<string> {
  const { program, version } = interpreter();
  return cached("python", [process.arch, `Python ${version}\n`, ...requirements], (folder) =>
    run(
      program,
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
  const play = { script: join(import.meta.dirname, script), args, cwd: process.cwd() };
  return printedByPython(packages, { ...play, env: ownEnvironment() });
}

/** Plays a script, however it ends. */
export function playScript(packages: string, play: Play): Promise<Played> {
  return playPython(interpreter().program, packages, play);
}

/** Plays a script and reads the JSON it prints. */
export async function printedByPython(packages: string, play: Play): Promise<unknown> {
  const { code, stdout, stderr } = await playScript(packages, play);
  if (code !== 0) throw new Error(`${play.script} ended with ${code}:\n${stderr}`);
  return JSON.parse(stdout) as unknown;
}

/** This process' own environment. */
export function ownEnvironment(): Record<string, string> {
  const entries = Object.entries(process.env);
  return Object.fromEntries(
    entries.filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
