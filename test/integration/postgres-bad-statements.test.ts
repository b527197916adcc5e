// Statements made to be misread: too deep, too long with the harm at the end, no text at all. None runs, each is answered, the session and the others go on.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { serialize } from "pg-protocol";
import { message } from "../../proxy/postgres/messages.ts";
import { deny, everything, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { errorsOf, rawClient, rowsOf, statusOf } from "./postgres-proxy-raw.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

const mebibyte = 1024 * 1024;
const harm = "DELETE FROM precious";
const query = (text: Buffer): Buffer => message(0x51, Buffer.concat([text, Buffer.of(0)]));

let server: PostgresServer;
let proxy: Harness;
let admin: pg.Client;

before(async () => {
  server = await startPostgres();
  admin = new pg.Client({ connectionString: server.superuserUrl });
  admin.on("error", () => undefined);
  await admin.connect();
  await admin.query("CREATE TABLE precious (n int); INSERT INTO precious VALUES (1)");
  proxy = await startHarness(server);
  proxy.setRules([...everything, deny({ relations: ["public.precious"] })]);
});

after(async () => {
  await admin?.end();
  await proxy?.close();
  await server?.stop();
});

const deep = (open: string, close: string, count: number): string =>
  `SELECT ${open.repeat(count)}1${close.repeat(count)}`;

/** SQLSTATE of the one error each of them gets; the session lives on. */
const refused: Readonly<Record<string, readonly [Buffer, string]>> = {
  "100,000 nested parentheses": [serialize.query(deep("(", ")", 100_000)), "42501"],
  "20,000 nested parentheses": [serialize.query(deep("(", ")", 20_000)), "42501"],
  "20,000 nested sub-queries that are cut off": [
    serialize.query("SELECT (".repeat(7_000)),
    "42501",
  ],
  "30,000 nested signs": [serialize.query(deep("- ", "", 30_000)), "42501"],
  "9 MiB with the harm at their end": [
    serialize.query(`SELECT 1; -- ${"x".repeat(9 * mebibyte)}\n; ${harm}`),
    "42501",
  ],
  "1 MiB less a little with the harm at their end": [
    serialize.query(`SELECT 1; /* ${"x".repeat(mebibyte - 100)} */ ${harm}`),
    "42501",
  ],
  "60 kB with the harm at their end": [
    serialize.query(`SELECT 1; /* ${"x".repeat(60_000)} */ ${harm}`),
    "42501",
  ],
  "the harm behind an apostrophe that UTF-8 swallows elsewhere": [
    query(
      Buffer.concat([Buffer.from("SELECT '\u00e9"), Buffer.of(0xe9), Buffer.from(`'; ${harm}`)]),
    ),
    "22021",
  ],
  "bytes that are no UTF-8": [query(Buffer.from([0x53, 0xc3, 0x28])), "22021"],
  "an overlong NUL": [
    query(Buffer.concat([Buffer.from("SELECT '"), Buffer.of(0xc0, 0x80), Buffer.from("'")])),
    "22021",
  ],
  "a Parse of 2 MiB": [
    Buffer.concat([
      serialize.parse({ text: `SELECT '${"x".repeat(2 * mebibyte)}'` }),
      serialize.sync(),
    ]),
    "54000",
  ],
  "parameters of 9 MiB": [
    Buffer.concat([
      serialize.parse({ text: "SELECT $1", types: [17] }),
      serialize.bind({ values: [Buffer.alloc(9 * mebibyte)] }),
      serialize.execute({}),
      serialize.sync(),
    ]),
    "54000",
  ],
  "a call of a function by its number": [
    message(0x46, Buffer.from([0, 0, 0, 1, 0, 0, 0, 0, 0, 0])),
    "42501",
  ],
};

for (const [what, [bytes, sqlstate]] of Object.entries(refused))
  test(`${what}: one error, and the session lives on`, async () => {
    const other = await rawClient(proxy.port);
    const raw = await rawClient(proxy.port);
    proxy.events.length = 0;
    raw.send(bytes);
    const answers = await raw.ready();
    assert.deepEqual(errorsOf(answers), [sqlstate]);
    assert.equal(statusOf(answers), "I");
    for (const client of [raw, other]) {
      client.send(serialize.query("SELECT 7"));
      assert.deepEqual(rowsOf(await client.ready()), [["7"]]);
      await client.end();
    }
    await unharmed();
    if (bytes[0] !== 0x51) return;
    assert.equal(proxy.operations()[0]?.body.outcome?.status, "denied");
  });

/** No protocol at all: the session ends with one FATAL. */
const fatal: Readonly<Record<string, Buffer>> = {
  "a NUL amid a text": query(Buffer.from(`SELECT 1\0; ${harm}`)),
  "a text without an end": message(0x51, Buffer.from("SELECT 1")),
  "a message of no known type": message(0x7e, Buffer.from("x")),
  "a message of 1 GB": Buffer.from([0x51, 0x40, 0, 0, 0, 0x53]),
  "a Bind of 1 GB": Buffer.from([0x42, 0x40, 0, 0, 0, 0]),
  "a negative length": Buffer.from([0x51, 0xff, 0xff, 0xff, 0xff, 0]),
  "a Sync with a body": Buffer.from([0x53, 0, 0, 0, 5, 0]),
  "a Flush of 1 GB": Buffer.from([0x48, 0x40, 0, 0, 0]),
  "a password": message(0x70, Buffer.from("md5\0")),
};

for (const [what, bytes] of Object.entries(fatal))
  test(`${what}: one FATAL, an event, and the others go on`, async () => {
    const other = await rawClient(proxy.port);
    const raw = await rawClient(proxy.port);
    proxy.events.length = 0;
    raw.send(bytes);
    const answers = await raw.until(() => raw.closed);
    assert.deepEqual(errorsOf(answers), ["08P01"]);
    raw.socket.destroy();
    other.send(serialize.query("SELECT 7"));
    assert.deepEqual(rowsOf(await other.ready()), [["7"]]);
    await other.end();
    const causes = proxy.events.map(({ body }) => body.error?.code);
    assert.ok(causes.includes("MalformedRequest"), causes.join());
    await unharmed();
  });

async function unharmed(): Promise<void> {
  const { rows } = await admin.query("SELECT count(*)::int AS left FROM precious");
  assert.equal(rows[0].left, 1);
}
