// Plays cases from a seed, several at a time, for a number of runs or of seconds.
import { METHODS } from "node:http";
import { isDeepStrictEqual } from "node:util";

import fc from "fast-check";

import type { Arrived } from "../integration/http-byte-origin.ts";
import type { Reading } from "../http-readers/reader.ts";
import { differ, judge } from "./judge.ts";
import { requests } from "./requests.ts";
import type { World } from "./world.ts";

export interface Found {
  readonly played: number;
  /** Cases on which the servers differ among themselves. */
  readonly differing: number;
  /** Requests that reached the origin. */
  readonly arrived: number;
  /** `bytes: why`, of the first few that must not be. */
  readonly failures: readonly string[];
}

export interface Search {
  readonly seed: number;
  readonly runs: number;
  readonly seconds?: number;
}

/** More would only repeat the first. */
const maxFailures = 20;
/** Servers close a connection after a hundred requests or more. */
const rereadTogether = 50;

export async function fuzz(
  world: World,
  { seed, runs, seconds = Infinity }: Search,
): Promise<Found> {
  const cases = fc.sample(requests, { seed, numRuns: runs }).values();
  const deadline = performance.now() + seconds * 1_000;
  const failures: string[] = [];
  const distinct = new Map<string, Arrived>();
  let played = 0;
  let differing = 0;
  let arrived = 0;
  const lane = async (which: World["lanes"][number]): Promise<void> => {
    for (const bytes of cases) {
      if (performance.now() > deadline || failures.length >= maxFailures) return;
      const first = await world.play(which, bytes);
      const result = judge(first) === undefined ? first : await world.play(which, bytes, true);
      const problem = judge(result);
      if (problem !== undefined) failures.push(`${JSON.stringify(bytes)}: ${problem}`);
      played += 1;
      differing += Number(differ(result));
      arrived += result.arrived.length;
      for (const one of result.arrived) if (!one.cut && isKnown(one)) distinct.set(one.bytes, one);
    }
  };
  await Promise.all(world.lanes.map(lane));
  failures.push(...(await rereadAll(world, [...distinct.values()])));
  return { played, differing, arrived, failures };
}

function isSame({ line, body, trailers }: Arrived, reading: Reading | undefined): boolean {
  return (
    reading !== undefined &&
    `${reading.method} ${reading.target}` === line &&
    Buffer.from(reading.body, "base64").toString("latin1") === body &&
    // nginx keeps none.
    (reading.trailers === undefined ||
      isDeepStrictEqual([...reading.trailers].toSorted(), [...trailers].toSorted()))
  );
}

/** Node refuses methods that it does not know. */
function isKnown({ line }: Arrived): boolean {
  return METHODS.includes(line.split(" ")[0] ?? "");
}

/** What arrived is read alike by every server. */
async function rereadAll(world: World, arrived: readonly Arrived[]): Promise<string[]> {
  const failures: string[] = [];
  for (let at = 0; at < arrived.length; at += rereadTogether) {
    const some = arrived.slice(at, at + rereadTogether);
    for (const [name, { readings }] of Object.entries(await world.reread(some))) {
      const at = some.findIndex((one, index) => !isSame(one, readings[index]));
      if (at >= 0)
        failures.push(
          `${name} reads ${JSON.stringify(readings[at])} in what arrived: ${JSON.stringify(some[at]?.bytes)}`,
        );
    }
  }
  return failures;
}
