// How long a session goes by what was read of its database: others change it, and nothing tells.
import { createHash } from "node:crypto";
import type { Rows } from "./mask-source.ts";

/** Of the time of a pod's sessions, reading again takes at most this part. */
const share = 400;
/** A small database is read in 10 ms: no more often than this. */
const leastMs = 2_000;
/** However long it takes. */
export const mostMs = 60_000;

/** @param tookMs to read it */
export function freshForMs(tookMs: number): number {
  return Math.min(mostMs, Math.max(leastMs, tookMs * share));
}

/** Equal for equal rows: what was made of them, and proven by it, stays. */
export function printOf(results: readonly Rows[]): string {
  return createHash("sha256").update(JSON.stringify(results)).digest("base64");
}
