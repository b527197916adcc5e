// Servers before PostgreSQL 18 do not report search_path. A function that policy lets be called may set it, and then the same text names other tables.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { after, before, beforeEach, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import { allow, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, field, rawClient, rowsOf } from "./postgres-proxy-raw.ts";
import type { Answer, RawClient } from "./postgres-proxy-raw.ts";
import { postgresAvailable, startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

const skip = postgresAvailable() ? false : "the embedded PostgreSQL is not installed";
let server: PostgresServer;
let older: Server;
let proxy: Harness;

/** The server as those before 18 are: what it reports of the path goes by another name of the same length. */
async function withoutReports(of: PostgresServer): Promise<Server> {
  const relay = createServer((client) => {
    const upstream = connect(of.port, of.host);
    const gone = (): void => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream] satisfies Socket[])
      socket.on("error", gone).on("close", gone);
    client.pipe(upstream);
    upstream.on("data", (bytes: Buffer) =>
      client.write(
        Buffer.from(
          bytes.toString("latin1").replaceAll("search_path\0", "search_pith\0"),
          "latin1",
        ),
      ),
    );
  });
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  return relay;
}

before(async () => {
  if (skip !== false) return;
  server = await startPostgres();
  const direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  await direct.query(`
    CREATE TABLE orders (id int PRIMARY KEY, note text);
    INSERT INTO orders VALUES (1, 'one');
    CREATE TABLE secrets (id int, note text);
    INSERT INTO secrets VALUES (1, 'canary');
    CREATE SCHEMA other; CREATE VIEW other.orders AS SELECT * FROM secrets;
    CREATE FUNCTION run(sql text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE sql; END $$;`);
  await direct.end();
  older = await withoutReports(server);
  proxy = await startHarness(server);
  const address = older.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  proxy.setEndpoint({ port: address.port });
});

after(async () => {
  await proxy?.close();
  older?.close();
  await server?.stop();
});

beforeEach(() => {
  proxy?.setRules([
    allow({ statements: ["select"], relations: ["public.orders"], functions: ["public.run"] }),
    allow({ statements: ["transaction"] }, "transactions"),
  ]);
});

const read = "SELECT note FROM orders";
const astray = "SELECT run('SET search_path TO other, public')";
const parsed = (text: string): Buffer =>
  Buffer.concat([serialize.parse({ text }), serialize.bind({}), serialize.execute({})]);
const whole = (answers: readonly Answer[]): string => JSON.stringify(rowsOf(answers));
const words = (answers: readonly Answer[]): string =>
  answers.map((answer) => (answer.type === "E" ? field(answer, "M") : "")).join("\n");

async function ended(raw: RawClient): Promise<Answer[]> {
  return raw.until(() => raw.closed);
}

test(
  "a statement behind a function that changed it does not run: the session ends",
  { skip },
  async () => {
    for (const [how, bytes] of [
      ["one after the other", Buffer.concat([serialize.query(astray), serialize.query(read)])],
      [
        "in a transaction",
        Buffer.concat([serialize.query("BEGIN"), serialize.query(astray), serialize.query(read)]),
      ],
      [
        "in a pipeline of a transaction",
        Buffer.concat([serialize.query("BEGIN"), parsed(astray), parsed(read), serialize.sync()]),
      ],
      [
        "for the transaction only",
        Buffer.concat([
          serialize.query("BEGIN"),
          serialize.query("SELECT run('SET LOCAL search_path TO other')"),
          serialize.query(read),
        ]),
      ],
    ] as const) {
      const raw = await rawClient(proxy.port);
      raw.send(bytes);
      const answers = await ended(raw);
      assert.doesNotMatch(whole(answers), /canary/, how);
      assert.match(words(answers), /a function changed search_path/, how);
    }
  },
);

test("a statement that was prepared before it does not run either", { skip }, async () => {
  const raw = await rawClient(proxy.port);
  raw.send(serialize.parse({ name: "x", text: read }), serialize.sync());
  await raw.ready();
  raw.send(serialize.query(astray));
  await raw.ready();
  raw.send(serialize.bind({ statement: "x" }), serialize.execute({}), serialize.sync());
  const answers = await ended(raw);
  assert.doesNotMatch(whole(answers), /canary/);
});

test(
  "where nobody can look in between, what names a relation is refused with a way out",
  { skip },
  async () => {
    for (const [how, bytes, way] of [
      [
        "a pipeline",
        Buffer.concat([parsed(astray), parsed(read), serialize.sync()]),
        /send Sync between/,
      ],
      ["one text", serialize.query(`${astray}; ${read}`), /send them one by one/],
    ] as const) {
      const raw = await rawClient(proxy.port);
      raw.send(bytes);
      const answers = await raw.ready();
      assert.doesNotMatch(whole(answers), /canary/, how);
      assert.deepEqual(errorsOf(answers), ["42501"], how);
      assert.match(words(answers), way, how);
      await raw.end();
    }
  },
);

test("behind a function that leaves it alone everything goes on", { skip }, async () => {
  const raw = await rawClient(proxy.port);
  raw.send(
    serialize.query("SELECT run('SELECT 1')"),
    serialize.query(read),
    parsed("SELECT run('SELECT 2')"),
    parsed("SELECT run('SELECT 3')"),
    serialize.sync(),
    parsed(read),
    serialize.sync(),
    serialize.query("BEGIN"),
    parsed("SELECT run('SELECT 4') FROM orders"),
    parsed(read),
    serialize.sync(),
    serialize.query("COMMIT"),
  );
  const answers = await raw.ready(7);
  assert.deepEqual(errorsOf(answers), []);
  assert.equal(rowsOf(answers).filter(([note]) => note === "one").length, 3);
  raw.send(serialize.query("SELECT run('this is no SQL')"), serialize.query(read));
  const failed = await raw.ready(2);
  assert.deepEqual(errorsOf(failed), ["42601"]);
  assert.deepEqual(rowsOf(failed), [["one"]]);
  await raw.end();
});

test(
  "a call that fails in a transaction fails alone: the path is not asked for while the server skips to Sync",
  { skip },
  async () => {
    const fails = "SELECT run('this is no SQL') FROM orders";
    for (const [how, batch] of [
      ["with its Sync", Buffer.concat([parsed(fails), serialize.sync()])],
      ["with more behind it", Buffer.concat([parsed(fails), parsed(read), serialize.sync()])],
      [
        "behind another call",
        Buffer.concat([parsed("SELECT run('SELECT 1')"), parsed(fails), serialize.sync()]),
      ],
    ] as const) {
      const raw = await rawClient(proxy.port);
      raw.send(serialize.query("BEGIN"), batch, serialize.query("ROLLBACK"), serialize.query(read));
      const answers = await raw.ready(4);
      assert.deepEqual(errorsOf(answers), ["42601"], how);
      assert.deepEqual(rowsOf(answers).at(-1), ["one"], how);
      await raw.end();
    }
  },
);

test(
  "a call that fails behind a COMMIT in its pipeline leaves a session that goes on",
  { skip },
  async () => {
    const raw = await rawClient(proxy.port);
    raw.send(
      serialize.query("BEGIN"),
      parsed("COMMIT"),
      parsed("SELECT run('this is no SQL')"),
      serialize.sync(),
      serialize.query(read),
    );
    const answers = await raw.ready(3);
    assert.deepEqual(errorsOf(answers), ["42601"]);
    assert.deepEqual(rowsOf(answers).at(-1), ["one"]);
    await raw.end();
  },
);

test(
  "looking at the path in the middle of a pipeline commits nothing that the pipeline takes back at its end",
  { skip },
  async () => {
    proxy.setRules([
      allow({ statements: ["select", "insert"], relations: ["*"], functions: ["public.run"] }),
      allow({ statements: ["transaction"] }, "transactions"),
    ]);
    const raw = await rawClient(proxy.port);
    raw.send(
      serialize.query("BEGIN"),
      parsed("COMMIT"),
      parsed("SELECT run($$INSERT INTO secrets VALUES (2, 'early')$$)"),
      parsed("SELECT note FROM orders WHERE 1 / (id - 1) > 0"),
      serialize.sync(),
    );
    const answers = await raw.ready(2);
    assert.match(words(answers), /send Sync between them/);
    await raw.end();
    const direct = new pg.Client({ connectionString: server.superuserUrl });
    await direct.connect();
    const { rows } = await direct.query("SELECT note FROM secrets WHERE id = 2");
    await direct.end();
    assert.deepEqual(rows, []);
  },
);
