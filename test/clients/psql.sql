\set VERBOSITY default
\pset null <null>
SELECT 1 AS one, 'zwei'::text AS two;
\d
\dt
\dt+ notes
\d notes
\d+ notes
\d+ orders
\d+ open_orders
\di
\dv
\dm
\ds
\dn
\dn+
\df
\df public.*
\df+ public.total
\dT+
\dD+
\dx
\du
\dp
\dp orders
\dd
\dC date
\do =
\db
\dL
\dO
\l
\da sum
\dRp+
\des
\dew
\dF
\dy
\dX
\dconfig work_mem
\ddp
\drds
\z notes
\dPt
\sf total
\sv open_orders
\encoding
SELECT id, customer, total FROM orders ORDER BY id \gdesc
SELECT $1::int + $2::int AS sum \bind 40 2 \g
SELECT note FROM notes WHERE id = $1 \parse by_id
\bind_named by_id 1 \g
\bind_named by_id 2 \g
\close_prepared by_id
\bind_named by_id 1 \g
SELECT 'a' AS x, 1 AS y UNION SELECT 'b', 2 \crosstabview
SELECT format('SELECT %s AS generated', n) FROM generate_series(1, 3) n \gexec
SELECT id AS last_id FROM notes ORDER BY id DESC LIMIT 1 \gset
SELECT :last_id + 1 AS next_id;
\startpipeline
SELECT $1::int AS one \bind 1 \sendpipeline
SELECT $1::int AS two \bind 2 \sendpipeline
\syncpipeline
SELECT 1 / $1::int AS fails \bind 0 \sendpipeline
SELECT $1::int AS skipped \bind 3 \sendpipeline
\endpipeline
SELECT 'the session goes on' AS state;
\copy notes (id, note) FROM 'in.csv' WITH (FORMAT csv, HEADER)
\copy (SELECT * FROM notes ORDER BY id) TO 'out.csv' WITH (FORMAT csv, HEADER)
\copy notes TO STDOUT
COPY notes (id, note) FROM STDIN;
50	fifty
51	\N
\.
COPY notes TO STDOUT (FORMAT csv, FORCE_QUOTE *);
SELECT no_such_column FROM notes;
SELEC 1;
SELECT 1 / 0;
INSERT INTO notes VALUES (0, 'twice');
SELECT 'one'; SELECT 'two' AS "in one line";
SELECT 1 AS a \; SELECT 2 AS b \; SELECT 3 AS c;
BEGIN;
SAVEPOINT here;
INSERT INTO notes VALUES (60, 'sixty');
SELECT 1 / 0;
ROLLBACK TO here;
SELECT count(*) FROM notes WHERE id = 60;
COMMIT;
BEGIN;
DECLARE walk CURSOR FOR SELECT id FROM notes ORDER BY id;
FETCH 2 FROM walk;
MOVE 1 IN walk;
FETCH ALL FROM walk;
CLOSE walk;
COMMIT;
\set FETCH_COUNT 3
SELECT g, g * g AS square FROM generate_series(1, 10) g;
\unset FETCH_COUNT
PREPARE note_of (int) AS SELECT note FROM notes WHERE id = $1;
EXECUTE note_of(1);
EXECUTE note_of(0);
DEALLOCATE note_of;
EXECUTE note_of(0);
PREPARE add_note AS INSERT INTO notes VALUES ($1, $2) RETURNING id, note;
EXECUTE add_note(70, 'seventy');
EXECUTE add_note(71, 'seventy-one');
EXECUTE add_note(72, NULL);
PREPARE "Quoted Name" AS SELECT 'quoted' AS name;
EXECUTE "Quoted Name";
DEALLOCATE ALL;
EXECUTE "Quoted Name";
EXPLAIN (COSTS off) SELECT * FROM notes WHERE id = 1;
LISTEN news;
NOTIFY news, 'hello';
SELECT 1 AS "a notification before this";
DO $$ BEGIN RAISE NOTICE 'said %', 'by DO'; END $$;
CREATE TABLE made (a int GENERATED ALWAYS AS IDENTITY, b text DEFAULT 'b');
INSERT INTO made (b) VALUES ('x') RETURNING a;
\d made
DROP TABLE made;
VACUUM notes;
ANALYZE notes;
SET statement_timeout = '50ms';
SELECT pg_sleep(30);
RESET statement_timeout;
SET search_path = '';
SELECT 1 FROM notes;
SELECT id FROM public.notes WHERE id = 1;
SELECT pg_get_viewdef('public.open_orders'::regclass);
RESET search_path;
SELECT id FROM notes WHERE id = 1;
\timing on
\timing off
\lo_list
\errverbose
\x on
SELECT id, note FROM notes WHERE id < 3 ORDER BY id;
\x off
\o out.txt
SELECT 'in a file';
\o
\echo :SERVER_VERSION_NUM :SQLSTATE :ROW_COUNT
