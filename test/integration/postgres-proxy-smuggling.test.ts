// Both sides must agree where each message ends, whatever happens amid one: else bytes that were decided as a value run as a statement.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import { deny, everything, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { rawClient, rowsOf, statusOf, typesOf } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;

before(async () => {
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  admin.on("error", () => undefined);
  await admin.connect();
  await admin.query("CREATE TABLE numbers (n int); CREATE TABLE precious (n int)");
  await admin.query("INSERT INTO precious VALUES (1)");
  proxy = await startHarness(server);
});

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

/** The beginning of a CopyData message of `length` bytes of data, with the first of them. */
function begunCopyData(length: number, first: string): Buffer {
  const whole = serialize.copyData(Buffer.alloc(length, "x"));
  whole.write(first, 5, "latin1");
  return whole.subarray(0, 5 + first.length);
}

test("COPY data that spans the failure of its COPY reaches the server to its end", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("COPY numbers FROM STDIN"));
  await raw.until((answers) => answers.some(({ type }) => type === "G"));
  raw.send(serialize.copyData(Buffer.from("no number\n")), begunCopyData(300, "1\n"));
  assert.equal(statusOf(await raw.ready()), "I");
  raw.send(Buffer.alloc(298, "x"), serialize.copyDone(), serialize.query("SELECT 7"));
  const answers = await raw.ready();
  assert.equal(typesOf(answers), "TDCZ");
  assert.deepEqual(rowsOf(answers), [["7"]]);
  await raw.end();
});

test("a statement hidden in a parameter does not run because COPY data was cut off before it", async () => {
  proxy.setRules([...everything, deny({ relations: ["public.precious"] })]);
  const hidden = serialize.query("DELETE FROM precious");
  const parse = serialize.parse({ text: "SELECT length($1::bytea)", types: [17] });
  const bind = serialize.bind({ values: [hidden] });
  const decided = Buffer.concat([parse, bind, serialize.execute({}), serialize.sync()]);
  const missing = decided.indexOf(hidden);
  assert.ok(missing > 0);
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("COPY numbers FROM STDIN"));
  await raw.until((answers) => answers.some(({ type }) => type === "G"));
  raw.send(serialize.copyData(Buffer.from("no number\n")), begunCopyData(2 + missing, "1\n"));
  await raw.ready();
  raw.send(Buffer.alloc(missing, "x"), decided);
  const answers = await raw.until((all) => raw.closed || all.at(-1)?.type === "Z");
  const { rows } = await admin.query("SELECT count(*)::int AS left FROM precious");
  assert.equal(rows[0].left, 1);
  assert.deepEqual(rowsOf(answers), [[String(hidden.length)]]);
  await raw.end();
});
