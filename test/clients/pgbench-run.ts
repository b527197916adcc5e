// One run of pgbench, as a result that can be compared: what it processed, what it complained of, what it left in its tables.
import assert from "node:assert/strict";
import { runProgram, type Programs } from "./programs.ts";
import type { ClientRoom, Way } from "./room.ts";

const state =
  "SELECT (SELECT sum(abalance) FROM pgbench_accounts)::text AS accounts, (SELECT md5(string_agg(tid || ',' || aid || ',' || delta, ';' ORDER BY tid, aid, delta)) FROM pgbench_history) AS history";

export function benchArguments(mode: string, transactions: number): readonly string[] {
  return ["-M", mode, "-t", String(transactions)];
}

/** Tables as `pgbench -i` leaves them, without another hundred thousand rows through the wire. */
const reset = [
  "UPDATE pgbench_accounts SET abalance = 0 WHERE abalance <> 0",
  "UPDATE pgbench_tellers SET tbalance = 0",
  "UPDATE pgbench_branches SET bbalance = 0",
  "TRUNCATE pgbench_history",
];

/** @param tables made first, put back as they were made, or left as they are */
export async function playBench(
  programs: Programs,
  room: ClientRoom,
  way: Way,
  args: readonly string[],
  tables: "made" | "reset" | "left" = "made",
): Promise<unknown> {
  if (tables === "reset") await room.run(...reset);
  if (tables === "made") {
    const made = await runProgram(programs, way, "pgbench", ["-i", "-q", "-s", "1"]);
    assert.equal(made.status, 0, made.stderr);
  }
  const ran = await runProgram(programs, way, "pgbench", ["--random-seed=7", "-n", ...args]);
  assert.equal(ran.status, 0, ran.stderr);
  return {
    stderr: ran.stderr
      .split("\n")
      .filter((line) => !line.startsWith("pgbench: setting random seed")),
    processed: /number of transactions actually processed: (\S+)/.exec(ran.stdout)?.[1],
    failed: /number of failed transactions: (\d+)/.exec(ran.stdout)?.[1],
    state: await room.run(state),
  };
}
