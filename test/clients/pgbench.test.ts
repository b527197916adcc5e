// pgbench 18, unmodified and over verified TLS, in its three query modes and in pipelines: every transaction succeeds and changes what it should.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { benchArguments, playBench } from "./pgbench-run.ts";
import { installPrograms, type Programs } from "./programs.ts";
import { openRoom, sameBothWays, type ClientRoom, type Way } from "./room.ts";

let programs: Programs;
let room: ClientRoom;

before(async () => {
  programs = await installPrograms();
  room = await openRoom();
});

after(async () => {
  await room?.close();
});

/** Reads and writes of one transaction, a Sync in the middle, and a statement behind the pipeline that uses an answer. */
const pipelineScript = `
\\set aid random(1, 100000)
\\set delta random(-5000, 5000)
\\startpipeline
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
COMMIT;
\\syncpipeline
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, :aid, :delta, CURRENT_TIMESTAMP);
\\endpipeline
SELECT abalance AS balance FROM pgbench_accounts WHERE aid = :aid \\gset
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (2, 1, :aid, :balance, CURRENT_TIMESTAMP);
`;

/** In the first test each way makes the tables; after that they are put back as they were made. */
let tables: "made" | "reset" = "made";

const bench = (way: Way, args: readonly string[]): Promise<unknown> =>
  playBench(programs, room, way, args, tables);

afterEach(() => {
  tables = "reset";
});

for (const mode of ["simple", "extended", "prepared"]) {
  test(`-M ${mode} does what it does straight`, async () => {
    const result = await sameBothWays(room, [], (way) => bench(way, benchArguments(mode, 200)));
    assert.ok(typeof result === "object" && result !== null && "processed" in result);
    assert.equal(result.processed, "200/200");
  });
}

for (const mode of ["extended", "prepared"]) {
  test(`a pipeline script with -M ${mode} does what it does straight`, async () => {
    const script = join(room.directory, "pipeline.sql");
    await writeFile(script, pipelineScript);
    const result = await sameBothWays(room, [], (way) =>
      bench(way, [...benchArguments(mode, 100), "-f", script]),
    );
    assert.ok(typeof result === "object" && result !== null && "processed" in result);
    assert.equal(result.processed, "100/100");
  });
}

test("eight clients at once lose nothing", async () => {
  const result = await sameBothWays(room, [], (way) =>
    bench(way, ["-M", "prepared", "-c", "8", "-j", "1", "-t", "50"]),
  );
  assert.ok(typeof result === "object" && result !== null && "processed" in result);
  assert.equal(result.processed, "400/400");
});
