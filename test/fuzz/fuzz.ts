// Searches for a case that differs, within a time and from a seed, and says it as a corpus entry.
import fc from "fast-check";
import type { Mode } from "./judge.ts";
import { deniedCase, hostileCase, validCase } from "./sequences.ts";
import type { FuzzCase } from "./steps.ts";
import type { World } from "./world.ts";

export interface FuzzOptions {
  readonly seed: number;
  /** The search ends after this long, or after `runs`. */
  readonly seconds: number;
  readonly runs?: number;
}

export interface Found {
  readonly failed: boolean;
  readonly summary: string;
  /** Cases compared to their end; the others met a refusal that an allow-all policy makes. */
  readonly whole: number;
  readonly cases: number;
}

const arbitraries: Readonly<Record<Mode, fc.Arbitrary<FuzzCase>>> = {
  valid: validCase,
  hostile: hostileCase,
  denied: deniedCase,
};

/** Enough that a time bound is what ends a search. */
const manyRuns = 10_000_000;

export async function fuzz(world: World, mode: Mode, options: FuzzOptions): Promise<Found> {
  const started = performance.now();
  let cases = 0;
  let whole = 0;
  const details = await fc.check(
    fc.asyncProperty(arbitraries[mode], async (fuzzCase) => {
      cases += 1;
      const verdict = await world.run(fuzzCase, mode);
      if (verdict.same === true) whole += 1;
    }),
    {
      seed: options.seed,
      numRuns: options.runs ?? manyRuns,
      interruptAfterTimeLimit: options.seconds * 1000,
      markInterruptAsFailure: false,
    },
  );
  const took = ((performance.now() - started) / 1000).toFixed(1);
  const counted = `${mode}: ${cases} cases, ${whole} compared to the end, ${took} s, seed ${options.seed}`;
  if (!details.failed) return { failed: false, summary: counted, whole, cases };
  const [counterexample] = details.counterexample ?? [];
  const why = details.errorInstance instanceof Error ? details.errorInstance.message : "";
  return {
    failed: true,
    whole,
    cases,
    summary: `${counted}\n${why}\n${JSON.stringify({ mode, ...counterexample, note: why.split("\n")[0] })}`,
  };
}
