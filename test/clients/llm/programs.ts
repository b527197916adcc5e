// Agents' programs with the SDKs of model providers: run straight against a scripted server, and through the proxy.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { TestContext } from "node:test";
import type { Protocol } from "../../../policy/operation.ts";
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

export interface Program {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Environment;
}

export const python = (packages: string, script: string, env: Environment): Program => ({
  command: "python3",
  args: [join(import.meta.dirname, script)],
  env: { ...env, PYTHONPATH: packages },
});

export const node = (packages: string, script: string, env: Environment): Program => ({
  command: process.execPath,
  args: [join(import.meta.dirname, script), packages],
  env,
});

/** Without what the machine may have set for the SDKs: they would prefer it. */
function environment(more: Environment): NodeJS.ProcessEnv {
  const known = Object.entries(process.env).filter(
    ([name]) => !/^(?:ANTHROPIC|GOOGLE|GEMINI|AWS|BEDROCK|LANGSMITH|LANGCHAIN)_/.test(name),
  );
  return { ...Object.fromEntries(known), LANGSMITH_TRACING: "false", ...more };
}

/** What it prints, read as JSON. */
export async function play({ command, args, env }: Program): Promise<unknown> {
  const { stdout } = await run(command, args, {
    env: environment(env),
    timeout: programTimeoutMs,
    maxBuffer: 16 * 1024 * 1024,
  });
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
    await run(
      "python3",
      [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--asyncio-mode=auto",
        "--rootdir",
        folder,
        `--junitxml=${report}`,
        join(import.meta.dirname, script),
      ],
      {
        env: environment({ ...env, PYTHONPATH: packages }),
        timeout: programTimeoutMs,
        maxBuffer: 64 * 1024 * 1024,
      },
    ).catch((error: unknown) => {
      // pytest ends with 1 where a test failed, which is an outcome like any other.
      if (!(error instanceof Error && "code" in error && error.code === 1)) throw error;
    });
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
