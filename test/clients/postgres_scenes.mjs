// `postgres` (porsager), scene by scene: it pipelines, prepares and describes by itself.
import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { ca, failure, play, require, way, whenSleeping } from "./scenes.mjs";

const postgres = require("postgres");

async function withSql(work, changes = {}) {
  const notices = [];
  const sql = postgres({
    host: way.host,
    port: way.port,
    user: way.user,
    password: way.password,
    database: way.database,
    ssl: { ca, servername: way.host },
    max: 2,
    onnotice: ({ severity, message }) => notices.push([severity, message]),
    ...changes,
  });
  try {
    return await work(sql, notices);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

const rowsOf = (result) => [...result].map((row) => ({ ...row }));

const scenes = {
  types: () =>
    withSql(async (sql) =>
      rowsOf(
        await sql`SELECT ${"1.50"}::numeric AS a, ${new Date("2026-11-30T12:00:00Z")}::timestamptz AS b, ${[1, null, 3]}::int[] AS c,
          ${sql.json({ a: [1] })}::jsonb AS d, ${Buffer.from([0, 255])}::bytea AS e, ${"it's"}::text AS f, ${null}::text AS g, ${true}::bool AS h, 2::int8 AS i, ARRAY['open', 'paid']::status[] AS j`,
      ),
    ),
  fragments: () =>
    withSql(async (sql) => {
      await sql`INSERT INTO notes ${sql([
        { id: 50, note: "a" },
        { id: 51, note: null },
      ])}`;
      const columns = ["id", "note"];
      return [
        rowsOf(
          await sql`SELECT ${sql(columns)} FROM ${sql("notes")} WHERE id IN ${sql([50, 51])} ORDER BY id`,
        ),
        (await sql`UPDATE notes SET ${sql({ note: "b" }, "note")} WHERE id >= ${50}`).count,
        rowsOf(
          await sql.unsafe("SELECT 1 AS one; SELECT 2 AS two").then((results) => results.flat()),
        ),
      ];
    }),
  pipelined: () =>
    withSql(
      async (sql) => {
        const answers = await Promise.all([
          sql`SELECT 1 AS n`,
          failure(sql`SELECT 1 / ${0}::int`),
          ...Array.from({ length: 30 }, (_, at) => sql`SELECT ${at}::int * 2 AS n`),
        ]);
        return answers.map((answer) => (Array.isArray(answer) ? rowsOf(answer) : answer));
      },
      { max: 1 },
    ),
  unprepared: () =>
    withSql(async (sql) => rowsOf(await sql`SELECT ${5}::int AS n`), { prepare: false }),
  transactions: () =>
    withSql(async (sql) => {
      const seen = [];
      seen.push(
        await failure(
          sql.begin("isolation level serializable", async (tx) => {
            await tx`INSERT INTO notes VALUES (900, 'gone')`;
            await tx.savepoint((inner) => inner`INSERT INTO notes VALUES (901, 'kept in it')`);
            await tx`INSERT INTO notes VALUES (900, 'twice')`;
          }),
        ),
      );
      seen.push(
        await sql
          .begin((tx) => [tx`SELECT 1 AS one`, tx`SELECT 2 AS two`])
          .then((results) => results.map(rowsOf)),
      );
      seen.push(rowsOf(await sql`SELECT count(*)::int AS n FROM notes WHERE id >= 900`));
      return seen;
    }),
  errors: () =>
    withSql(async (sql) => {
      const seen = [];
      for (const text of ["SELECT no_such_column", "SELECT 1 / 0", "SELEC 1", "SELECT 'x'::int"])
        seen.push(await failure(sql.unsafe(text)));
      return seen;
    }),
  cursor: () =>
    withSql(async (sql) => {
      const batches = [];
      await sql`SELECT g FROM generate_series(1, 25) g`.cursor(
        10,
        (rows) => void batches.push(rowsOf(rows)),
      );
      const first = [];
      for await (const rows of sql`SELECT g FROM generate_series(1, 1000) g`.cursor(3)) {
        first.push(rowsOf(rows));
        if (first.length === 2) break;
      }
      const walked = [];
      await sql`SELECT g FROM generate_series(1, 4) g`.forEach((row) => walked.push(row.g));
      return [batches, first, walked];
    }),
  copy: () =>
    withSql(async (sql) => {
      const into = await sql`COPY notes (id, note) FROM STDIN`.writable();
      await pipeline(
        Readable.from(Array.from({ length: 200 }, (_, at) => `${at + 2000}\tcopied ${at}\n`)),
        into,
      );
      const out =
        await sql`COPY (SELECT * FROM notes WHERE id >= 2197 ORDER BY id) TO STDOUT`.readable();
      const chunks = [];
      for await (const chunk of out) chunks.push(chunk);
      return Buffer.concat(chunks).toString();
    }),
  described: () =>
    withSql(async (sql) => {
      const { types, columns } = await sql`SELECT id, note FROM notes WHERE id = ${1}`.describe();
      return [types, columns.map(({ name, type }) => [name, type])];
    }),
  notifications: () =>
    withSql(async (sql, notices) => {
      await sql.unsafe("DO $$ BEGIN RAISE NOTICE 'one'; END $$");
      const heard = Promise.withResolvers();
      const { unlisten } = await sql.listen("news", heard.resolve);
      await sql.notify("news", "hello");
      const payload = await heard.promise;
      await unlisten();
      return [notices, payload];
    }),
  cancelled: () =>
    withSql(async (sql) => {
      const sleeping = sql`SELECT pg_sleep(60)`;
      const answer = failure(sleeping);
      await whenSleeping(async (text) => (await sql.unsafe(text))[0].n);
      sleeping.cancel();
      return [await answer, rowsOf(await sql`SELECT 'alive' AS state`)];
    }),
  policy: () =>
    withSql(async (sql) => {
      const masked = [];
      for (let at = 0; at < 4; at += 1)
        masked.push([...(await sql`SELECT name, ssn FROM people WHERE id = ${1}`.values())]);
      masked.push([...(await sql.unsafe("SELECT name, ssn FROM people WHERE id = 1").values())]);
      const denied = await failure(sql`DROP TABLE people`);
      const withParameters = await failure(sql`DELETE FROM people WHERE id = ${1}`);
      const [{ n: after }] = await sql`SELECT count(*)::int AS n FROM people`;
      return {
        masked,
        denied: [denied.code, denied.message],
        withParameters: [withParameters.code, withParameters.message],
        after,
      };
    }),
};

await play(scenes);
