// A schema with one of everything that catalog look-ups ask about: keys, defaults, views, functions, types, partitions, comments.

export const emptyShop: readonly string[] = [
  "DROP SCHEMA IF EXISTS public CASCADE",
  "CREATE SCHEMA public",
  "GRANT USAGE ON SCHEMA public TO PUBLIC",
];

export const shop: readonly string[] = [
  ...emptyShop,
  "CREATE TYPE status AS ENUM ('open', 'paid', 'returned')",
  "CREATE DOMAIN amount AS numeric(10, 2) CHECK (VALUE >= 0)",
  "CREATE TYPE place AS (street text, town text)",
  `CREATE TABLE customers (
     id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
     name text NOT NULL,
     email text UNIQUE,
     born date,
     tags text[] DEFAULT '{}',
     data jsonb,
     home place,
     since timestamptz DEFAULT '2026-01-01 00:00:00+00')`,
  "COMMENT ON TABLE customers IS 'people who buy'",
  "COMMENT ON COLUMN customers.email IS 'where receipts go'",
  `CREATE TABLE orders (
     id serial PRIMARY KEY,
     customer bigint NOT NULL REFERENCES customers (id) ON DELETE CASCADE,
     state status NOT NULL DEFAULT 'open',
     total amount NOT NULL CHECK (total < 100000),
     gross numeric GENERATED ALWAYS AS (total * 1.2) STORED,
     note varchar(80))`,
  "CREATE INDEX orders_by_state ON orders (state, customer) WHERE state <> 'returned'",
  "CREATE INDEX orders_note ON orders (lower(note))",
  "CREATE VIEW open_orders AS SELECT o.id, c.name, o.total FROM orders o JOIN customers c ON c.id = o.customer WHERE o.state = 'open'",
  "CREATE MATERIALIZED VIEW totals AS SELECT customer, sum(total) AS total FROM orders GROUP BY customer",
  "CREATE FUNCTION total(who bigint) RETURNS numeric LANGUAGE sql STABLE AS $$ SELECT sum(total) FROM public.orders WHERE customer = who $$",
  `CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$
     BEGIN NEW.note := coalesce(NEW.note, 'touched'); RETURN NEW; END $$`,
  "CREATE TRIGGER touch BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION touched()",
  "CREATE TABLE events (at date NOT NULL, what text) PARTITION BY RANGE (at)",
  "CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
  "CREATE STATISTICS orders_stat ON state, customer FROM orders",
  "ALTER TABLE customers ENABLE ROW LEVEL SECURITY",
  "CREATE POLICY everyone ON customers USING (true)",
  "CREATE SEQUENCE tickets START 100 INCREMENT 5",
  "INSERT INTO customers (name, email, born, tags, data, home) VALUES ('Ada', 'ada@example.com', '1815-12-10', '{maths,engines}', '{\"vip\": true}', ('St James', 'London')), ('Grace', NULL, NULL, DEFAULT, NULL, NULL)",
  "INSERT INTO orders (customer, state, total, note) VALUES (1, 'open', 12.50, 'first'), (1, 'paid', 99.99, NULL), (2, 'open', 0, E'tab\\there')",
  "INSERT INTO events VALUES ('2026-05-01', 'launch')",
  "REFRESH MATERIALIZED VIEW totals",
  "GRANT SELECT ON orders TO PUBLIC",
];
