// A process that records until it is killed (audit-spool.test.ts): every number it prints was durable before. Asked to, it goes on under new stream names.
import { writeSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { openSpool } from "../../proxy/audit/spool.ts";

const [directory = "", stream = "", restarting = ""] = process.argv.slice(2);
const spool = openSpool({ directory, stream, limits: { segmentBytes: 16 * 1024 } });
writeSync(1, `open ${spool.lastSeq} ${spool.stream}\n`);

// It is killed, which leaves the cache unwritten.
flushCompileCache();

async function durable(worker: number): Promise<never> {
  for (let n = 0; ; n += 1) {
    const { seq } = await spool.appendDurably(
      "intent",
      {
        session: "s1",
        operation: { kind: "sql", summary: `UPDATE ${worker} ${n}` },
      },
      [{ part: "request", text: "x".repeat(n % 700) }],
    );
    writeSync(1, `durable ${seq}\n`);
    // Lines without a promise in between: what is torn must never take a durable one with it.
    for (let other = 0; other < n % 7; other += 1)
      spool.append("operation", { session: "s1", outcome: { status: "ok", rows: other } });
    if (n % 50 === 49) {
      const last = Math.max(spool.acknowledgedSeq, seq - 200);
      spool.acknowledge(last);
    }
    if (restarting !== "" && n % 3 === 2) await spool.restart("asked to");
  }
}

await Promise.all([1, 2, 3].map(durable));
