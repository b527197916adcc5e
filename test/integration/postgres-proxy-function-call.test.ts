// FunctionCall messages (libpq's PQfn, large objects): denied unless a rule allows the function by its name.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import { message } from "../../proxy/postgres/messages.ts";
import { allow, deny, everything, hold, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, field, rawClient, statusOf, typesOf } from "./postgres-proxy-raw.ts";
import type { Answer } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let direct: pg.Client;
let bump: number;
let echo: number;

before(async () => {
  server = await startPostgres();
  proxy = await startHarness(server);
  direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  await direct.query(`
    CREATE TABLE touched (what text);
    CREATE FUNCTION bump() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO touched VALUES ('x'); RETURN 7; END $$;
    CREATE FUNCTION echo(value text) RETURNS text LANGUAGE sql AS 'SELECT value';
  `);
  const { rows } = await direct.query(
    "SELECT 'bump'::regproc::oid::int AS bump, 'echo'::regproc::oid::int AS echo",
  );
  ({ bump, echo } = rows[0]);
});

beforeEach(async () => {
  await direct.query("TRUNCATE touched");
  proxy.setRules(everything);
});

after(async () => {
  await direct?.end();
  await proxy?.close();
  await server?.stop();
});

async function touched(): Promise<number> {
  return (await direct.query("SELECT count(*)::int AS n FROM touched")).rows[0].n;
}

/** Text arguments, a text result. */
function call(oid: number, ...values: readonly string[]): Buffer {
  const head = Buffer.alloc(8);
  head.writeInt32BE(oid, 0);
  head.writeInt16BE(values.length, 6);
  const parts = values.flatMap((value) => {
    const length = Buffer.alloc(4);
    length.writeInt32BE(Buffer.byteLength(value));
    return [length, Buffer.from(value)];
  });
  return message(0x46, Buffer.concat([head, ...parts, Buffer.alloc(2)]));
}

function resultOf(answers: readonly Answer[]): string | undefined {
  return answers.find(({ type }) => type === "V")?.body.toString("utf8", 4);
}

test("a function that another session renames is called by its new name, in a transaction with an older snapshot too", async () => {
  proxy.setRules([allow({ functions: ["public.echo"], statements: ["select"] })]);
  const raw = await rawClient(proxy.port);
  raw.send(serialize.query("BEGIN ISOLATION LEVEL REPEATABLE READ"), serialize.query("SELECT 1"));
  await raw.ready(2);
  await direct.query("ALTER FUNCTION echo(text) RENAME TO another");
  try {
    raw.send(call(echo, "hello"), serialize.query("ROLLBACK"));
    const answers = await raw.ready(2);
    assert.deepEqual(errorsOf(answers), ["42501"]);
    assert.equal(resultOf(answers), undefined);
  } finally {
    await direct.query("ALTER FUNCTION another(text) RENAME TO echo");
  }
  await raw.end();
});

test("a function that a rule names is called, and the event names it", async () => {
  proxy.setRules([allow({ functions: ["public.echo"], statements: ["select"] })]);
  const raw = await rawClient(proxy.port);
  const seen = proxy.operations().length;
  raw.send(call(echo, "hello"), serialize.query("SELECT 1"), call(echo, "again"));
  const answers = await raw.ready(3);
  assert.equal(typesOf(answers), "VZTDCZVZ");
  assert.equal(resultOf(answers), "hello");
  const events = proxy.operations().slice(seen);
  assert.deepEqual(
    events.map(({ body }) => [body.operation?.summary, body.outcome?.status]),
    [
      ["function call public.echo", "ok"],
      ["SELECT 1", "ok"],
      ["function call public.echo", "ok"],
    ],
  );
  await raw.end();
});

test("any other is refused, recorded, and never runs", async () => {
  const none = [allow({ statements: ["select", "insert"] })];
  for (const rules of [
    none,
    [...none, allow({ functions: ["public.echo"] })],
    [...everything, deny({ functions: ["public.bump"] })],
  ]) {
    proxy.setRules(rules);
    const raw = await rawClient(proxy.port);
    const seen = proxy.operations().length;
    raw.send(call(bump), serialize.query("SELECT 1"));
    const answers = await raw.ready(2);
    assert.equal(typesOf(answers), "EZTDCZ");
    assert.deepEqual(errorsOf(answers), ["42501"]);
    assert.equal(proxy.operations()[seen]?.body.outcome?.status, "denied");
    await raw.end();
  }
  assert.equal(await touched(), 0);
});

test("settings are not changed by a call, whatever the rules allow", async () => {
  const { rows } = await direct.query("SELECT 'set_config'::regproc::oid::int AS oid");
  const raw = await rawClient(proxy.port);
  raw.send(call(rows[0].oid, "search_path", "evil", "f"), serialize.query("SHOW search_path"));
  const answers = await raw.ready(2);
  assert.deepEqual(errorsOf(answers), ["42501"]);
  assert.match(answers.find(({ type }) => type === "D")?.body.toString() ?? "", /public, pg_temp/);
  await raw.end();
});

test("numbers of no function, and calls that are cut short, get an error and the session lives", async () => {
  const raw = await rawClient(proxy.port);
  raw.send(call(0), call(2_000_000_000), call(echo), serialize.query("SELECT 1"));
  const answers = await raw.ready(4);
  assert.equal(typesOf(answers), "EZEZEZTDCZ");
  await raw.end();
  const broken = await rawClient(proxy.port);
  broken.send(message(0x46, Buffer.from([1, 2])));
  await assert.rejects(broken.ready(), /closed after E/);
  assert.equal(field(broken.answers[0] ?? { type: "", body: Buffer.alloc(0) }, "C"), "08P01");
});

test("where masks apply, in a half-sent pipeline and in a failed transaction it is refused", async () => {
  const mask = {
    column: "public.touched.what",
    transform: { kind: "redact" },
    policy: "agents/p",
  } as const;
  proxy.setRules(everything, { columnMasks: [mask] });
  const raw = await rawClient(proxy.port);
  raw.send(call(bump));
  assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
  proxy.setRules(everything);
  raw.send(
    serialize.parse({ text: "INSERT INTO touched VALUES ('first')" }),
    serialize.bind(),
    serialize.execute(),
    serialize.flush(),
    call(bump),
  );
  assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
  assert.equal(await touched(), 0, "what the pipeline did before does not commit");
  raw.send(serialize.query("BEGIN"), serialize.query("SELECT 1/0"), call(bump));
  const answers = await raw.ready(3);
  assert.equal(statusOf(answers), "TEE");
  raw.send(
    serialize.query("ROLLBACK"),
    serialize.query("BEGIN"),
    call(bump),
    serialize.query("COMMIT"),
  );
  assert.equal(statusOf(await raw.ready(4)), "ITTI");
  assert.equal(await touched(), 1);
  await raw.end();
});

test("a call behind approval waits, runs once, and a read-only policy stops its writes", async () => {
  proxy.setRules([allow({ statements: ["insert"] }), hold({ functions: ["public.bump"] }, 30)]);
  const raw = await rawClient(proxy.port);
  raw.send(call(bump));
  while (proxy.requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
  proxy.answerRequest("Approved");
  assert.equal(resultOf(await raw.ready()), "7");
  assert.equal(await touched(), 1);
  proxy.setRules([allow({ functions: ["public.bump"] })]);
  raw.send(call(bump));
  assert.deepEqual(errorsOf(await raw.ready()), ["25006"]);
  assert.equal(await touched(), 1);
  await raw.end();
});

test("limits.bytesPerResult counts its value, and a call that is too large is refused in its place", async () => {
  proxy.setRules(everything, { limits: { bytesPerResult: 1_000 } });
  const raw = await rawClient(proxy.port);
  raw.send(call(echo, "x".repeat(5_000)), serialize.query("SELECT 1"));
  assert.deepEqual(errorsOf(await raw.ready(2)), ["54000"]);
  proxy.setRules(everything);
  raw.send(call(echo, "y".repeat(900_000)), serialize.query("SELECT 1"));
  assert.equal(resultOf(await raw.ready(2))?.length, 900_000);
  raw.send(call(echo, "z".repeat(2_000_000)), serialize.query("SELECT 1"));
  assert.deepEqual(errorsOf(await raw.ready(2)), ["42501"]);
  await raw.end();
});
