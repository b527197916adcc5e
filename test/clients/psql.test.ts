// psql 18, unmodified and over verified TLS: everything it shows is the same behind the proxy.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { allow } from "../integration/postgres-proxy-harness.ts";
import { installPrograms, programEnvironment, runProgram, type Programs } from "./programs.ts";
import { playPsql } from "./psql-session.ts";
import { notes, openRoom, sameBothWays, setPolicyScene, type ClientRoom } from "./room.ts";
import { shop } from "./shop.ts";

const run = promisify(execFile);
const terminalScript = join(import.meta.dirname, "psql_terminal.py");

let programs: Programs;
let room: ClientRoom;

before(async () => {
  programs = await installPrograms();
  room = await openRoom();
});

after(async () => {
  await room?.close();
});

test("a long session with every kind of command shows the same as straight from the server", async () => {
  const result = await sameBothWays(room, [...shop, ...notes], (way) =>
    playPsql(programs, room, way),
  );
  assert.ok(typeof result === "object" && result !== null && "status" in result);
  assert.equal(result.status, 0);
});

test("ctrl-C at a terminal ends the statement that runs, in and out of a transaction, and the session goes on", async () => {
  const result = await sameBothWays(room, notes, async (way) => {
    const seen = join(room.directory, `running-${way.name}`);
    const { LD_PRELOAD = "", ...environment } = programEnvironment(programs, way);
    const played = run("python3", [terminalScript, join(programs.folder, "psql"), seen], {
      env: { ...environment, PSQL_PRELOAD: LD_PRELOAD, TERM: "dumb" },
      timeout: 60_000,
    });
    const [{ stdout }] = await Promise.all([played, whenSleeping(() => writeFile(seen, ""), 2)]);
    return JSON.parse(stdout) as unknown;
  });
  assert.ok(Array.isArray(result));
  assert.match(String(result[1]), /canceling statement due to user request/);
  assert.match(String(result.at(-1)), /alive/);
});

test("a policy is understood: masks, a denial with its message, and \\dt goes on", async () => {
  await room.run("DROP SCHEMA public CASCADE", "CREATE SCHEMA public");
  await setPolicyScene(room);
  const { stdout, stderr } = await runProgram(programs, room.proxied, "psql", ["-XAt"], {
    input: [
      "SELECT name, ssn FROM people WHERE id = 1;",
      "SELECT name, ssn FROM people WHERE id = $1 \\bind 1 \\g",
      "\\copy people TO STDOUT",
      "DROP TABLE people;",
      "\\dt",
      "\\d people",
      "\\echo :SQLSTATE",
      "BEGIN;",
      "DELETE FROM people;",
      "SELECT 1;",
      "ROLLBACK;",
      "SELECT count(*) FROM people;",
    ].join("\n"),
  });
  assert.deepEqual(stdout.split("\n"), [
    "Ada|*******1120",
    "Ada|*******1120",
    "1\tAda\t*******1120",
    "2\tGrace\t*******9999",
    "public|people|table|postgres",
    "42501",
    "BEGIN",
    "ROLLBACK",
    "2",
    "",
  ]);
  assert.deepEqual(stderr.split("\n"), [
    "ERROR:  Ask the data team.",
    "HINT:  chaperone: Denied",
    "ERROR:  no rule allows select with function pg_catalog.pg_partition_ancestors",
    "HINT:  chaperone: Denied",
    "ERROR:  Ask the data team.",
    "HINT:  chaperone: Denied",
    "ERROR:  current transaction is aborted, commands ignored until end of transaction block",
    "",
  ]);
});

test("what \\d shows is the same under masks, with the rule that docs/clients.md gives for it", async () => {
  await room.run(...shop, ...notes, "CREATE TABLE people (id int PRIMARY KEY, ssn text)");
  const documented = await readFile(join(import.meta.dirname, "../../docs/clients.md"), "utf8");
  const functions = [...documented.matchAll(/- (pg_catalog\.\w+)/g)].map(([, name = ""]) => name);
  assert.ok(functions.length >= 7);
  room.harness.setRules(
    [
      allow({ statements: ["select"], relations: ["public.*", "pg_catalog.*"] }),
      allow({ functions }),
    ],
    {
      columnMasks: [
        { column: "public.people.ssn", transform: { kind: "redact" }, policy: "agents/p" },
      ],
    },
  );
  const tables = ["notes", "people", "orders", "open_orders"];
  const input = ["\\d", ...tables.flatMap((name) => [`\\d ${name}`, `\\d+ ${name}`])].join("\n");
  const [direct, proxied] = [
    await runProgram(programs, room.direct, "psql", ["-X"], { input }),
    await runProgram(programs, room.proxied, "psql", ["-X"], { input }),
  ];
  assert.equal(proxied.stderr, "");
  assert.equal(proxied.stdout, direct.stdout);
  assert.match(direct.stdout, /Foreign-key constraints/);
});

/** Calls back each time another sleep of a client is seen at the server. */
async function whenSleeping(seen: () => Promise<void>, times: number): Promise<void> {
  const query =
    "SELECT query_start::text AS began FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%FROM pg_sleep(60)%' AND pid <> pg_backend_pid()";
  let before: unknown;
  for (let at = 0; at < times; at += 1) {
    let began: unknown;
    while (began === undefined || began === before) {
      await delay(20);
      began = (await room.run(query))[0]?.["began"];
    }
    before = began;
    await seen();
  }
}
