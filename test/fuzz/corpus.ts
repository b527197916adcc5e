// The cases that once differed, kept as JSON beside this file and played again by the integration suite.
import { readdirSync, readFileSync } from "node:fs";
import type { Mode } from "./judge.ts";
import type { FuzzCase } from "./steps.ts";

export interface Kept {
  readonly name: string;
  readonly mode: Mode;
  readonly fuzzCase: FuzzCase;
  /** Compared to its end; no refusal may cut it short. */
  readonly whole: boolean;
}

const directory = new URL("./corpus/", import.meta.url);

export function corpus(): Kept[] {
  return readdirSync(directory)
    .filter((file) => file.endsWith(".json"))
    .toSorted()
    .map((file) => {
      const kept: unknown = JSON.parse(readFileSync(new URL(file, directory), "utf8"));
      const { mode, whole, ...fuzzCase } = kept as FuzzCase & { mode: Mode; whole?: boolean };
      return { name: file.slice(0, -".json".length), mode, fuzzCase, whole: whole === true };
    });
}
