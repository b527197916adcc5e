import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { test } from "node:test";
import pg from "pg";
import { postgresMajor, startPostgres } from "./postgres-server.ts";

test("the test server is a real PostgreSQL with TLS and SCRAM, and leaves nothing behind", async () => {
  const server = await startPostgres({ tls: true, password: "p@ss word" });
  const caFile = server.caFile;
  assert.ok(caFile !== undefined);
  try {
    const client = new pg.Client({ connectionString: server.superuserUrl });
    await client.connect();
    const { rows } = await client.query(
      "SELECT current_setting('server_version_num')::int / 10000 AS major, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
    );
    assert.deepEqual(rows, [{ major: await postgresMajor(), ssl: true }]);
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

test("two servers start from one cluster and share nothing after that", async () => {
  const servers = await Promise.all([startPostgres(), startPostgres()]);
  const [first, second] = await Promise.all(
    servers.map(async ({ superuserUrl }) => {
      const client = new pg.Client({ connectionString: superuserUrl });
      await client.connect();
      return client;
    }),
  );
  try {
    assert.ok(first !== undefined && second !== undefined);
    await first.query("CREATE TABLE mine (id int)");
    await first.query("ALTER ROLE postgres PASSWORD 'mine'");
    const { rows } = await second.query("SELECT to_regclass('mine') AS seen");
    assert.deepEqual(rows, [{ seen: null }]);
    const third = await startPostgres();
    servers.push(third);
    assert.equal(third.password, servers[1]?.password);
    const again = new pg.Client({ connectionString: third.superuserUrl });
    await again.connect();
    await again.end();
  } finally {
    await first?.end();
    await second?.end();
    for (const server of servers) await server.stop();
  }
});
