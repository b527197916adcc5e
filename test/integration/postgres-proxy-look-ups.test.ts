// What sessions that start at once must know of their database is asked of it once: the server counts.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import pg from "pg";
import { everything, startHarness, type Harness } from "./postgres-proxy-harness.ts";
import { postgresAvailable, startPostgres, type PostgresServer } from "./postgres-server.ts";

const skip = postgresAvailable() ? false : "the embedded PostgreSQL is not installed";
const masked = {
  columnMasks: [{ column: "public.people.ssn", transform: { kind: "redact" }, policy: "agents/p" }],
} as const;
const sessions = 20;
/** Functions under PostgreSQL's own names, and the six of the catalog that masks go by. */
const queriesOfOne = 7;

let server: PostgresServer;
let admin: pg.Client;

before(async () => {
  if (skip !== false) return;
  server = await startPostgres({ settings: { log_statement: "all", log_line_prefix: "" } });
  admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query("CREATE TABLE people (ssn text); INSERT INTO people VALUES ('123-45-6789')");
});

after(async () => {
  await admin?.end();
  await server?.stop();
});

let proxy: Harness;
beforeEach(async () => {
  if (skip !== false) return;
  proxy = await startHarness(server);
  proxy.setRules(everything, masked);
});
afterEach(() => proxy?.close());

let marks = 0;
/** How many questions of ours the server has logged since it was last asked. It keeps the last 64 KiB, which hold more than a dozen times what one session asks. */
async function asked(): Promise<number> {
  marks += 1;
  const mark = (number: number): string => `SELECT 'mark ${number}'`;
  await admin.query(mark(marks));
  const deadline = AbortSignal.timeout(30_000);
  while (!server.log().includes(mark(marks))) {
    deadline.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const since =
    server
      .log()
      .split(mark(marks - 1))
      .at(-1) ?? "";
  return since.split("/* chaperone */").length - 1;
}

async function connectAll(): Promise<pg.Client[]> {
  const clients = Array.from({ length: sessions }, () => {
    const { host, port } = proxy;
    return new pg.Client({ host, port, user: "agent", password: "any", database: "postgres" });
  });
  await Promise.all(clients.map((client) => client.connect()));
  return clients;
}

async function readAll(clients: readonly pg.Client[]): Promise<void> {
  const results = await Promise.all(clients.map((client) => client.query("SELECT * FROM people")));
  for (const { rows } of results) assert.deepEqual(rows, [{ ssn: "[redacted]" }]);
}

test(
  "sessions that start at once ask the server once for what all of them must know",
  { skip },
  async () => {
    await asked();
    const clients = await connectAll();
    await readAll(clients);
    assert.equal(await asked(), queriesOfOne);
    await readAll(clients);
    assert.equal(await asked(), 0);
    await Promise.all(clients.map((client) => client.end()));
  },
);

test(
  "where the one that asks leaves before its answer, another asks, and all are answered",
  { skip },
  async () => {
    await asked();
    await admin.query("BEGIN; LOCK TABLE pg_catalog.pg_operator IN ACCESS EXCLUSIVE MODE");
    const [first, ...others] = await connectAll();
    const leaves = first?.query("SELECT * FROM people").catch(() => "left");
    const waiting = async (): Promise<number> => {
      const { rows } = await admin.query(
        "SELECT count(*)::int AS waiting FROM pg_locks WHERE NOT granted",
      );
      return Number(rows[0]?.waiting);
    };
    const deadline = AbortSignal.timeout(30_000);
    for (; (await waiting()) === 0; deadline.throwIfAborted())
      await new Promise((resolve) => setTimeout(resolve, 5));
    const reading = readAll(others);
    await first?.end();
    assert.equal(await leaves, "left");
    await admin.query("COMMIT");
    await reading;
    assert.ok((await asked()) <= 2 * queriesOfOne);
    await Promise.all(others.map((client) => client.end()));
  },
);

test(
  "a session's own change is read by itself, whatever another was just reading",
  { skip },
  async () => {
    const [changes, others] = await connectAll().then(([first, ...rest]) => [first, rest] as const);
    for (let round = 0; round < 5; round += 1) {
      const reading = readAll(others);
      // A table that the catalog lacks is refused, and one that was just read is not read again for it.
      await changes?.query(`CREATE TABLE made_${round} (at int)`);
      const seen = await changes?.query(`SELECT * FROM made_${round}`);
      assert.deepEqual(seen?.rows, []);
      await reading;
    }
    for (const client of [changes, ...others]) await client?.end();
  },
);
