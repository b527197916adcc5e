// Invariant 3: no value a mask covers reaches the agent, a log line or a recording, in any format, by any statement, streamed or not.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import pg from "pg";
import { databasePolicyYaml, secretNumbers } from "./local-manifests.ts";
import { startRelay, type Relay } from "./local-relay.ts";
import { findSecrets, findSecretsInBytes } from "./local-search.ts";
import {
  createSystem,
  eventually,
  startServers,
  type Dev,
  type LocalSystem,
  type Servers,
} from "./local-system.ts";
import { rawClient, rowsOf, type RawClient } from "./postgres-proxy-raw.ts";

let servers: Servers;
let system: LocalSystem;
let dev: Dev;
let relay: Relay;
let client: pg.Client;
const notices: string[] = [];

/** Generous on purpose: what is refused here is refused by the masks alone. */
const wide = databasePolicyYaml({
  rules: [
    '{name: write, action: Allow, sql: {statements: [insert, update, merge, copy, explain], relations: ["public.*"]}}',
    "{name: ddl, action: Allow, sql: {statements: [utility, create, alter, set, transaction]}}",
  ],
}).replace(/ {4}- name: refunds-need-a-person\n(?: {6}.*\n)+/, "");

before(async () => {
  servers = await startServers({ steps: [{ text: "hello" }] });
  for (const sql of [
    "CREATE TABLE tickets (id int PRIMARY KEY, customer int)",
    `CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$
       DECLARE number text := (SELECT ssn FROM customers WHERE id = 1);
       BEGIN
         PERFORM pg_notify('tickets', number);
         RAISE NOTICE 'number %', number;
         RAISE WARNING USING MESSAGE = 'number ' || number, ERRCODE = '42501';
         RAISE INFO USING MESSAGE = 'number ' || number, ERRCODE = '57014';
         IF NEW.id = 2 THEN RAISE EXCEPTION 'number %', number; END IF;
         IF NEW.id = 3 THEN RAISE EXCEPTION 'number %', number USING ERRCODE = '42501'; END IF;
         IF NEW.id = 4 THEN RAISE EXCEPTION 'x' USING ERRCODE = '23505', DETAIL = number, HINT = number, COLUMN = number, CONSTRAINT = number, TABLE = number, SCHEMA = number, DATATYPE = number; END IF;
         IF NEW.id = 5 THEN EXECUTE 'SELECT 1 FROM "' || number || '"'; END IF;
         IF NEW.id = 6 THEN PERFORM number::int; END IF;
         IF NEW.id = 7 THEN EXECUTE 'SELECT ' || quote_literal(number) || ' LIMIT ''' || number || ''''; END IF;
         RETURN NEW;
       END $$`,
    "CREATE TRIGGER shout BEFORE INSERT ON tickets FOR EACH ROW EXECUTE FUNCTION shout()",
    "GRANT ALL ON tickets TO app",
  ])
    await servers.superuser(sql);
  system = await createSystem(servers.targets);
  await system.write("database.yaml", wide);
  dev = await system.dev({ env: { CHAPERONE_LOG_LEVEL: "trace" } });
  const { hostname, port } = new URL(dev.databaseUrl);
  relay = await startRelay({ host: hostname, port: Number(port) });
  client = new pg.Client({
    host: "127.0.0.1",
    port: relay.port,
    user: "agent",
    database: "orders",
  });
  client.on("notice", (notice) => notices.push(notice.message ?? ""));
  client.on("error", () => undefined);
  await client.connect();
});

after(async () => {
  await client?.end().catch(() => undefined);
  await relay?.close();
  await dev?.stop();
  await system?.close();
  await servers?.close();
});

afterEach(() => assertNothingSeen());

/** What an agent was sent, on the wire, whatever it was in. */
function assertNothingSeen(): void {
  assert.deepEqual(findSecretsInBytes([...secretNumbers], "the wire", relay.received()), []);
}

const raw = (): Promise<RawClient> => rawClient(relay.port, { database: "orders" });

test("text, binary, cached Describe and a portal read piece by piece are masked alike", async () => {
  const text = "SELECT id, ssn, card FROM customers ORDER BY id";
  const expected = [
    { id: 1, ssn: "*******1120", card: "[redacted]" },
    { id: 2, ssn: "*******9999", card: "[redacted]" },
    { id: 3, ssn: "*******5462", card: "[redacted]" },
  ];
  assert.deepEqual((await client.query(text)).rows, expected);
  for (const name of [{}, { name: "cached" }])
    for (let round = 0; round < 2; round += 1) {
      assert.deepEqual((await client.query({ ...name, text, values: [] })).rows, expected);
      const { rows } = await client.query({ text, values: [], binary: true } as pg.QueryConfig);
      assert.deepEqual(rows, expected);
    }
  const wire = await raw();
  const parse = frame("P", `s\0${text}\0\0\0`);
  const bind = frame(
    "B",
    Buffer.concat([Buffer.from("p\0s\0"), int16(0), int16(0), int16(1), int16(1)]),
  );
  const some = frame("E", Buffer.concat([Buffer.from("p\0"), int32(1)]));
  wire.send(frame("Q", "BEGIN\0"));
  await wire.ready();
  wire.send(parse, frame("D", "Ss\0"), bind, some, some, frame("D", "Pp\0"), some, frame("S", ""));
  const rows = rowsOf(await wire.ready());
  assert.deepEqual(
    rows.map((row) => row[1]),
    ["*******1120", "*******9999", "*******5462"],
  );
  await wire.end();
});

test("rows that fail a constraint are not quoted: neither in message, detail, hint nor context", async () => {
  const failing: readonly (readonly [string, string])[] = [
    ["UPDATE customers SET name = NULL WHERE id = 1", "23502"],
    ["UPDATE customers SET id = 2 WHERE id = 1", "23505"],
    ["UPDATE customers SET name = 'x', id = NULL WHERE id = 1", "23502"],
    ["INSERT INTO customers (id, name) VALUES (1, 'x')", "23502"],
  ];
  for (const [text, code] of failing) {
    const error = await client.query(text).then(
      () => assert.fail(text),
      (failure: pg.DatabaseError) => failure,
    );
    assert.equal(error.code, code, `${text}: ${error.message}`);
    assert.equal(error.detail, undefined);
    assert.equal(error.where, undefined);
  }
});

test("what a trigger of the database says, by notice, warning, error of any code or notification, is withheld", async () => {
  await client.query("LISTEN tickets").catch(() => undefined);
  const told: string[] = [];
  client.on("notification", ({ payload }) => told.push(payload ?? ""));
  await client.query("INSERT INTO tickets VALUES (1, 1)");
  for (const id of [2, 3, 4, 5, 6, 7]) {
    await assert.rejects(
      client.query("INSERT INTO tickets VALUES ($1, 1)", [id]),
      (error: pg.DatabaseError) => {
        const said = JSON.stringify([
          error.message,
          error.detail,
          error.hint,
          error.where,
          error.constraint,
        ]);
        assert.ok(!secretNumbers.some((number) => said.includes(number)), said);
        return true;
      },
    );
  }
  await client.query("SELECT 1");
  for (const said of [...told, ...notices])
    assert.ok(!secretNumbers.some((number) => said.includes(number)), said);
  await client.query("UNLISTEN *").catch(() => undefined);
});

test("messages that quote nothing still reach the agent, so that it can mend its statement", async () => {
  await assert.rejects(
    client.query("SELECT nonsense FROM customers"),
    /column "nonsense" does not exist/,
  );
  await assert.rejects(client.query("SELEC 1"), /syntax error/);
  await assert.rejects(client.query("INSERT INTO tickets VALUES (1, 1)"), /duplicate key|withheld/);
});

test("a function call of the old protocol is refused", async () => {
  const wire = await raw();
  const [row] = await servers.superuser("SELECT 'number_of'::regproc::oid::int AS oid");
  const args = Buffer.concat([
    int32(Number(row?.["oid"])),
    int16(0),
    int16(1),
    int32(4),
    int32(1),
    int16(0),
  ]);
  wire.send(frame("F", args));
  const answers = await wire.until((all) => all.some(({ type }) => type === "E"));
  assert.ok(answers.some(({ type }) => type === "E"));
  assert.ok(!answers.some(({ type }) => type === "V"));
  wire.socket.destroy();
});

test("tables and columns that the database administrator renames or makes anew meanwhile leak nothing", async () => {
  const read = async (text: string): Promise<string> =>
    client.query({ text, rowMode: "array" }).then(
      ({ rows }) => JSON.stringify(rows),
      (error: Error) => error.message,
    );
  // The catalog is read and cached with all of these as they are now.
  await servers.superuser(
    "CREATE TABLE swapped (id int, ssn text); INSERT INTO swapped SELECT id, ssn FROM customers; GRANT ALL ON swapped TO app",
  );
  await read("SELECT ssn FROM customers");
  const changes: readonly (readonly [string, string, string])[] = [
    [
      "a table takes another's name",
      "BEGIN; ALTER TABLE customers RENAME TO customers_old; ALTER TABLE swapped RENAME TO customers; COMMIT",
      "SELECT ssn FROM customers",
    ],
    [
      "and back",
      "BEGIN; ALTER TABLE customers RENAME TO swapped; ALTER TABLE customers_old RENAME TO customers; COMMIT",
      "SELECT ssn FROM customers",
    ],
    [
      "a column is made anew, with another number",
      `BEGIN; ALTER TABLE guarded ADD COLUMN moved text; UPDATE guarded SET moved = ssn;
       ALTER TABLE guarded DROP COLUMN ssn; ALTER TABLE guarded RENAME COLUMN moved TO ssn; COMMIT`,
      "SELECT id, ssn FROM guarded",
    ],
  ];
  for (const [what, sql, text] of changes) {
    await servers.superuser(sql);
    const seen = await read(text);
    assert.ok(!secretNumbers.some((number) => seen.includes(number)), `${what}: ${seen}`);
  }
});

test("a view that is redefined to show a masked column shows it masked within a second", async () => {
  await servers.superuser(
    "CREATE VIEW harmless AS SELECT id, name AS shown FROM customers; GRANT ALL ON harmless TO app",
  );
  const read = (): Promise<string> =>
    client.query<{ shown: string }>("SELECT shown FROM harmless").then(
      ({ rows }) => rows.map(({ shown }) => shown).join(),
      (error: Error) => error.message,
    );
  await eventually("the view is known", async () => (await read()).includes("Ada"), 5_000);
  await servers.superuser(
    "CREATE OR REPLACE VIEW harmless AS SELECT id, ssn AS shown FROM customers",
  );
  await setTimeout(1_050);
  assert.equal(
    await read(),
    [...secretNumbers].map((number) => `*******${number.slice(-4)}`).join(),
  );
});

test("nothing of it stands in the log, the store, the spool or a replay", async () => {
  await client.query("SELECT ssn FROM customers").catch(() => undefined);
  await dev.stop();
  const replay = await system.cli(["sessions", "replay", "--no-wait", "--state", system.state]);
  const findings = await findSecrets([...secretNumbers], system.state, {
    stderr: dev.stderr(),
    replay: replay.stdout + replay.stderr,
    policies: await system
      .cli(["events", "--state", system.state, "-o", "json", "--limit", "5000"])
      .then(({ stdout }) => stdout),
  });
  assert.deepEqual(findings, []);
});

function frame(type: string, body: Buffer | string): Buffer {
  const bytes = Buffer.from(body);
  const head = Buffer.alloc(5);
  head.write(type, 0, "latin1");
  head.writeInt32BE(4 + bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}
