import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { sql } from "kysely";
import { Recorder, statement } from "../../test/integration/audit-recorder.ts";
import { storeSuite } from "../../test/integration/audit-store-suite.ts";
import { networkFilesystem } from "./filesystem.ts";
import { createAuditReader } from "./queries.ts";
import { openReader } from "./reader.ts";
import { openStore } from "./store.ts";

const directory = mkdtempSync(join(tmpdir(), "audit-store-"));
after(() => rmSync(directory, { recursive: true }));

storeSuite("the embedded audit store", () => openStore(join(directory, "suite", "store.sqlite")));

test("a store is reopened with everything in it and goes on", async () => {
  const file = join(directory, "reopened.sqlite");
  const recorder = new Recorder("agents/pod/1").add({}, {}, {});
  const first = await openStore(file);
  await first.ingest(recorder.batch(1, 2));
  await first.close();
  const second = await openStore(file);
  assert.deepEqual(await second.ingest(recorder.batch()), { acknowledged: 3 });
  const reader = createAuditReader(second.db);
  assert.deepEqual((await reader.events({ limit: 10 })).events, recorder.batch().events);
  assert.deepEqual(
    (await reader.verify()).map(({ ok, events }) => [ok, events]),
    [[true, 3]],
  );
  await second.close();
});

test("the file and its directory are their owner's alone", async () => {
  const file = join(directory, "private", "store.sqlite");
  const store = await openStore(file);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(statSync(join(directory, "private")).mode & 0o777, 0o700);
  await store.close();
});

test("a reader sees what another connection commits while it is open, and can write nothing", async () => {
  const file = join(directory, "read.sqlite");
  const recorder = new Recorder("agents/pod/1").add({}, { body: statement("s2", "SELECT 2") });
  const store = await openStore(file);
  const reader = await openReader(file);
  assert.deepEqual((await reader.events({ limit: 10 })).events, []);
  await store.ingest(recorder.batch(1, 1));
  const page = await reader.events({ limit: 10, after: 0 });
  assert.equal(page.events.length, 1);
  await store.ingest(recorder.batch(2, 2));
  assert.deepEqual(
    (await reader.events({ limit: 10, after: page.cursor })).events.map(
      (event) => event.header.seq,
    ),
    [2],
  );
  await assert.rejects(reader.db.deleteFrom("event_headers").execute(), /readonly/);
  await store.close();
  assert.equal((await reader.verify())[0]?.ok, true);
  await reader.close();
});

test("a reader of a store that is not there says so", async () => {
  await assert.rejects(openReader(join(directory, "none.sqlite")), { code: "ENOENT" });
});

test("a file that is no database is refused, and close still works", async () => {
  const file = join(directory, "garbage.sqlite");
  const { writeFileSync } = await import("node:fs");
  writeFileSync(
    file,
    "this is not a database, and it is long enough to be looked at as one".repeat(20),
  );
  await assert.rejects(openStore(file), /not a database/);
});

test("after close everything is refused instead of waiting for ever", async () => {
  const store = await openStore(join(directory, "closed.sqlite"));
  await store.close();
  await assert.rejects(store.ingest(new Recorder("agents/pod/1").add({}).batch()), /closed/);
});

test("a batch that the database cannot take fails alone, and the others of its transaction are taken", async () => {
  const store = await openStore(join(directory, "poisoned.sqlite"));
  await sql`create trigger poison before insert on event_headers when new.stream = 'agents/poison/1' begin select raise(abort, 'no room'); end`.execute(
    store.db,
  );
  const names = ["agents/before/1", "agents/poison/1", "agents/after/1"];
  const results = await Promise.allSettled(
    names.map((name) => store.ingest(new Recorder(name).add({}, {}).batch())),
  );
  assert.deepEqual(
    results.map((result) =>
      result.status === "fulfilled"
        ? result.value.acknowledged
        : result.reason instanceof Error && result.reason.message,
    ),
    [2, "audit store: no room", 2],
  );
  assert.deepEqual(
    (await createAuditReader(store.db).verify()).map(({ stream, ok }) => [stream, ok]),
    [
      ["agents/after/1", true],
      ["agents/before/1", true],
    ],
  );
  await store.close();
});

test("network filesystems are known by their number, signed or not", () => {
  assert.equal(networkFilesystem(0x6969), "NFS");
  assert.equal(networkFilesystem(0xff534d42), "CIFS");
  assert.equal(networkFilesystem(0xff534d42 | 0), "CIFS");
  assert.equal(networkFilesystem(0xef53), undefined, "ext4");
  assert.equal(networkFilesystem(0x01021994), undefined, "tmpfs");
});
