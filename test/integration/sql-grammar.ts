// Random statements over one small schema, of every shape that could carry a value from one place to another.
import fc from "fast-check";

/** Tables with masked and with open columns, and views over both. Needs rows: see `rowsFor`. */
export const carryingSchema = `
  CREATE TABLE people (id int PRIMARY KEY, name text, ssn text, card varchar(40), meta jsonb, born date, pay numeric, code int,
    blob bytea, tags text[], low text GENERATED ALWAYS AS (lower(ssn)) STORED);
  CREATE TABLE orders (id int PRIMARY KEY, person int, total int, note text, doc jsonb);
  CREATE TABLE events (id int, secret text, kind text) PARTITION BY LIST (kind);
  CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('a');
  CREATE VIEW open_view AS SELECT id, name FROM people;
  CREATE VIEW mixed_view AS SELECT id, ssn AS s, upper(card) AS c, name, pay + 1 AS p FROM people;
  CREATE VIEW deep_view AS SELECT v.s, o.note, o.id FROM mixed_view v JOIN orders o ON o.person = v.id;
  CREATE VIEW row_view AS SELECT p AS whole FROM people p;`;

export const carryingMasks: readonly string[] = [
  "public.people.ssn",
  "public.people.card",
  "public.people.meta",
  "public.people.born",
  "public.people.pay",
  "public.people.code",
  "public.people.blob",
  "public.people.tags",
  "public.events.secret",
];

const words = (...lines: readonly string[]): string[] => lines.flatMap((line) => line.split(" "));

const maskedNames = words(
  "ssn p.ssn p.card p.meta p.born pay p.code p.blob tags low p p.* (p).ssn p.row_to_json v.s v.c",
  "v.p e.secret x.a x.b a",
);
const openNames = [
  "p.id",
  "name",
  "p.name",
  "o.total",
  "o.note",
  "o.doc",
  "1",
  "'x'",
  "NULL",
  "id",
];
const oneArgument = words(
  "upper lower reverse length md5 to_json to_jsonb row_to_json concat min max count array_agg",
  "json_agg jsonb_agg sum avg any_value initcap btrim quote_literal abs sqrt jsonb_typeof ascii",
  "unnest jsonb_each_text hashtext pg_typeof cardinality sha256 num_nulls factorial",
);
const casts = [
  "text",
  "varchar(3)",
  "int",
  "numeric",
  "json",
  "jsonb",
  "date",
  "text[]",
  "bytea",
  "name",
  "bool",
];
const operators = ["||", "=", "<", "<>", "+", "->", "LIKE", "IS DISTINCT FROM", "AND"];

/** @param names masked ones among them, or only open ones */
function parts(names: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.letrec<{ value: string; item: string; from: string; where: string; query: string }>(
    (tie) => {
      const value: fc.Arbitrary<string> = tie("value");
      const query: fc.Arbitrary<string> = tie("query");
      const item: fc.Arbitrary<string> = tie("item");
      return {
        value: fc.oneof(
          { depthSize: "small", withCrossShrink: true },
          { arbitrary: names, weight: 20 },
          { arbitrary: names.map((name) => `${name}::text`), weight: 8 },
          { arbitrary: names.map((name) => `lower((${name})::text)`), weight: 4 },
          fc.tuple(fc.constantFrom(...oneArgument), value).map(([name, of]) => `${name}(${of})`),
          fc.tuple(value, fc.constantFrom(...casts)).map(([of, type]) => `(${of})::${type}`),
          fc
            .tuple(value, fc.constantFrom(...operators), value)
            .map((three) => `(${three.join(" ")})`),
          fc.tuple(value, value).map(([one, other]) => `coalesce(${one}, ${other})`),
          fc.tuple(value, value).map(([one, other]) => `nullif(${one}, ${other})`),
          fc.tuple(value, value).map(([one, other]) => `greatest(${one}, ${other})`),
          fc.tuple(value, value).map((two) => `json_build_object('k', ${two.join(", 'l', ")})`),
          fc
            .tuple(value, value, value)
            .map(([a, b, c]) => `CASE WHEN ${a} THEN ${b} ELSE ${c} END`),
          fc.tuple(value, value).map(([a, b]) => `CASE ${a} WHEN ${b} THEN 1 ELSE 2 END`),
          value.map((of) => `${of} IS NULL`),
          value.map((of) => `ARRAY[${of}]`),
          value.map((of) => `ROW(${of}, 1)`),
          value.map((of) => `left(${of}, 2)`),
          value.map((of) => `substring(${of} FROM 2 FOR 3)`),
          value.map((of) => `1 / length(${of})`),
          value.map((of) => `string_agg(${of}, ',')`),
          value.map((of) => `generate_series(1, ${of})`),
          fc.tuple(value, value).map(([a, b]) => `max(${a}) FILTER (WHERE ${b} IS NOT NULL)`),
          fc.tuple(value, value).map(([a, b]) => `array_agg(${a} ORDER BY ${b})`),
          fc.tuple(value, value).map(([a, b]) => `lag(${a}) OVER (ORDER BY p.id, ${b})`),
          value.map((of) => `mode() WITHIN GROUP (ORDER BY ${of})`),
          value.map((of) => `count(DISTINCT ${of})`),
          query.map((inner) => `(SELECT q FROM (${inner}) AS s(q) LIMIT 1)`),
          query.map((inner) => `ARRAY(SELECT q FROM (${inner}) AS s(q))`),
          query.map((inner) => `EXISTS (${inner})`),
          fc
            .tuple(value, query)
            .map(([of, inner]) => `${of} IN (SELECT q FROM (${inner}) AS s(q))`),
        ),
        item: fc
          .tuple(
            value,
            fc.constantFrom<string>("", "", " AS a", " AS b", " AS ssn", " AS id", " AS name"),
          )
          .map(([of, alias]) => (of.endsWith("*") ? of : of + alias)),
        from: fc.oneof(
          { depthSize: "small", withCrossShrink: true },
          { arbitrary: fc.constant("people p"), weight: 6 },
          {
            arbitrary: fc.constantFrom(
              "people p JOIN orders o ON o.person = p.id",
              "people p LEFT JOIN orders o USING (id)",
              "people p JOIN mixed_view v USING (id)",
              "orders o JOIN deep_view v USING (id)",
              "(people p JOIN orders o ON o.person = p.id) AS x",
              "people AS p (id, name, a, b)",
              "people p NATURAL JOIN orders o",
              "events e",
              "row_view x",
              "people p, jsonb_each_text(p.meta) AS x(a, b)",
              "people p, unnest(p.tags) WITH ORDINALITY AS x(a, b)",
              "people p CROSS JOIN (VALUES (1, 'y')) AS x(a, b)",
            ),
            weight: 4,
          },
          query.map((inner) => `(${inner}) p`),
          query.map((inner) => `people p, LATERAL (${inner}) x`),
          query.map((inner) => `people p JOIN (${inner}) AS x(a, b) ON true`),
        ),
        where: fc.oneof(
          { arbitrary: fc.constantFrom("", " WHERE p.id < 3", " WHERE id <> 2"), weight: 5 },
          value.map((of) => ` WHERE ${of} IS NOT NULL`),
          fc.tuple(value, value).map(([one, other]) => ` WHERE ${one} = ${other}`),
        ),
        query: fc.oneof(
          { depthSize: "small", withCrossShrink: true },
          {
            arbitrary: fc
              .record({
                distinct: fc.constantFrom("", "", "", "", "DISTINCT "),
                items: fc.array(item, { minLength: 1, maxLength: 3 }),
                from: tie("from"),
                where: tie("where"),
                tail: fc.constantFrom(
                  "",
                  "",
                  "",
                  "",
                  " GROUP BY p.id",
                  " GROUP BY 1",
                  " ORDER BY 1",
                  " ORDER BY id",
                  " LIMIT 2",
                  " ORDER BY a",
                  " FOR UPDATE",
                ),
              })
              .map(
                ({ distinct, items, from, where, tail }) =>
                  `SELECT ${distinct}${items.join(", ")} FROM ${from}${where}${tail}`,
              ),
            weight: 10,
          },
          fc
            .tuple(query, fc.constantFrom("UNION ALL", "UNION ALL", "UNION", "EXCEPT"), query)
            .map(([one, how, other]) => `(${one}) ${how} (${other})`),
          fc
            .tuple(query, query)
            .map(([inner, outer]) => `WITH p AS (${inner}) SELECT * FROM (${outer}) y, p`),
          fc
            .tuple(item, value)
            .map(
              ([start, next]) =>
                `WITH RECURSIVE x (n, a) AS (SELECT 1, ${start.replace(/ AS \w+$/, "")} FROM people p WHERE p.id = 1 UNION ALL SELECT n + 1, ${next} FROM x JOIN people p ON p.id = n WHERE n < 4) SELECT * FROM x`,
            ),
          fc
            .tuple(item, tie("where"))
            .map(
              ([of, where]) =>
                `WITH d AS (UPDATE people p SET name = 'y'${where} RETURNING ${of}) SELECT * FROM d`,
            ),
        ),
      };
    },
  ).query;
}

const written = (names: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  names.chain((name) =>
    fc.constantFrom(
      `UPDATE people p SET name = 'z' WHERE p.id = 1 RETURNING ${name}`,
      `UPDATE people p SET ssn = 'mine' WHERE p.id = 2 RETURNING *, ${name}`,
      `UPDATE orders o SET note = 'z' FROM people p WHERE p.id = o.person RETURNING *`,
      `DELETE FROM orders o USING people p WHERE p.id = o.person RETURNING ${name}, o.note`,
      `INSERT INTO people (id, ssn) VALUES (99, 'mine') RETURNING *`,
      `INSERT INTO orders (id, note) SELECT p.id + 50, ${name}::text FROM people p RETURNING note`,
      `MERGE INTO orders o USING people p ON o.person = p.id WHEN MATCHED THEN UPDATE SET note = 'm' RETURNING *`,
      `EXPLAIN (VERBOSE, COSTS OFF) SELECT ${name} FROM people p`,
      `COPY (SELECT p.id, ${name} FROM people p) TO STDOUT`,
      `COPY people TO STDOUT`,
      `COPY people TO STDOUT (FORMAT binary)`,
      `COPY (SELECT p.id, ${name}, p.name FROM people p) TO STDOUT (FORMAT binary)`,
      `COPY (SELECT ${name}, p.id FROM people p) TO STDOUT (FORMAT csv, HEADER)`,
      `SELECT 1; SELECT ${name} FROM people p; SELECT p.id, ${name} FROM people p`,
      `DECLARE k CURSOR FOR SELECT p.id, ${name} FROM people p; FETCH 2 FROM k; FETCH ALL FROM k`,
    ),
  );

/** Statements that try to show masked columns of `carryingSchema`, by every way there is. */
export function carryingStatements(): fc.Arbitrary<string> {
  const names = fc.oneof(
    { arbitrary: fc.constantFrom(...maskedNames), weight: 3 },
    { arbitrary: fc.constantFrom(...openNames), weight: 2 },
  );
  return fc.oneof({ arbitrary: parts(names), weight: 8 }, { arbitrary: written(names), weight: 1 });
}

/** Statements that name open columns only. */
export function openStatements(): fc.Arbitrary<string> {
  return parts(fc.constantFrom(...openNames));
}
