// A process that ingests until it is killed (audit-store.test.ts): every number it prints was acknowledged before.
import { writeSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { openStore } from "../../operator/audit/store.ts";
import { Recorder, statement } from "./audit-recorder.ts";

const stream = "agents/killed/uid";
const store = await openStore(process.argv[2] ?? "");
const held = await store.db
  .selectFrom("streams")
  .select(["seq", "hash"])
  .where("stream", "=", stream)
  .executeTakeFirst();
// It is killed, which leaves the cache unwritten.
flushCompileCache();
let head = held === undefined ? undefined : { stream, ...held };
for (;;) {
  const recorder = new Recorder(stream, head);
  for (let n = 0; n < 10; n += 1) {
    recorder.add({
      body: statement("s1", `SELECT ${n}`),
      contents: [{ part: "rows", text: "x".repeat(n * 200) }],
    });
  }
  const { acknowledged } = await store.ingest(recorder.batch());
  writeSync(1, `acknowledged ${acknowledged}\n`);
  const last = recorder.records.at(-1)?.event;
  if (last !== undefined) head = { stream, seq: last.header.seq, hash: last.hash };
}
