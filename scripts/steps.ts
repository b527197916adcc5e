// Runs named steps one after the other, every one even when one fails, and ends with what failed.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";

export interface Step {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  /** Why this machine has to leave it out; undefined when it can run. */
  readonly leftOut?: string | undefined;
  /** Later steps make no sense after it failed. */
  readonly isFoundation?: boolean;
}

/** Sets the process' exit code; under CI nothing may be left out. */
export async function runAll(steps: readonly Step[]): Promise<void> {
  const failed: string[] = [];
  const leftOut: string[] = [];
  let passed = 0;
  for (const step of steps) {
    if (step.leftOut !== undefined) {
      leftOut.push(`${step.name}: ${step.leftOut}`);
      continue;
    }
    const started = Date.now();
    process.stdout.write(`\n== ${step.name}\n`);
    const isGood = (await run(step.command)) === 0;
    process.stdout.write(
      `== ${step.name}: ${isGood ? "passed" : "FAILED"} in ${((Date.now() - started) / 1000).toFixed(1)} s\n`,
    );
    if (isGood) passed += 1;
    else failed.push(step.name);
    if (!isGood && step.isFoundation === true) break;
  }
  for (const line of leftOut) process.stdout.write(`left out: ${line}\n`);
  if (process.env.CI === "true" && leftOut.length > 0) {
    process.stdout.write("CI=true leaves nothing out\n");
    failed.push(...leftOut);
  }
  if (failed.length > 0) process.stdout.write(`failed: ${failed.join("; ")}\n`);
  process.stdout.write(`${passed} passed, ${failed.length} failed\n`);
  process.exitCode = failed.length === 0 ? 0 : 1;
}

async function run([program, ...args]: readonly [string, ...string[]]): Promise<number> {
  const path = `${join(process.cwd(), "node_modules/.bin")}:${process.env.PATH ?? ""}`;
  const child = spawn(program, args, { stdio: "inherit", env: { ...process.env, PATH: path } });
  const [code] = (await once(child, "close")) as [number | null];
  return code ?? 1;
}
