// A database that is not UTF-8 has its own idea of names beyond ASCII: what was decided is what runs there, too.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import pg from "pg";
import { deny, everything, startHarness } from "./postgres-proxy-harness.ts";
import type { Harness } from "./postgres-proxy-harness.ts";
import { startPostgres } from "./postgres-server.ts";
import type { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
let proxy: Harness;
let db: pg.Client;
/** 40 bytes in LATIN1, 80 in UTF-8. */
const long = "é".repeat(40);

before(async () => {
  server = await startPostgres();
  const admin = new pg.Client({ connectionString: server.superuserUrl });
  await admin.connect();
  await admin.query("CREATE DATABASE old ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
  await admin.end();
  const own = new pg.Client({
    connectionString: server.superuserUrl.replace(/\/[^/]*$/, "/old"),
  });
  await own.connect();
  await own.query(`CREATE TABLE "${long}" (a text); INSERT INTO "${long}" VALUES ('secret')`);
  await own.query(`CREATE TABLE été (prénom text); INSERT INTO été VALUES ('Zoé')`);
  await own.end();
  proxy = await startHarness(server, { database: "old" });
  proxy.setRules([...everything, deny({ relations: [`public.${long}`] })]);
  db = new pg.Client({ host: proxy.host, port: proxy.port, user: "a", database: "old" });
  await db.connect();
});

after(async () => {
  await db?.end();
  await proxy?.close();
  await server?.stop();
});

for (const spelled of [`"${long}"`, long, `U&"${"\\00e9".repeat(40)}"`, `public."${long}"`])
  test(`a denied table is not read under a name that is cut elsewhere: ${spelled.slice(0, 20)}…`, async () => {
    await assert.rejects(db.query(`SELECT a FROM ${spelled}`), { code: "42501" });
    await assert.rejects(db.query({ name: spelled.slice(0, 9), text: `TABLE ${spelled}` }), {
      code: "42501",
    });
    await assert.rejects(db.query(`PREPARE p AS SELECT a FROM ${spelled}`), { code: "42501" });
  });

test("a capital beyond ASCII, which an encoding of one byte folds, has to be quoted", async () => {
  await assert.rejects(db.query("SELECT prénom FROM ÉTÉ"), /not UTF-8/);
  await assert.rejects(db.query("SELECT PRÉNOM FROM été"), /not UTF-8/);
});

test("short names in lower case and values of any kind are as good as ever", async () => {
  const { rows } = await db.query("SELECT prénom, 'ÉTÉ' AS \"É\" FROM été WHERE prénom <> $1", [
    "Ø",
  ]);
  assert.deepEqual(rows, [{ prénom: "Zoé", É: "ÉTÉ" }]);
});
