// Drizzle over `pg` and over `postgres`, scene by scene.
import { ca, failure, play, require, way } from "./scenes.mjs";

const pg = require("pg");
const postgres = require("postgres");
const overPg = require("drizzle-orm/node-postgres");
const overPostgres = require("drizzle-orm/postgres-js");
const { eq, sql, relations } = require("drizzle-orm");
const { bigint, integer, jsonb, pgEnum, pgTable, text, timestamp } = require("drizzle-orm/pg-core");

const mood = pgEnum("mood", ["calm", "busy"]);
const writers = pgTable("writers", {
  id: integer().primaryKey().generatedAlwaysAsIdentity(),
  name: text().notNull(),
  mood: mood().notNull(),
  data: jsonb(),
  since: timestamp({ withTimezone: true }),
  count: bigint({ mode: "bigint" }),
});
const texts = pgTable("texts", {
  id: integer().primaryKey(),
  title: text().notNull(),
  writer: integer()
    .notNull()
    .references(() => writers.id),
});
const schema = {
  mood,
  writers,
  texts,
  writersRelations: relations(writers, ({ many }) => ({ texts: many(texts) })),
  textsRelations: relations(texts, ({ one }) => ({
    by: one(writers, { fields: [texts.writer], references: [writers.id] }),
  })),
};
const people = pgTable("people", { id: integer(), name: text(), ssn: text() });

async function withPg(work) {
  const pool = new pg.Pool({
    host: way.host,
    port: way.port,
    user: way.user,
    password: way.password,
    database: way.database,
    ssl: { ca },
    max: 2,
  });
  try {
    return await work(overPg.drizzle(pool, { schema }));
  } finally {
    await pool.end();
  }
}

async function withPostgres(work) {
  const client = postgres({
    host: way.host,
    port: way.port,
    user: way.user,
    password: way.password,
    database: way.database,
    ssl: { ca, servername: way.host },
    max: 2,
  });
  try {
    return await work(overPostgres.drizzle(client, { schema }));
  } finally {
    await client.end();
  }
}

/** Drizzle wraps the driver's error. */
const cause = (promise) => failure(promise.catch((error) => Promise.reject(error.cause ?? error)));

async function roundTrip(db) {
  await db.execute(sql`DROP TABLE IF EXISTS texts, writers`);
  await db.execute(sql`DROP TYPE IF EXISTS mood`);
  await db.execute(sql`CREATE TYPE mood AS ENUM ('calm', 'busy')`);
  await db.execute(
    sql`CREATE TABLE writers (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, name text NOT NULL, mood mood NOT NULL, data jsonb, since timestamptz, count bigint)`,
  );
  await db.execute(
    sql`CREATE TABLE texts (id int PRIMARY KEY, title text NOT NULL, writer int NOT NULL REFERENCES writers (id))`,
  );
  const seen = [];
  seen.push(
    await db
      .insert(writers)
      .values([
        {
          name: "Ada",
          mood: "busy",
          data: { a: [1] },
          since: new Date("2026-01-01T00:00:00Z"),
          count: 9007199254740993n,
        },
        { name: "Mary", mood: "calm" },
      ])
      .returning(),
  );
  await db.insert(texts).values([
    { id: 1, title: "Notes", writer: 1 },
    { id: 2, title: "Frankenstein", writer: 2 },
  ]);
  seen.push(
    await db.query.writers.findMany({
      with: { texts: true },
      orderBy: (table, { asc }) => asc(table.id),
    }),
  );
  seen.push(
    await db
      .select({ title: texts.title, name: writers.name })
      .from(texts)
      .innerJoin(writers, eq(texts.writer, writers.id))
      .orderBy(texts.id),
  );
  const prepared = db
    .select()
    .from(texts)
    .where(eq(texts.id, sql.placeholder("id")))
    .prepare("text_by_id");
  for (const id of [1, 2, 1, 3]) seen.push(await prepared.execute({ id }));
  seen.push(
    await cause(
      db.transaction(async (tx) => {
        await tx.update(texts).set({ title: "gone" }).where(eq(texts.id, 1));
        await tx.transaction((inner) =>
          inner.insert(texts).values({ id: 3, title: "inner", writer: 1 }),
        );
        await tx.insert(texts).values({ id: 1, title: "twice", writer: 1 });
      }),
    ),
  );
  await db
    .insert(texts)
    .values({ id: 1, title: "again", writer: 1 })
    .onConflictDoUpdate({ target: texts.id, set: { title: "changed" } });
  seen.push(await db.select().from(texts).orderBy(texts.id), await db.$count(texts));
  return seen;
}

async function underPolicy(db) {
  const row = (rows) => rows.map(({ name, ssn }) => [name, ssn]);
  const query = db.select().from(people).where(eq(people.id, 1));
  const masked = [row(await query), row(await query), row(await query.prepare("person").execute())];
  const denied = await cause(db.delete(people));
  return { masked, denied: [denied.code, denied.message], after: await db.$count(people) };
}

await play({
  over_pg: () => withPg(roundTrip),
  over_postgres: () => withPostgres(roundTrip),
  policy: async () => {
    const one = await withPg(underPolicy);
    const other = await withPostgres(underPolicy);
    return { ...one, masked: [...one.masked, ...other.masked], deniedToo: other.denied };
  },
});
