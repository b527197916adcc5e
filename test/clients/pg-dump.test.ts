// pg_dump 18 and pg_restore, unmodified and over verified TLS: a dump through the proxy is the dump, under rules that allow it and nothing else.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { allow } from "../integration/postgres-proxy-harness.ts";
import { installPrograms, runProgram, type Programs, type Ran } from "./programs.ts";
import { allowEverything, openRoom, sameBothWays, type ClientRoom, type Way } from "./room.ts";
import { emptyShop, shop } from "./shop.ts";

let programs: Programs;
let room: ClientRoom;

before(async () => {
  programs = await installPrograms();
  room = await openRoom();
});

after(async () => {
  await room?.close();
});

/** The rules that docs/clients.md gives for a dump of `public`. */
export const dumpRules = [
  allow(
    {
      statements: ["select", "copy"],
      relations: ["public.*", "pg_catalog.*"],
      functions: ["pg_catalog.*"],
    },
    "read",
  ),
  allow({ statements: ["utility"], relations: ["public.*"] }, "lock-tables"),
  allow({ statements: ["set"] }, "shared-snapshot"),
];

const dumps: Readonly<Record<string, readonly string[]>> = {
  "as SQL": ["--schema=public"],
  "as inserts": ["--schema=public", "--inserts", "--rows-per-insert=2"],
  "definitions only": ["--schema=public", "--schema-only"],
  "rows only": ["--schema=public", "--data-only"],
  "one table": ["--table=orders"],
  everything: [],
  "quoted, cleaning up, without owners": [
    "--clean",
    "--if-exists",
    "--no-owner",
    "--quote-all-identifiers",
  ],
};

/** A key of our own, where each run would choose another. */
function dump(way: Way, args: readonly string[]): Promise<Ran> {
  return runProgram(programs, way, "pg_dump", ["--restrict-key=key", ...args]);
}

for (const [what, args] of Object.entries(dumps)) {
  test(`a dump ${what} is the same as straight from the server`, async () => {
    const result = await sameBothWays(room, shop, (way) => dump(way, args));
    assert.ok(
      typeof result === "object" && result !== null && "stdout" in result && "status" in result,
    );
    assert.equal(result.status, 0);
    assert.match(String(result.stdout), /orders/);
  });
}

test("a dump by two jobs on one snapshot restores through the proxy to the same database", async () => {
  allowEverything(room);
  await room.run(...shop);
  const folder = join(room.directory, "jobs");
  const before = await dump(room.direct, []);
  const jobs = await runProgram(programs, room.proxied, "pg_dump", [
    "--format=directory",
    "--jobs=2",
    `--file=${folder}`,
  ]);
  assert.deepEqual(jobs, { status: 0, stdout: "", stderr: "" });
  await room.run(...emptyShop);
  const restored = await runProgram(programs, room.proxied, "pg_restore", [
    "--jobs=2",
    "--dbname=postgres",
    folder,
  ]);
  assert.deepEqual(restored, { status: 0, stdout: "", stderr: "" });
  assert.deepEqual(await dump(room.direct, []), before);
});

test("a dump as SQL is played by psql through the proxy", async () => {
  allowEverything(room);
  await room.run(...shop);
  const { stdout } = await dump(room.proxied, []);
  await room.run(...emptyShop);
  const played = await runProgram(
    programs,
    room.proxied,
    "psql",
    ["-Xq", "-v", "ON_ERROR_STOP=1"],
    {
      input: stdout,
    },
  );
  assert.deepEqual({ status: played.status, stderr: played.stderr }, { status: 0, stderr: "" });
  assert.equal((await dump(room.direct, [])).stdout, stdout);
});

test("rules for one schema give its dump whole, and no row of another", async () => {
  await room.run(
    ...shop,
    "DROP SCHEMA IF EXISTS private CASCADE",
    "CREATE SCHEMA private",
    "CREATE TABLE private.salaries (name text, amount int)",
    "INSERT INTO private.salaries VALUES ('Ada', 1000)",
  );
  room.harness.setRules(dumpRules);
  assert.deepEqual(
    await dump(room.proxied, ["--schema=public"]),
    await dump(room.direct, ["--schema=public"]),
  );
  const refused = await dump(room.proxied, ["--schema=private"]);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /private\.salaries/);
  assert.doesNotMatch(refused.stdout, /Ada/);
  await room.run("DROP SCHEMA private CASCADE");
});
