// Replication connections: refused unless a rule names them, decided before the database hears of them, each command an operation, the stream bounded and cut.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, afterEach, before, test } from "node:test";
import pg from "pg";
import { ProxyError } from "../../proxy/errors.ts";
import { frontend, message, query, startupMessage } from "../../proxy/postgres/messages.ts";
import { allow, everything, startHarness, type Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, field, rawClient, RawClient, tagsOf, typesOf } from "./postgres-proxy-raw.ts";
import { postgresAvailable, startPostgres, type PostgresServer } from "./postgres-server.ts";

const skip = postgresAvailable() ? false : "the embedded PostgreSQL is not installed";
const replicates = [...everything, allow({ statements: ["replication"] }, "replicate")];
const mask = {
  column: "public.people.ssn",
  transform: { kind: "redact" },
  policy: "agents/invoice-agent",
} as const;

let server: PostgresServer;
let harness: Harness;
let direct: pg.Client;

before(async () => {
  if (skip !== false) return;
  server = await startPostgres({ settings: { wal_level: "logical" } });
  harness = await startHarness(server);
  direct = new pg.Client({ connectionString: server.superuserUrl });
  await direct.connect();
  await direct.query("CREATE TABLE people (id int PRIMARY KEY, ssn text)");
});

afterEach(async () => {
  if (skip !== false) return;
  await direct.query(
    "SELECT pg_terminate_backend(active_pid, 30000) FROM pg_replication_slots WHERE active_pid IS NOT NULL",
  );
  await direct.query("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
  harness.events.length = 0;
});

after(async () => {
  await direct?.end();
  await harness?.close();
  await server?.stop();
});

/** What a client that asks for replication is told instead of being let in. */
async function refusal(replication: string): Promise<{ code?: string; text?: string }> {
  const socket = connect({ port: harness.port, host: "127.0.0.1", allowHalfOpen: true });
  await once(socket, "connect");
  const raw = new RawClient(socket);
  raw.send(startupMessage({ user: "agent", database: "postgres", replication }));
  const [answer] = await raw.until((answers) => answers.length > 0);
  assert.equal(answer?.type, "E");
  const [code, text] = [field(answer, "C"), field(answer, "M")];
  return { ...(code === undefined ? {} : { code }), ...(text === undefined ? {} : { text }) };
}

const summaries = (): unknown[] => harness.operations().map(({ body }) => body.operation?.summary);

test(
  "is refused unless a rule names it, whatever else is allowed, and the database never hears of it",
  { skip },
  async () => {
    harness.setRules(everything);
    const dialled = harness.dialled();
    for (const replication of ["true", "on", "1", "database"]) {
      const { code, text } = await refusal(replication);
      assert.equal(code, "42501");
      assert.match(String(text), /replication/);
    }
    assert.equal(harness.dialled(), dialled);
    assert.equal(harness.operations().length, 4);
    for (const { body } of harness.operations()) {
      assert.equal(body.outcome?.status, "denied");
      assert.deepEqual(body.operation?.facts?.["statements"], ["replication"]);
    }
  },
);

test(
  "is refused where masks or limits of results apply, although a rule names it",
  { skip },
  async () => {
    harness.setRules(replicates, { columnMasks: [mask] });
    assert.match(String((await refusal("database")).text), /shows every column as it is/);
    harness.setRules(replicates, { limits: { rowsPerResult: 5 } });
    assert.match(String((await refusal("true")).text), /limits\.rowsPerResult/);
    for (const { body } of harness.operations()) assert.equal(body.outcome?.status, "denied");
  },
);

test(
  "a value of the parameter that the server would not take is refused by name",
  { skip },
  async () => {
    harness.setRules(replicates);
    assert.deepEqual((await refusal("maybe")).code, "0A000");
  },
);

test(
  "each command is one operation of its kind, and SQL beside them is decided as ever",
  { skip },
  async (t) => {
    if (server.major < 15) {
      t.skip("before PostgreSQL 15 these commands have another grammar");
      return;
    }
    harness.setRules([
      allow({ statements: ["replication"] }, "replicate"),
      allow({ statements: ["select"], relations: ["public.people"] }, "read"),
    ]);
    const raw = await rawClient(harness.port, { replication: "database" });
    raw.send(query("IDENTIFY_SYSTEM"));
    assert.equal(typesOf(await raw.ready()), "TDCZ");
    raw.send(query("CREATE_REPLICATION_SLOT \"one\" LOGICAL pgoutput (SNAPSHOT 'nothing')"));
    assert.equal(typesOf(await raw.ready()), "TDCZ");
    raw.send(query("READ_REPLICATION_SLOT one"));
    // Of a logical slot the server says that it cannot.
    assert.deepEqual(errorsOf(await raw.ready()), ["0A000"]);
    raw.send(query("SHOW wal_segment_size;"));
    assert.equal(typesOf(await raw.ready()), "TDCZ");
    raw.send(query("SELECT count(*) FROM people"));
    assert.equal(typesOf(await raw.ready()), "TDCZ");
    raw.send(query("DELETE FROM people"));
    assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
    raw.send(query("/* a comment hides it from the walsender */ IDENTIFY_SYSTEM"));
    assert.deepEqual(errorsOf(await raw.ready()), ["42601"]);
    raw.send(query("SHOW wal_segment_size; DELETE FROM people"));
    assert.deepEqual(errorsOf(await raw.ready()), ["42501"]);
    raw.send(query("DROP_REPLICATION_SLOT one"));
    assert.deepEqual(tagsOf(await raw.ready()), ["DROP_REPLICATION_SLOT"]);
    await raw.end();
    assert.deepEqual(summaries().slice(0, 6), [
      "logical replication connection",
      "IDENTIFY_SYSTEM",
      "CREATE_REPLICATION_SLOT \"one\" LOGICAL pgoutput (SNAPSHOT 'nothing')",
      "READ_REPLICATION_SLOT one",
      "SHOW wal_segment_size;",
      "SELECT count(*) FROM people",
    ]);
    assert.equal(summaries().length, 10);
  },
);

test("takes simple queries only", { skip }, async () => {
  harness.setRules(replicates);
  const raw = await rawClient(harness.port, { replication: "true" });
  raw.send(message(frontend.parse, Buffer.from("\0SELECT 1\0\0\0", "latin1")));
  const [answer] = await raw.until((answers) => answers.length > 0);
  assert.ok(answer !== undefined);
  assert.equal(field(answer, "S"), "FATAL");
  assert.equal(field(answer, "C"), "0A000");
});

let slots = 0;

/** A stream of decoded changes, with the first change received. Each has a slot of its own: the server drops that of a connection that ended a moment later. */
async function streaming(): Promise<RawClient> {
  const raw = await rawClient(harness.port, { replication: "database" });
  slots += 1;
  raw.send(query(`CREATE_REPLICATION_SLOT s${slots} TEMPORARY LOGICAL test_decoding`));
  assert.deepEqual(errorsOf(await raw.ready()), []);
  raw.send(query(`START_REPLICATION SLOT s${slots} LOGICAL 0/0`));
  await raw.until((answers) => answers.some(({ type }) => type === "W"));
  await direct.query("INSERT INTO people VALUES ((SELECT count(*) FROM people), 'first change')");
  await raw.until((answers) => answers.some(({ body }) => body.includes("first change")));
  return raw;
}

/** A status update: nothing written, a reply asked for or not. */
function statusUpdate(asks: boolean): Buffer {
  const body = Buffer.alloc(34);
  body[0] = 0x72;
  body[33] = asks ? 1 : 0;
  return message(frontend.copyData, body);
}

test(
  "changes are relayed both ways, the client ends the stream, and the connection goes on",
  { skip },
  async () => {
    harness.setRules(replicates);
    const raw = await streaming();
    raw.send(statusUpdate(true));
    await raw.until((answers) =>
      answers.some(({ type, body }) => type === "d" && body[0] === 0x6b),
    );
    raw.send(message(frontend.copyDone, Buffer.alloc(0)));
    const ended = await raw.ready();
    assert.match(typesOf(ended), /^d*cd*CCZ$/);
    raw.send(query("IDENTIFY_SYSTEM"));
    assert.equal(typesOf(await raw.ready()), "TDCZ");
    await raw.end();
    const stream = harness
      .operations()
      .find(({ body }) => body.operation?.summary.startsWith("START_REPLICATION"));
    assert.equal(stream?.body.outcome?.status, "ok");
    assert.ok(
      Number(stream?.body.outcome?.bytesOut) > 0 && Number(stream?.body.outcome?.bytesIn) > 0,
    );
  },
);

test(
  "a stream ends before another change when a mask comes, or its rule goes",
  { skip },
  async () => {
    for (const change of [
      () => harness.setRules(replicates, { columnMasks: [mask] }),
      () => harness.setRules(everything),
    ]) {
      harness.setRules(replicates);
      const raw = await streaming();
      change();
      await direct.query("INSERT INTO people VALUES ((SELECT count(*) FROM people), 'never seen')");
      const answers = await raw.until((seen) => seen.some(({ type }) => type === "E"));
      assert.deepEqual(errorsOf(answers), ["42501"]);
      assert.ok(!answers.some(({ body }) => body.includes("never seen")));
    }
  },
);

test(
  "a stream goes on under new rules that allow it, and the asking is recorded",
  { skip },
  async () => {
    harness.setRules(replicates);
    const raw = await streaming();
    harness.setRules([allow({ statements: ["replication"] }, "only this")]);
    await direct.query("INSERT INTO people VALUES ((SELECT count(*) FROM people), 'still seen')");
    await raw.until((answers) => answers.some(({ body }) => body.includes("still seen")));
    assert.equal(summaries().filter((summary) => String(summary).startsWith("START_")).length, 1);
    await raw.end();
  },
);

test("a quarantine cuts a stream at once", { skip }, async () => {
  harness.setRules(replicates);
  const raw = await streaming();
  harness.end(new ProxyError("Quarantined", "the pod is in quarantine"));
  const answers = await raw.until((seen) => seen.some(({ type }) => type === "E"));
  assert.deepEqual(errorsOf(answers), ["28000"]);
  await raw.end();
});

test(
  "a client that does not read holds the server back, and nothing piles up here",
  { skip },
  async () => {
    harness.setRules(replicates);
    const raw = await streaming();
    raw.socket.pause();
    await direct.query(
      "INSERT INTO people SELECT 1000 + g, (SELECT string_agg(md5((g * 1000 + i)::text), '') FROM generate_series(1, 250) i) FROM generate_series(1, 4000) g",
    );
    await direct.query("DELETE FROM people WHERE id > 1000");
    const sent = async (): Promise<bigint> => {
      const { rows } = await direct.query<{ sent: string }>(
        "SELECT coalesce(max(sent_lsn - '0/0'), 0)::text AS sent FROM pg_stat_replication",
      );
      return BigInt(rows[0]?.sent ?? 0);
    };
    const { rows } = await direct.query<{ now: string }>(
      "SELECT (pg_current_wal_lsn() - '0/0')::text AS now",
    );
    const end = BigInt(rows[0]?.now ?? 0);
    // The server has more to send than socket buffers hold, and stands still until it is read.
    let before = -1n;
    for (let at = await sent(); at !== before; at = await sent()) {
      before = at;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    assert.ok(before < end, "the server waits");
    let bytes = 0;
    raw.socket.on("data", (chunk: Buffer) => (bytes += chunk.length));
    raw.socket.resume();
    await raw.until(() => bytes > 30_000_000);
    await raw.end();
  },
);
