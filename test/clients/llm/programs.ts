// Agents' programs with the SDKs of model providers: run straight against a scripted server, and through the proxy.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { TestContext } from "node:test";
import type { Protocol } from "../../../policy/operation.ts";
import { ownEnvironment, playScript, printedByPython } from "../python.ts";
import type { Play } from "../python-stage.ts";
import { detectorNames } from "../../../policy/mask/detectors.ts";
import {
  startRoom,
  type ConnectionSetup,
  type TestRoom,
} from "../../integration/http-proxy-fixture.ts";

const run = promisify(execFile);
/** SDKs import for seconds on a busy machine. */
const programTimeoutMs = 300_000;

export const everyDetector = detectorNames.map((detector) => ({
  detector,
  transform: { kind: "redact" },
  policy: "agents/policy",
})) satisfies ConnectionSetup["detectMasks"];

export type Environment = Readonly<Record<string, string>>;

/** Without what the machine may have set for the SDKs: they would prefer it. */
function environment(more: Environment): Record<string, string> {
  const known = Object.entries(ownEnvironment()).filter(
    ([name]) => !/^(?:ANTHROPIC|GOOGLE|GEMINI|AWS|BEDROCK|LANGSMITH|LANGCHAIN)_/.test(name),
  );
  return { ...Object.fromEntries(known), LANGSMITH_TRACING: "false", ...more };
}

/** What a script of this folder prints, read as JSON. */
export function playPython(packages: string, script: string, env: Environment): Promise<unknown> {
  return printedByPython(packages, pythonPlay(script, env));
}

function pythonPlay(script: string, env: Environment, ...args: readonly string[]): Play {
  const path = join(import.meta.dirname, script);
  return { script: path, args, cwd: process.cwd(), env: environment(env) };
}

export async function playNode(
  packages: string,
  script: string,
  env: Environment,
  ...args: readonly string[]
): Promise<unknown> {
  const { stdout } = await run(
    process.execPath,
    [join(import.meta.dirname, script), packages, ...args],
    { env: environment(env), timeout: programTimeoutMs, maxBuffer: 16 * 1024 * 1024 },
  );
  return JSON.parse(stdout) as unknown;
}

/** Runs LangChain's standard tests in a script: the outcome of each by its name. */
export async function standardTests(
  packages: string,
  script: string,
  env: Environment,
): Promise<Readonly<Record<string, string>>> {
  const folder = await mkdtemp(join(tmpdir(), "chaperone-standard-"));
  const report = join(folder, "report.xml");
  try {
    // One event loop for all: the SDKs keep connections open, and one of a loop that has ended fails the next test, or not, as time has it.
    const loop = ["-o", "asyncio_default_test_loop_scope=session"];
    const mode = ["--asyncio-mode=auto", ...loop];
    const options = ["-q", "-p", "no:cacheprovider", ...mode, "--rootdir", folder];
    // Outcomes are what is compared: to explain a failure by its sources takes longer than all tests do.
    const plain = ["--tb=no", "--assert=plain", `--junitxml=${report}`];
    const { code, stdout, stderr } = await playScript(
      packages,
      pythonPlay(script, env, ...options, ...plain),
    );
    // pytest ends with 1 where a test failed, which is an outcome like any other.
    if (code !== 0 && code !== 1) throw new Error(`pytest ended with ${code}:\n${stdout}${stderr}`);
    return outcomes(await readFile(report, "utf8"));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function outcomes(report: string): Record<string, string> {
  const seen: Record<string, string> = {};
  for (const [, attributes = "", empty, inner = ""] of report.matchAll(
    /<testcase ([^>]*?)(?:(\/>)|>(.*?)<\/testcase>)/gs,
  )) {
    const [, of = "", name = ""] = /\bclassname="([^"]*)" name="([^"]*)"/.exec(attributes) ?? [];
    const kind = empty === undefined ? /<(failure|error|skipped)/.exec(inner)?.[1] : undefined;
    seen[`${of} ${name}`] = kind ?? "passed";
  }
  return seen;
}

/** A room before this server, with the provider's key as its agents never have it, and masks for everything that is detected. */
export function providerRoom(
  t: Pick<TestContext, "after">,
  protocol: Protocol,
  port: number,
  more: Partial<ConnectionSetup> = {},
): Promise<TestRoom> {
  return startRoom(t, [
    {
      name: protocol,
      protocol,
      detectMasks: everyDetector,
      detail: "Full",
      ...more,
      upstream: { port },
    },
  ]);
}
