import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";
import { allow, deny, everything, hold, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";

const noMasks = {
  catalogQueries: [],
  catalog: () => undefined,
  masking: () => {
    throw new Error("this suite has no masks");
  },
};

let server: PostgresServer;
let proxy: Harness;

before(async () => {
  server = await startPostgres({ tls: true });
  const admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query(
    "CREATE TABLE orders (id int PRIMARY KEY, note text); INSERT INTO orders SELECT g, 'note ' || g FROM generate_series(1, 1000) g",
  );
  await admin.end();
  proxy = await startHarness(server, { masks: noMasks });
});

after(async () => {
  await proxy?.close();
  await server?.stop();
});

async function client(changes: pg.ClientConfig = {}): Promise<pg.Client> {
  const connected = new pg.Client({
    host: proxy.host,
    port: proxy.port,
    user: "agent",
    password: "anything",
    database: "postgres",
    ssl: { ca: proxy.caPem, servername: "localhost" },
    ...changes,
  });
  connected.on("error", () => undefined);
  await connected.connect();
  return connected;
}

test("simple, extended and named prepared statements pass, and each is one event", async () => {
  proxy.setRules(everything);
  const db = await client();
  const seen = proxy.operations().length;
  assert.equal((await db.query("SELECT 1 AS one")).rows[0].one, 1);
  const { rows } = await db.query("SELECT note FROM orders WHERE id = $1", [7]);
  assert.deepEqual(rows, [{ note: "note 7" }]);
  for (let id = 1; id <= 3; id++) {
    const named = { name: "by-id", text: "SELECT note FROM orders WHERE id = $1", values: [id] };
    assert.equal((await db.query(named)).rows[0].note, `note ${id}`);
  }
  await db.end();
  const events = proxy.operations().slice(seen);
  assert.equal(events.length, 5);
  assert.deepEqual(
    events.map((event) => event.body.outcome?.status),
    ["ok", "ok", "ok", "ok", "ok"],
  );
  assert.equal(events[1]?.body.outcome?.rows, 1);
});

test("a denied statement says so, and the connection lives on", async () => {
  proxy.setRules([
    allow({ statements: ["select"], relations: ["public.orders"] }),
    deny({ statements: ["delete"] }),
  ]);
  const db = await client();
  await assert.rejects(db.query("DELETE FROM orders"), { code: "42501", severity: "ERROR" });
  await assert.rejects(db.query("DELETE FROM orders WHERE id = $1", [1]), { code: "42501" });
  await assert.rejects(
    db.query({ name: "d", text: "DELETE FROM orders WHERE id = $1", values: [1] }),
    {
      code: "42501",
    },
  );
  assert.equal((await db.query("SELECT count(*)::int AS n FROM orders")).rows[0].n, 1000);
  await db.end();
  assert.equal(
    server.log().includes("chaperone:"),
    false,
    "outside a transaction the server hears nothing of a refusal",
  );
});

void hold;
