// pg_receivewal, pg_recvlogical, pg_basebackup and psycopg2 as they are: refused by default, and where a rule names replication the same as straight from the server.
import assert from "node:assert/strict";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { allow, everything } from "../integration/postgres-proxy-harness.ts";
import { pythonDrivers } from "./drivers.ts";
import { installPrograms, runProgram, type Programs, type Ran } from "./programs.ts";
import { pythonPackages, runPython } from "./python.ts";
import { openRoom, type ClientRoom, type Way } from "./room.ts";

let programs: Programs;
let packages: string;
let room: ClientRoom;

before(async () => {
  programs = await installPrograms();
  packages = await pythonPackages(pythonDrivers);
  room = await openRoom(undefined, { wal_level: "logical" });
  await room.run("CREATE TABLE people (id int PRIMARY KEY, name text)");
});

after(async () => {
  await room?.close();
});

function allowReplication(): void {
  room.harness.setRules([...everything, allow({ statements: ["replication"] }, "replicate")]);
}

/** The write-ahead log from a slot of its own up to a place; the folder it is written to. */
async function receiveWal(way: Way, end: string): Promise<{ ran: Ran; folder: string }> {
  const folder = join(room.directory, `wal-${way.name}`);
  await mkdir(folder, { recursive: true });
  const args = ["--no-loop", "-D", folder, `--endpos=${end}`, `--slot=wal_${way.name}`];
  return { ran: await runProgram(programs, way, "pg_receivewal", args), folder };
}

/** Changes of one table as test_decoding tells them, from slot to end. */
async function receiveChanges(way: Way): Promise<Ran> {
  const common = ["-d", "postgres", "--slot=changes"];
  const created = await runProgram(programs, way, "pg_recvlogical", [
    ...common,
    "--create-slot",
    "--plugin=test_decoding",
  ]);
  if (created.status !== 0) return created;
  const [row] = await room.run(
    "TRUNCATE people; INSERT INTO people VALUES (1, 'Ada'), (2, 'Grace'); UPDATE people SET name = 'Ada L.' WHERE id = 1",
    "SELECT pg_current_wal_lsn()::text AS lsn",
  );
  await room.run("INSERT INTO people VALUES (3, 'behind the end')");
  const ran = await runProgram(programs, way, "pg_recvlogical", [
    ...common,
    "--start",
    "--no-loop",
    "--file=-",
    "--option=include-xids=0",
    `--endpos=${String(row?.["lsn"])}`,
  ]);
  await runProgram(programs, way, "pg_recvlogical", [...common, "--drop-slot"]);
  return ran;
}

test("each is refused where no rule names replication, and says why", async () => {
  room.harness.setRules(everything);
  for (const { stderr, status } of [
    (await receiveWal(room.proxied, "0/1")).ran,
    await receiveChanges(room.proxied),
    await runProgram(programs, room.proxied, "pg_basebackup", ["-D", join(room.directory, "no")]),
  ]) {
    assert.notEqual(status, 0);
    assert.match(stderr, /FATAL: .*replication/);
  }
});

test("pg_receivewal writes the same log as straight from the server", async () => {
  allowReplication();
  const [row] = await room.run(
    "SELECT pg_create_physical_replication_slot('wal_direct', true), pg_create_physical_replication_slot('wal_proxied', true)",
    "INSERT INTO people SELECT g, 'name ' || g FROM generate_series(1, 20000) g",
    "SELECT pg_switch_wal()",
    "TRUNCATE people",
    "SELECT pg_current_wal_lsn()::text AS lsn",
  );
  await room.run("INSERT INTO people VALUES (0, 'behind the end')", "SELECT pg_switch_wal()");
  const end = String(row?.["lsn"]);
  const direct = await receiveWal(room.direct, end);
  assert.equal(direct.ran.status, 0, direct.ran.stderr);
  const proxied = await receiveWal(room.proxied, end);
  assert.equal(proxied.ran.status, 0, proxied.ran.stderr);
  const names = (await readdir(direct.folder)).filter((name) => !name.endsWith(".partial"));
  assert.ok(names.length > 0);
  for (const name of names) {
    const [ours, theirs] = await Promise.all(
      [proxied.folder, direct.folder].map((folder) => readFile(join(folder, name))),
    );
    if (ours !== undefined && theirs !== undefined) assert.ok(ours.equals(theirs), name);
  }
});

test("pg_recvlogical tells the same changes as straight from the server", async () => {
  allowReplication();
  const direct = await receiveChanges(room.direct);
  assert.equal(direct.status, 0, direct.stderr);
  assert.match(direct.stdout, /table public\.people: INSERT: id\[integer\]:1 name\[text\]:'Ada'/);
  const proxied = await receiveChanges(room.proxied);
  assert.deepEqual(
    [proxied.status, proxied.stdout, proxied.stderr],
    [0, direct.stdout, direct.stderr],
  );
});

test("pg_basebackup takes a backup that verifies, with the log beside it on a second connection", async () => {
  allowReplication();
  const folder = join(room.directory, "backup");
  const args = ["-D", folder, "--checkpoint=fast", "--wal-method=stream"];
  const taken = await runProgram(programs, room.proxied, "pg_basebackup", args);
  assert.equal(taken.status, 0, taken.stderr);
  const verified = await runProgram(programs, room.proxied, "pg_verifybackup", [
    "--no-parse-wal",
    folder,
  ]);
  assert.equal(verified.status, 0, verified.stderr);
  const summaries = room.harness.operations().map(({ body }) => body.operation?.summary ?? "");
  for (const command of [
    "IDENTIFY_SYSTEM",
    "BASE_BACKUP",
    "CREATE_REPLICATION_SLOT",
    "START_REPLICATION",
  ])
    assert.ok(
      summaries.some((summary) => summary.startsWith(command)),
      command,
    );
});

test("psycopg2 consumes a stream, acknowledges it and stops, as straight from the server", async () => {
  allowReplication();
  const play = (way: Way): Promise<unknown> =>
    runPython("psycopg2_replication.py", [JSON.stringify(way)], packages);
  const direct = await play(room.direct);
  assert.deepEqual(await play(room.proxied), direct);
});
