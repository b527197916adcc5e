// `pg` (node-postgres) with pg-pool, pg-cursor, pg-query-stream and pg-copy-streams, scene by scene.
import { once } from "node:events";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ca, failure, play, require, way, whenSleeping } from "./scenes.mjs";

const pg = require("pg");
const Cursor = require("pg-cursor");
const QueryStream = require("pg-query-stream");
const { from: copyFrom, to: copyTo } = require("pg-copy-streams");

const config = (changes = {}) => ({
  host: way.host,
  port: way.port,
  user: way.user,
  password: way.password,
  database: way.database,
  ssl: { ca },
  ...changes,
});

async function withClient(work, changes) {
  const client = new pg.Client(config(changes));
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const values = [
  "12345678901234567890.5",
  new Date("2026-11-30T12:00:00.123Z"),
  [1, null, 3],
  { a: [1, "é"] },
  Buffer.from([0, 1, 255]),
  'it\'s \\ "quoted"',
  null,
  true,
];
const typed =
  "SELECT $1::numeric, $2::timestamptz, $3::int[], $4::jsonb, $5::bytea, $6::text, $7::text, $8::bool";

const scenes = {
  types: () =>
    withClient(async (client) => [
      (await client.query(typed, values)).rows,
      (await client.query({ text: typed, values, rowMode: "array", binary: true })).rows,
      (
        await client.query(
          "SELECT 'paid'::status, '(1,2)'::point, '1 day'::interval, '2026-01-02'::date, 1.5::float8, 2::int8",
        )
      ).rows,
    ]),
  named: () =>
    withClient(async (client) => {
      const seen = [];
      for (let at = 0; at < 8; at += 1) {
        const { rows } = await client.query({
          name: "by-id",
          text: "SELECT id, note FROM notes WHERE id = $1",
          values: [at % 4],
        });
        seen.push(rows);
      }
      seen.push(await failure(client.query({ name: "by-id", text: "SELECT 1", values: [] })));
      return seen;
    }),
  several: () =>
    withClient(async (client) => {
      const results = await client.query(
        "SELECT 1 AS one; INSERT INTO notes VALUES (40, 'x') RETURNING id; SELECT note FROM notes WHERE id = 40",
      );
      const queued = await Promise.all(
        [1, 2, 3].map((n) => client.query("SELECT $1::int AS n", [n])),
      );
      return [
        results.map(({ command, rowCount, rows }) => [command, rowCount, rows]),
        queued.map(({ rows }) => rows),
      ];
    }),
  transactions: () =>
    withClient(async (client) => {
      const seen = [];
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
      await client.query("INSERT INTO notes VALUES ($1, $2)", [900, "gone"]);
      seen.push(await failure(client.query("INSERT INTO notes VALUES ($1, $2)", [900, "twice"])));
      seen.push(await failure(client.query("SELECT 1")));
      await client.query("ROLLBACK");
      seen.push((await client.query("SELECT count(*)::int FROM notes WHERE id = 900")).rows);
      return seen;
    }),
  errors: () =>
    withClient(async (client) => {
      const seen = [];
      for (const text of [
        "SELECT no_such_column",
        "SELECT 1 / 0",
        "SELEC 1",
        "SELECT 'x'::int",
        "",
      ]) {
        const answer = client.query(text);
        seen.push(text === "" ? (await answer).rows : await failure(answer));
      }
      return seen;
    }),
  pool: async () => {
    const pool = new pg.Pool(
      config({ max: 3, statement_timeout: 20_000, application_name: "reports" }),
    );
    const rows = await Promise.all(
      Array.from({ length: 30 }, (_, at) =>
        pool.query("SELECT $1::int * 2 AS n, current_setting('application_name') AS name", [at]),
      ),
    );
    const slow = await failure(pool.query("SET statement_timeout = 100; SELECT pg_sleep(30)"));
    await pool.end();
    return [rows.map((result) => result.rows[0]), slow];
  },
  cursor: () =>
    withClient(async (client) => {
      const cursor = client.query(new Cursor("SELECT g FROM generate_series(1, $1) g", [25]));
      const seen = [
        await cursor.read(10),
        await cursor.read(10),
        await cursor.read(10),
        await cursor.read(10),
      ];
      await cursor.close();
      const left = client.query(new Cursor("SELECT g FROM generate_series(1, 1000000) g"));
      seen.push(await left.read(2));
      await left.close();
      seen.push((await client.query("SELECT 'alive' AS state")).rows);
      return seen;
    }),
  stream: () =>
    withClient(async (client) => {
      let sum = 0;
      for await (const row of client.query(
        new QueryStream("SELECT g FROM generate_series(1, $1) g", [2000], { batchSize: 100 }),
      ))
        sum += row.g;
      const cut = client.query(new QueryStream("SELECT g FROM generate_series(1, 1000000) g"));
      for await (const row of cut) if (row.g === 5) break;
      return [sum, (await client.query("SELECT 'alive' AS state")).rows];
    }),
  copy: () =>
    withClient(async (client) => {
      const rows = Array.from({ length: 500 }, (_, at) => `${at + 1000}\tcopied ${at}\n`);
      const into = client.query(copyFrom("COPY notes (id, note) FROM STDIN"));
      await pipeline(Readable.from(rows), into);
      const out = client.query(
        copyTo("COPY (SELECT * FROM notes WHERE id >= 1490 ORDER BY id) TO STDOUT (FORMAT csv)"),
      );
      const chunks = [];
      for await (const chunk of out) chunks.push(chunk);
      const broken = await failure(
        pipeline(Readable.from(["x\ty\n"]), client.query(copyFrom("COPY notes FROM STDIN"))),
      );
      return [
        into.rowCount,
        Buffer.concat(chunks).toString(),
        broken,
        (await client.query("SELECT 'alive' AS state")).rows,
      ];
    }),
  notifications: () =>
    withClient(async (client) => {
      const notices = [];
      client.on("notice", ({ severity, message }) => notices.push([severity, message]));
      await client.query("DO $$ BEGIN RAISE NOTICE 'one'; END $$");
      await client.query("LISTEN news");
      const heard = once(client, "notification");
      await client.query("SELECT pg_notify('news', 'hello')");
      const [{ channel, payload }] = await heard;
      return [notices, channel, payload];
    }),
  cancelled: () =>
    withClient(async (client) => {
      const sleeping = client.query(new pg.Query("SELECT pg_sleep(60)"));
      const answer = once(sleeping, "error");
      await withClient((watching) =>
        whenSleeping(async (text) => (await watching.query(text)).rows[0].n),
      );
      new pg.Client(config()).cancel(client, sleeping);
      const [{ code, message }] = await answer;
      return [code, message, (await client.query("SELECT 'alive' AS state")).rows];
    }),
  pipelined: () =>
    withClient(
      async (client) => {
        const results = await Promise.all([
          client.query("SELECT 1 AS n"),
          failure(client.query("SELECT 1 / $1::int", [0])),
          client.query("SELECT $1::int AS n", [3]),
        ]);
        return results.map((result) => result.rows ?? result);
      },
      { pipelining: true },
    ),
  policy: () =>
    withClient(async (client) => {
      const text = "SELECT name, ssn FROM people WHERE id = $1";
      const masked = [
        (await client.query({ text: text.replace("$1", "1"), rowMode: "array" })).rows,
      ];
      for (const more of [{}, { binary: true }, { name: "p" }, { name: "p" }, { name: "p" }])
        masked.push((await client.query({ text, values: [1], rowMode: "array", ...more })).rows);
      const cursor = client.query(
        new Cursor("SELECT name, ssn FROM people ORDER BY id", [], { rowMode: "array" }),
      );
      masked.push(await cursor.read(1));
      await cursor.close();
      const denied = await failure(client.query("DROP TABLE people"));
      const withParameters = await failure(client.query("DELETE FROM people WHERE id = $1", [1]));
      const after = (await client.query("SELECT count(*)::int AS n FROM people")).rows[0].n;
      return {
        masked,
        denied: [denied.code, denied.message],
        withParameters: [withParameters.code, withParameters.message],
        after,
      };
    }),
};

await play(scenes);
