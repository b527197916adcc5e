// Kills a recording process at random moments and looks at what its spool still knows.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { type ChainPosition, verifyChain } from "../../contract/chain.ts";
import type { StoredEvent } from "../../contract/event.ts";
import { recordsOf } from "../../contract/delivery.ts";
import { openSpool, type Spool } from "../../proxy/audit/spool.ts";

const child = fileURLToPath(new URL("audit-spool-child.ts", import.meta.url));
const stream = "agents/invoice-7c9d/6f1c";
/** Each kill is a new moment in writing, syncing, starting a segment, deleting one. */
const kills = 25;

/** The numbers that were durable. */
async function recordUntilKilled(
  directory: string,
  afterMs: number,
  ...options: readonly string[]
): Promise<number[]> {
  const recording = spawn(process.execPath, [child, directory, stream, ...options], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let printed = "";
  recording.stdout.setEncoding("utf8");
  const opened = new Promise<void>((resolve, reject) => {
    recording.stdout.on("data", (text: string) => {
      printed += text;
      if (printed.includes("durable")) resolve();
    });
    recording.once("exit", (code) =>
      reject(new Error(`the recorder ended by itself with ${code}`)),
    );
  });
  await opened;
  setTimeout(() => recording.kill("SIGKILL"), afterMs);
  await once(recording.stdout, "end");
  // The last line may itself be cut.
  return [...printed.matchAll(/durable (\d+)\n/g)].map((match) => Number(match[1]));
}

async function everything(spool: Spool): Promise<StoredEvent[]> {
  const events: StoredEvent[] = [];
  for (;;) {
    const batch = await spool.read(spool.oldestSeq + events.length, {
      events: 500,
      bytes: 1 << 20,
    });
    if (batch === undefined) return events;
    events.push(...recordsOf(batch.lines));
  }
}

test("a recording process that is killed at any moment loses no durable event, and its sequence goes on", async () => {
  const directory = mkdtempSync(join(tmpdir(), "spool-crash-"));
  try {
    let durable = 0;
    const hashes = new Map<number, string>();
    for (let kill = 0; kill < kills || isTooFew(kill, durable); kill += 1) {
      durable = Math.max(durable, ...(await recordUntilKilled(directory, Math.random() * 60)));
      const spool = openSpool({ directory, stream, limits: { segmentBytes: 16 * 1024 } });
      assert.equal(spool.stream, stream, "a crash is no damage");
      assert.ok(
        spool.lastSeq > durable,
        `event ${durable} was durable; the spool ends at ${spool.lastSeq}`,
      );
      const events = await everything(spool);
      const first = events[0];
      assert.ok(first !== undefined);
      const from: ChainPosition = { stream, seq: first.header.seq - 1, hash: first.header.prev };
      assert.equal(verifyChain(events, from).fault, undefined);
      assert.equal(events.at(-1)?.header.type, "gap", "what may be missing is said");
      for (const event of events) {
        const before = hashes.get(event.header.seq);
        assert.ok(
          before === undefined || before === event.hash,
          `event ${event.header.seq} is another one than before the crash`,
        );
        hashes.set(event.header.seq, event.hash);
      }
      await spool.close();
      durable = spool.lastSeq;
    }
    assert.ok(durable > kills * 10, "there was something to lose");
  } finally {
    rmSync(directory, { recursive: true });
  }
});

/** A busy machine writes little before it is killed: then it is killed more often, up to a point. */
function isTooFew(killed: number, durable: number): boolean {
  return durable <= kills * 10 && killed < kills * 10;
}

test("killed while its unshipped events are chained anew under another stream name, it has each durable one under one of the two", async () => {
  const directory = mkdtempSync(join(tmpdir(), "spool-restart-crash-"));
  try {
    const durable = new Set<number>();
    const streams = new Set<string>();
    for (let kill = 0; kill < kills || isTooFew(kill, durable.size); kill += 1) {
      const numbers = await recordUntilKilled(directory, Math.random() * 250, "restarting");
      for (const number of numbers) durable.add(number);
      const spool = openSpool({ directory, stream, limits: { segmentBytes: 16 * 1024 } });
      const events = await everything(spool);
      streams.add(spool.stream);
      const [first] = events;
      assert.ok(first !== undefined);
      const from: ChainPosition = {
        stream: spool.stream,
        seq: first.header.seq - 1,
        hash: first.header.prev,
      };
      assert.equal(verifyChain(events, from).fault, undefined);
      for (const { header } of events)
        if (durable.has(header.seq))
          assert.equal(header.type, "intent", `event ${header.seq} was durable`);
      assert.ok(spool.lastSeq > Math.max(...durable));
      await spool.close();
    }
    assert.ok(streams.size > 3, `it went on under new names: ${[...streams].join()}`);
    assert.ok(durable.size > kills * 10, "there was something to lose");
  } finally {
    rmSync(directory, { recursive: true });
  }
});
