// The same promises on a real PostgreSQL, and what only processes can show: killed writers, and readers beside them.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { openReader } from "../../operator/audit/reader.ts";
import { openPostgresStore, openStore } from "../../operator/audit/store.ts";
import { Recorder } from "./audit-recorder.ts";
import { storeSuite } from "./audit-store-suite.ts";
import { postgresAvailable, startPostgres } from "./postgres-server.ts";

const directory = mkdtempSync(join(tmpdir(), "audit-stores-"));
after(() => rmSync(directory, { recursive: true }));

if (postgresAvailable()) {
  const server = await startPostgres();
  after(() => server.stop());
  const dsn = server.superuserUrl;

  test("several replicas make the tables and take batches of one stream at once without losing their order", async () => {
    const replicas = await Promise.all([1, 2, 3].map(() => openPostgresStore(dsn)));
    const recorders = Array.from(
      { length: 6 },
      (_, index) => new Recorder(`agents/replicated-${index}/uid`),
    );
    for (const recorder of recorders) for (let n = 0; n < 20; n += 1) recorder.add({});
    await Promise.all(
      recorders.map(async (recorder) => {
        for (let from = 1; from <= 20; from += 4) {
          // The answer of one replica was lost; the same batch goes to another.
          await Promise.all(
            replicas.map((replica) => replica.ingest(recorder.batch(from, from + 3))),
          );
        }
      }),
    );
    const [first] = replicas;
    assert.ok(first !== undefined);
    const rows = await first.db
      .selectFrom("event_headers")
      .select(["id", "stream", "seq"])
      .where("stream", "like", "agents/replicated-%")
      .execute();
    assert.equal(rows.length, 120);
    for (const replica of replicas) await replica.close();
  });

  test("idle sessions that the database ends, as a restart does, end no process; the next batch is taken", async () => {
    const store = await openPostgresStore(dsn);
    const admin = new pg.Client({ connectionString: dsn });
    await admin.connect();
    const recorder = new Recorder("agents/ended/uid").add({}, {});
    await store.ingest(recorder.batch(1, 1));
    const { rowCount } = await admin.query(
      "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
    );
    assert.ok(rowCount !== null && rowCount > 0, "there was an idle session");
    await admin.end();
    assert.deepEqual(await store.ingest(recorder.batch()), { acknowledged: 2 });
    await store.close();
  });

  storeSuite("the audit store in PostgreSQL", () => openPostgresStore(dsn));
} else {
  test(
    "the audit store in PostgreSQL",
    { skip: "no PostgreSQL package for this platform" },
    () => undefined,
  );
}

const writer = fileURLToPath(new URL("audit-store-child.ts", import.meta.url));

test("a store whose process is killed at any moment has every acknowledged event, and a reader beside it sees a whole chain", async () => {
  const file = join(directory, "killed.sqlite");
  let acknowledged = 0;
  for (let kill = 0; kill < 8; kill += 1) {
    const child = spawn(process.execPath, [writer, file], { stdio: ["ignore", "pipe", "inherit"] });
    let printed = "";
    child.stdout.setEncoding("utf8");
    const ended = once(child.stdout, "end");
    await new Promise<void>((resolve, reject) => {
      child.stdout.on("data", (text: string) => {
        printed += text;
        if (printed.includes("acknowledged")) resolve();
      });
      child.once("exit", (code) => reject(new Error(`the writer ended by itself with ${code}`)));
    });
    setTimeout(() => child.kill("SIGKILL"), Math.random() * 150);
    const reader = await openReader(file);
    const beside = await reader.verify();
    assert.deepEqual(
      beside.map(({ ok, fault }) => [ok, fault?.message]),
      [[true, undefined]],
    );
    await ended;
    acknowledged = Math.max(
      acknowledged,
      ...[...printed.matchAll(/acknowledged (\d+)\n/g)].map((match) => Number(match[1])),
    );
    await reader.close();
    const store = await openStore(file);
    const { seq } = await store.db.selectFrom("streams").select("seq").executeTakeFirstOrThrow();
    assert.ok(
      seq >= acknowledged,
      `event ${acknowledged} was acknowledged; the store ends at ${seq}`,
    );
    await store.close();
  }
  assert.ok(acknowledged > 100, "there was something to lose");
});
