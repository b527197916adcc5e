// Runs named steps, every one even when one fails, and ends with what failed. Steps run one after the other; a second lane can run beside them.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createReadStream, createWriteStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

/** What Node compiled, types stripped, is kept for the next of some hundred processes: a fifth of their processor time. */
const compileCache = join(process.cwd(), "node_modules/.cache/compile");

export interface Step {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  /** Why this machine has to leave it out; undefined when it can run. */
  readonly leftOut?: string | undefined;
}

export interface Stages {
  /** Later steps make no sense after one of these failed. */
  readonly foundation?: readonly Step[];
  readonly steps: readonly Step[];
  /** Run at the same time as `steps`, in their own order; what each prints is shown when it has ended. */
  readonly beside?: readonly Step[];
}

/** Sets the process' exit code; under CI nothing may be left out. */
export async function runAll({ foundation = [], steps, beside = [] }: Stages): Promise<void> {
  const tally = new Tally();
  await runLane(foundation, tally, runShown);
  if (tally.failed.length === 0) {
    const logs = mkdtempSync(join(tmpdir(), "chaperone-test-"));
    try {
      await Promise.all([
        runLane(steps, tally, runShown),
        runLane(beside, tally, (step) => runKept(step, join(logs, "output"))),
      ]);
    } finally {
      rmSync(logs, { recursive: true, force: true });
    }
  }
  tally.finish();
}

class Tally {
  readonly failed: string[] = [];
  readonly #leftOut: string[] = [];
  #passed = 0;

  leave(step: Step): void {
    this.#leftOut.push(`${step.name}: ${step.leftOut}`);
  }

  count(step: Step, isGood: boolean, milliseconds: number): void {
    process.stdout.write(
      `== ${step.name}: ${isGood ? "passed" : "FAILED"} in ${(milliseconds / 1000).toFixed(1)} s\n`,
    );
    if (isGood) this.#passed += 1;
    else this.failed.push(step.name);
  }

  finish(): void {
    for (const line of this.#leftOut) process.stdout.write(`left out: ${line}\n`);
    if (process.env.CI === "true" && this.#leftOut.length > 0) {
      process.stdout.write("CI=true leaves nothing out\n");
      this.failed.push(...this.#leftOut);
    }
    if (this.failed.length > 0) process.stdout.write(`failed: ${this.failed.join("; ")}\n`);
    process.stdout.write(`${this.#passed} passed, ${this.failed.length} failed\n`);
    process.exitCode = this.failed.length === 0 ? 0 : 1;
  }
}

async function runLane(
  steps: readonly Step[],
  tally: Tally,
  runOne: (step: Step) => Promise<number>,
): Promise<void> {
  for (const step of steps) {
    if (step.leftOut !== undefined) {
      tally.leave(step);
      continue;
    }
    const started = Date.now();
    const isGood = (await runOne(step)) === 0;
    tally.count(step, isGood, Date.now() - started);
  }
}

async function runShown(step: Step): Promise<number> {
  process.stdout.write(`\n== ${step.name}\n`);
  const child = start(step, "inherit");
  const [code] = (await once(child, "close")) as [number | null];
  return code ?? 1;
}

/** A file holds what it prints, so that two lanes do not write into each other's lines. */
async function runKept(step: Step, file: string): Promise<number> {
  process.stdout.write(`== ${step.name}: runs beside; shown when it has ended\n`);
  const child = start(step, "pipe");
  const kept = createWriteStream(file);
  child.stdout?.pipe(kept, { end: false });
  child.stderr?.pipe(kept, { end: false });
  const [code] = (await once(child, "close")) as [number | null];
  kept.end();
  await once(kept, "close");
  process.stdout.write(`\n== ${step.name}\n`);
  await pipeline(createReadStream(file), process.stdout, { end: false });
  return code ?? 1;
}

function start({ command: [program, ...args] }: Step, output: "inherit" | "pipe") {
  const path = `${join(process.cwd(), "node_modules/.bin")}:${process.env.PATH ?? ""}`;
  return spawn(program, args, {
    stdio: ["inherit", output, output],
    env: { NODE_COMPILE_CACHE: compileCache, ...process.env, PATH: path },
  });
}
