// Random SQL over the fuzz schema: everything that PostgreSQL answers the same way twice.
import fc from "fast-check";

/** What both databases hold at the start of a case. */
export const schema = `
CREATE TABLE ta (id int PRIMARY KEY, note text, amount numeric(10,2) DEFAULT 1.5, tags text[]);
CREATE TABLE tb (id int REFERENCES ta DEFERRABLE INITIALLY DEFERRED, at timestamptz DEFAULT '2020-02-02 02:02:02+00', doc jsonb);
CREATE VIEW va AS SELECT id, upper(note) AS loud FROM ta;
CREATE SEQUENCE s;
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
CREATE FUNCTION shout(t text) RETURNS void LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''%'', t; END';
CREATE FUNCTION fails(t text) RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''failed: %'', t USING ERRCODE = ''P0042''; END';
CREATE PROCEDURE both_ways(INOUT n int) LANGUAGE plpgsql AS 'BEGIN n := n + 1; END';`;

/** Brings a database back to the beginning, whatever a case has left. */
export const reset = `
DROP TABLE IF EXISTS made, made2 CASCADE; DROP VIEW IF EXISTS made_view;
TRUNCATE ta, tb;
DROP INDEX IF EXISTS ta_note_idx, ta_note_idx1, ta_note_idx2; ALTER SEQUENCE s INCREMENT 1 RESTART;
INSERT INTO ta VALUES (1, 'one', DEFAULT, NULL), (2, 'zwei ü', 2, '{a,b}'), (3, NULL, NULL, '{}');
INSERT INTO tb VALUES (1, DEFAULT, '{"a": [1, 2]}'), (2, NULL, NULL);`;

/** One value that tells whether two databases are in the same state. */
export const state = `SELECT json_build_object(
  'ta', (SELECT json_agg(ta ORDER BY id, note) FROM ta),
  'tb', (SELECT json_agg(tb ORDER BY id, at, doc::text) FROM tb),
  's', (SELECT json_build_array(last_value, is_called) FROM s),
  'relations', (SELECT json_agg(relname ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname <> 'forbidden'),
  'listeners', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
)::text AS state`;

const value = fc.oneof(
  fc.integer({ min: -5, max: 99_999 }).map(String),
  fc.constantFrom(
    "NULL",
    "true",
    "'text'",
    "'ü€𝄞'",
    "'it''s'",
    "E'a\\nb'",
    "$$dollar$$",
    "1.50",
    "'{1,2}'::int[]",
    "'{\"k\": [1, null]}'::jsonb",
    "'\\x00ff'::bytea",
    "'2020-01-01'::date",
    "interval '1 day 02:03'",
    "ROW(1, 'x')",
    "ARRAY[[1,2],[3,4]]",
    "repeat('x', 9000)",
    "'NaN'::float8",
    "(SELECT max(id) FROM ta)",
    "1 / (SELECT count(*) - 3 FROM ta)",
    "'no number'::int",
    "U&'d\\0061t'",
    "'a' COLLATE \"C\"",
  ),
);

const source = fc.constantFrom(
  "ta",
  "tb",
  "va",
  "ta JOIN tb USING (id)",
  "ta LEFT JOIN tb ON ta.id = tb.id AND tb.doc IS NOT NULL",
  "generate_series(1, 7) AS id",
  "generate_series(1, 400) AS id",
  "(VALUES (1, 'v'), (2, 'w')) AS v(id, note)",
  "ta, LATERAL (SELECT ta.id + 1 AS next) AS l",
  "unnest(ARRAY[3, 1, 2]) WITH ORDINALITY AS u(id, n)",
  "no_such_table",
);

const tail = fc.constantFrom(
  "",
  " ORDER BY 1",
  " WHERE true",
  " WHERE false",
  " LIMIT 2",
  " ORDER BY 1 LIMIT 1 OFFSET 1",
  " FETCH FIRST 2 ROWS ONLY",
);

const select: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .array(value, { minLength: 1, maxLength: 4 })
      .map((list) => `SELECT ${list.join(", ")}`),
  },
  {
    weight: 4,
    arbitrary: fc.tuple(source, tail).map(([from, end]) => `SELECT * FROM ${from}${end}`),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(source, value)
      .map(([from, extra]) => `SELECT id, ${extra} AS "Ex ""tra" FROM ${from} ORDER BY id`),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom(
      "SELECT",
      "SELECT FROM ta",
      "TABLE ta",
      "VALUES (1, 'a'), (2, NULL)",
      "SELECT count(*), sum(amount), array_agg(id ORDER BY id DESC) FROM ta",
      "SELECT id, row_number() OVER (ORDER BY id DESC) FROM ta ORDER BY id",
      "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r",
      "SELECT id FROM ta UNION SELECT id FROM tb ORDER BY 1",
      "SELECT id FROM ta EXCEPT SELECT 2 ORDER BY 1",
      "SELECT row_to_json(ta) FROM ta ORDER BY id",
      "SELECT ta FROM ta ORDER BY id",
      "SELECT doc -> 'a' ->> 1, doc @> '{}' FROM tb",
      "SELECT twice(id), shout(note) FROM ta ORDER BY id",
      "SELECT fails('why') FROM ta",
      "SELECT id, fails(note) FROM ta WHERE id > 1",
      "SELECT CASE WHEN id > 2 THEN 1 / (id - 3) ELSE id END FROM ta ORDER BY id",
      "SELECT nextval('s'), currval('s')",
      "SELECT * FROM ta WHERE id = ANY ('{1,3}') FOR UPDATE",
      "SELECT pg_advisory_xact_lock(7)",
      "SELECT g, repeat('y', 3000) FROM generate_series(1, 60) g",
      "SELECT * FROM ta TABLESAMPLE SYSTEM (100) ORDER BY id",
      "SELECT grouping(id), id FROM ta GROUP BY ROLLUP (id) ORDER BY 1, 2",
      "SELECT x FROM xmltable('/a' PASSING '<a/>' COLUMNS x text) AS t",
      "SELECT no_such_column FROM ta",
      "SELECT '\u{1F600}', length('\u{1F600}')",
    ),
  },
);

const write = fc.constantFrom(
  "INSERT INTO ta VALUES (4, 'four')",
  "INSERT INTO ta (id) SELECT max(id) + 1 FROM ta RETURNING id, note",
  "INSERT INTO ta VALUES (1, 'again')",
  "INSERT INTO ta VALUES (1, 'up') ON CONFLICT (id) DO UPDATE SET note = EXCLUDED.note RETURNING *",
  "INSERT INTO tb (id) VALUES (99)",
  "INSERT INTO tb DEFAULT VALUES",
  "UPDATE ta SET note = note || '!' RETURNING note",
  "UPDATE ta SET amount = amount + 1 WHERE id = 2",
  "UPDATE ta SET id = id + 10 FROM tb WHERE tb.id = ta.id",
  "DELETE FROM tb WHERE id = 1 RETURNING *",
  "DELETE FROM ta WHERE id = 3",
  "DELETE FROM ta",
  "WITH gone AS (DELETE FROM tb RETURNING id) INSERT INTO tb (id) SELECT id FROM gone RETURNING id",
  "MERGE INTO ta USING (VALUES (2), (8)) AS v(id) ON ta.id = v.id WHEN MATCHED THEN UPDATE SET note = 'm' WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)",
  "TRUNCATE tb",
  "SELECT setval('s', 40)",
);

const session = fc.constantFrom(
  "BEGIN",
  "BEGIN",
  "COMMIT",
  "COMMIT",
  "ROLLBACK",
  "START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY",
  "COMMIT AND CHAIN",
  "ROLLBACK AND CHAIN",
  "SAVEPOINT a",
  "SAVEPOINT b",
  "ROLLBACK TO a",
  "RELEASE a",
  "RELEASE b",
  "SET application_name = 'chain-b'",
  "SET LOCAL application_name = 'chain-c'",
  "SET TIME ZONE 'Asia/Tokyo'",
  "SET datestyle = 'German'",
  "SHOW timezone",
  "RESET ALL",
  "SET CONSTRAINTS ALL IMMEDIATE",
  "SET LOCAL statement_timeout = '20s'",
  "LISTEN c",
  "NOTIFY c, 'payload'",
  "UNLISTEN *",
  "LOCK TABLE ta IN SHARE MODE",
  "DISCARD ALL",
  "DISCARD PLANS",
);

const names = fc.constantFrom(
  "DECLARE a CURSOR FOR SELECT * FROM ta ORDER BY id",
  "DECLARE b NO SCROLL CURSOR WITH HOLD FOR SELECT id FROM ta ORDER BY id",
  "DECLARE c BINARY CURSOR FOR SELECT 1, 'x'",
  "FETCH 2 FROM a",
  "FETCH ALL IN b",
  "MOVE 1 FROM b",
  "FETCH c",
  "CLOSE a",
  "CLOSE ALL",
  "PREPARE a AS SELECT 1",
  "PREPARE b (int) AS SELECT $1 + 1",
  "PREPARE b (text, int) AS INSERT INTO ta (id, note) VALUES ($2, $1) RETURNING *",
  "EXECUTE a",
  "EXECUTE b(41)",
  "EXECUTE b('x', 40)",
  "DEALLOCATE a",
  "DEALLOCATE ALL",
);

const define = fc.constantFrom(
  "CREATE TABLE made (a int, b text)",
  "CREATE TABLE IF NOT EXISTS made (a int)",
  "CREATE TABLE made2 AS SELECT 1 AS one",
  "SELECT 1 AS one INTO made2",
  "DROP TABLE IF EXISTS made",
  "DROP TABLE made",
  "SELECT * FROM made",
  "INSERT INTO made VALUES (1, 'm')",
  "ALTER SEQUENCE s INCREMENT 2",
  "CREATE OR REPLACE VIEW made_view AS SELECT 1 AS v",
  "CREATE INDEX ON ta (note)",
  "COMMENT ON TABLE ta IS 'x'",
  "ANALYZE ta",
  "VACUUM ta",
  "EXPLAIN (COSTS OFF) SELECT * FROM ta",
  "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) UPDATE ta SET note = 'e'",
  "CALL both_ways(1)",
  "DO $$ BEGIN RAISE WARNING 'w'; PERFORM nextval('s'); END $$",
  "DO $$ BEGIN RAISE EXCEPTION 'x'; END $$",
);

const odd = fc.constantFrom(
  "",
  ";",
  " ; ; ",
  "-- nothing",
  "/* a /* nested */ b */",
  "SELECT 1;",
  "SELECT $1",
  "SELECT $1::int + $2::int",
  "SELECT $1::text, $2",
  "SELECT 1 FROM",
  "SELEC 1",
  "SELECT 'unfinished",
  'SELECT "\u00fc" FROM ta',
  "SELECT 1 / 0",
  "SELECT '\u0001'",
  `SELECT ${"(".repeat(60)}1${")".repeat(60)}`,
);

const copy = fc.constantFrom(
  "COPY ta (id, note) FROM STDIN",
  "COPY ta FROM STDIN WITH (FORMAT csv)",
  "COPY ta (id) FROM STDIN WITH (FORMAT binary)",
  "COPY ta TO STDOUT",
  "COPY (SELECT g, repeat('c', 500) FROM generate_series(1, 40) g) TO STDOUT WITH (FORMAT csv, HEADER)",
  "COPY (SELECT 1 WHERE false) TO STDOUT",
  "COPY (SELECT 1, NULL) TO STDOUT WITH (FORMAT binary)",
  "COPY (SELECT fails('copy')) TO STDOUT",
  "COPY no_such_table TO STDOUT",
);

/** One statement. */
export const statement: fc.Arbitrary<string> = fc.oneof(
  { weight: 7, arbitrary: select },
  { weight: 5, arbitrary: write },
  { weight: 5, arbitrary: session },
  { weight: 2, arbitrary: names },
  { weight: 2, arbitrary: define },
  { weight: 2, arbitrary: odd },
  { weight: 2, arbitrary: copy },
);

/** A text of one or several statements, as a Query may hold. What one of several prepares is not known afterwards (docs/clients.md). */
export const script: fc.Arbitrary<string> = fc.oneof(
  { weight: 5, arbitrary: statement },
  {
    weight: 2,
    arbitrary: fc
      .array(statement, { minLength: 2, maxLength: 4 })
      .map((statements) => statements.filter((text) => !text.startsWith("PREPARE")).join("; ")),
  },
);

export const copyStatements: fc.Arbitrary<string> = copy;
