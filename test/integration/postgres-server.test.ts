import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { test } from "node:test";
import pg from "pg";
import { startPostgres } from "./postgres-server.ts";

test("the test server is a real PostgreSQL 18 with TLS and SCRAM, and leaves nothing behind", async () => {
  const server = await startPostgres({ tls: true, password: "p@ss word" });
  const caFile = server.caFile;
  assert.ok(caFile !== undefined);
  try {
    const client = new pg.Client({ connectionString: server.superuserUrl });
    await client.connect();
    const { rows } = await client.query(
      "SELECT current_setting('server_version_num')::int / 10000 AS major, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    );
    assert.deepEqual(rows, [{ major: 18, ssl: true }]);
    await client.end();
    const plain = new pg.Client({
      host: server.host,
      port: server.port,
      user: "postgres",
      password: server.password,
      database: "postgres",
    });
    await assert.rejects(plain.connect(), /no pg_hba.conf entry/);
    const wrong = new pg.Client({
      connectionString: server.superuserUrl.replace("p%40ss", "other"),
    });
    await assert.rejects(wrong.connect(), { code: "28P01" });
  } finally {
    await server.stop();
  }
  assert.equal(existsSync(dirname(caFile)), false);
});
