// A database with the shapes that make masks and accesses hard: views on views, partitions, inheritance, generated columns, functions.
import type pg from "pg";

/** Stands in every masked cell; nothing that an agent sees may contain any of it. */
export const sentinel = "5ECRET";

export const schema = `
  CREATE TABLE customers (
    id int PRIMARY KEY, name text NOT NULL, ssn text NOT NULL, card varchar(40), meta jsonb,
    ssn_tail text GENERATED ALWAYS AS (right(ssn, 6)) STORED, ssn_live text GENERATED ALWAYS AS (lower(ssn)) VIRTUAL);
  CREATE TABLE orders (id int PRIMARY KEY, customer_id int REFERENCES customers, total numeric, note text);
  CREATE TABLE events (id int, secret text, kind text) PARTITION BY LIST (kind);
  CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('a');
  CREATE TABLE events_b PARTITION OF events FOR VALUES IN ('b');
  CREATE TABLE base (id int, pin text);
  CREATE TABLE derived (extra text) INHERITS (base);
  INSERT INTO customers (id, name, ssn, card, meta) SELECT i, 'name ' || i, '${sentinel}-' || i || '-${sentinel}', '${sentinel}' || i, json_build_object('s', '${sentinel}')::jsonb FROM generate_series(1, 5) i;
  INSERT INTO orders SELECT i, i, i * 10, 'note ' || i FROM generate_series(1, 5) i;
  INSERT INTO events VALUES (1, '${sentinel}', 'a'), (2, '${sentinel}', 'b');
  INSERT INTO base VALUES (1, '${sentinel}');
  INSERT INTO derived VALUES (2, '${sentinel}', 'x');
  CREATE VIEW clean_view AS SELECT id, name FROM customers;
  CREATE VIEW leaky_view AS SELECT id, ssn AS x FROM customers;
  CREATE VIEW row_view AS SELECT c AS whole FROM customers c;
  CREATE VIEW deep_view AS SELECT * FROM leaky_view;
  CREATE VIEW mixed_view AS SELECT c.id, upper(c.ssn) AS loud, c.card, o.total, c.ssn = 'x' AS is_x FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.ssn > '';
  CREATE TABLE ruled (id int, note text);
  CREATE RULE r AS ON INSERT TO ruled DO INSTEAD INSERT INTO orders (id) VALUES (NEW.id + 100) RETURNING id, (SELECT ssn FROM customers LIMIT 1);
  CREATE MATERIALIZED VIEW stored_view AS SELECT id, card FROM customers;
  CREATE FUNCTION get_ssn(int) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM customers WHERE id = $1';
  CREATE FUNCTION reveal(customers) RETURNS text LANGUAGE sql AS 'SELECT $1.ssn';
  CREATE FUNCTION spill(orders) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM customers LIMIT 1';
  CREATE FUNCTION upper(int) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM customers WHERE id = $1';
  CREATE FUNCTION steal(int, int) RETURNS text LANGUAGE sql AS 'SELECT ssn FROM customers WHERE id = $1';
  CREATE OPERATOR @@@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = steal);
  CREATE VIEW function_view AS SELECT get_ssn(1) AS x;
  ANALYZE`;

/** Whether servers of that major version lack what the statement uses: MERGE, its RETURNING, `old`, a greatest record. */
export function isNewerThan(major: number, sql: string): boolean {
  if (/\bc\.max\b|\bold\./.test(sql)) return major < 18;
  if (!sql.includes("MERGE")) return false;
  return major < (sql.includes("RETURNING") ? 17 : 15);
}

export const maskedColumnNames = [
  "public.customers.ssn",
  "public.customers.card",
  "public.customers.meta",
  "public.events_a.secret",
  "public.base.pin",
];

/** Every value as text, as the simple protocol has it. */
export const textTypes: pg.CustomTypesConfig = { getTypeParser: () => (value: unknown) => value };
