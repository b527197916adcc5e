// Partitions, children and views of a table, through the proxy: masked as what they show.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import { everything, startHarness, type Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, rawClient, rowsOf, type Answer, type RawClient } from "./postgres-proxy-raw.ts";
import { startPostgres, type PostgresServer } from "./postgres-server.ts";

const secret = "123-45-6789";
let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;

before(async () => {
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query(`
    CREATE TABLE events (id int, ssn text) PARTITION BY RANGE (id);
    CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
    CREATE TABLE events_low_a PARTITION OF events_low FOR VALUES FROM (0) TO (50);
    CREATE TABLE events_rest PARTITION OF events DEFAULT;
    INSERT INTO events VALUES (1, '${secret}'), (200, '${secret}');
    CREATE TABLE people (id int, ssn text);
    CREATE TABLE staff (desk int) INHERITS (people);
    CREATE TABLE bosses () INHERITS (staff);
    INSERT INTO people VALUES (1, '${secret}');
    INSERT INTO staff VALUES (2, '${secret}', 7);
    INSERT INTO bosses VALUES (3, '${secret}', 8);
    CREATE VIEW seen AS SELECT id AS number, ssn AS what FROM events_low;
    CREATE VIEW seen_again AS SELECT what, number FROM seen UNION ALL SELECT ssn, id FROM ONLY bosses;
    CREATE MATERIALIZED VIEW stored AS SELECT * FROM staff;
  `);
  proxy = await startHarness(server);
});

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

async function ask(raw: RawClient, text: string): Promise<Answer[]> {
  raw.send(serialize.query(text));
  return raw.ready();
}

async function askInBinary(raw: RawClient, text: string): Promise<Answer[]> {
  raw.send(
    serialize.parse({ text }),
    serialize.bind({ binary: true }),
    serialize.execute(),
    serialize.sync(),
  );
  return raw.ready();
}

const relations: Readonly<Record<string, number>> = {
  events: 2,
  events_low: 1,
  events_low_a: 1,
  events_rest: 1,
  people: 3,
  "ONLY people": 1,
  staff: 2,
  bosses: 1,
  seen: 1,
  seen_again: 2,
};

for (const masked of [
  ["public.events.ssn", "public.people.ssn"],
  ["public.events_low_a.ssn", "public.events_rest.ssn", "public.bosses.ssn"],
])
  test(`a mask on ${masked.join(" and ")} is on every parent, partition, child and view of it`, async () => {
    proxy.setRules(everything, {
      columnMasks: masked.map((column) => ({
        column,
        transform: { kind: "redact" },
        policy: "agents/p",
      })),
    });
    const raw = await rawClient(proxy.port);
    for (const [relation, count] of Object.entries(relations))
      for (const [text, rows] of [
        [`SELECT * FROM ${relation}`, count],
        [`SELECT x FROM ${relation} AS x`, count],
        [`COPY (SELECT * FROM ${relation}) TO STDOUT`, 0],
      ] as const) {
        const simple = await ask(raw, text);
        const binary = text.startsWith("COPY") ? [] : await askInBinary(raw, text);
        assert.deepEqual(errorsOf([...simple, ...binary]), [], text);
        assert.equal(rowsOf(simple).length, rows, text);
        const shown = Buffer.concat([...simple, ...binary].map(({ body }) => body)).toString();
        assert.equal(shown.includes(secret), false, text);
        if (text.startsWith("SELECT *"))
          assert.equal(shown.split("[redacted]").length - 1, 2 * count, text);
      }
    // What is kept of it elsewhere is traced, or refused.
    const stored = await ask(raw, "SELECT * FROM stored");
    assert.equal(Buffer.concat(stored.map(({ body }) => body)).includes(secret), false);
    await raw.end();
  });
