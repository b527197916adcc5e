// What recording one operation costs: the spool's append, its way to the disk, and the store's ingest of the same events.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { maxBatchEvents } from "../../contract/chain.ts";
import type { UnreadDelivery } from "../../contract/delivery.ts";
import type { EventBody } from "../../contract/event.ts";
import { openStore } from "../../operator/audit/store.ts";
import { openSpool } from "../../proxy/audit/spool.ts";
import { Recorder } from "../integration/audit-recorder.ts";
import { count, markdown, median } from "./table.ts";
import type { Row } from "./table.ts";

const events = 20_000;
const batchEvents = 256;
const rounds = 3;
/** Appends between two turns of the event loop, so that the writer works beside them as it does beside traffic. */
const turn = 50;

function body(index: number): EventBody {
  return {
    session: "01JD2Z7Q9G3V8X5M4N6P7R8S9T",
    subject: {
      namespace: "agents",
      serviceAccount: "invoice-agent",
      pod: "invoice-7c9d",
      podUid: "6f1c",
    },
    connection: { namespace: "agents", name: "orders-db", protocol: "postgres" },
    operation: {
      kind: "sql",
      summary: `SELECT abalance FROM pgbench_accounts WHERE aid = ${index};`,
      facts: {
        statements: ["select"],
        relationsRead: ["public.pgbench_accounts"],
        relationsWritten: [],
        columns: ["public.pgbench_accounts.abalance", "public.pgbench_accounts.aid"],
        functions: [],
        hasWhere: true,
        statementCount: 1,
      },
    },
    decision: {
      verdict: "allow",
      policy: "agents/invoice-agent",
      rule: "read",
      reason: "RuleMatched",
      message: "allowed by rule read of policy agents/invoice-agent",
      mode: "Enforce",
    },
    outcome: { status: "ok", bytesIn: 64, bytesOut: 96, durationMs: 0.3, rows: 1 },
  };
}

export async function recording(): Promise<Row[]> {
  const folder = await mkdtemp(join(tmpdir(), "chaperone-bench-recording-"));
  try {
    const appends: number[] = [];
    const wholes: number[] = [];
    const ingests: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const spooled = await spool(join(folder, `spool-${round}`));
      appends.push(spooled.appendUs);
      wholes.push(spooled.wholeUs);
    }
    ingests.push(...(await store(join(folder, "store.sqlite"))));
    const row = (what: string, values: readonly number[]): Row => ({
      what,
      measured: `${count(median(values))} µs`,
      ratio: "",
      floor: "",
      goal: "",
      verdict: "no floor",
    });
    return [
      row("recording: append one event (canonical form, two hashes, chain)", appends),
      row(
        "recording: the same until it is on the disk and read to be sent, processor time",
        wholes,
      ),
      row(
        `store: one event of a batch of ${batchEvents}, from the bytes that came to the commit, processor time`,
        ingests,
      ),
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function spool(
  directory: string,
): Promise<{ readonly appendUs: number; readonly wholeUs: number }> {
  const opened = openSpool({ directory, stream: "agents/invoice-7c9d/6f1c" });
  let appendMs = 0;
  let next = 1;
  const before = process.cpuUsage();
  for (let index = 0; index < events; index += turn) {
    const started = performance.now();
    for (let one = 0; one < turn; one += 1) opened.append("operation", body(index + one));
    appendMs += performance.now() - started;
    if (index % (batchEvents * 4) < turn) next = await ship(next);
    await new Promise((resolve) => setImmediate(resolve));
  }
  while (next <= events) next = await ship(next);
  const used = process.cpuUsage(before);
  await opened.close();
  return {
    appendUs: (appendMs * 1_000) / events,
    wholeUs: (used.user + used.system) / events,
  };

  async function ship(from: number): Promise<number> {
    const batch = await opened.read(from, { events: maxBatchEvents, bytes: 1024 * 1024 });
    const last = batch?.last ?? from - 1;
    opened.acknowledge(last);
    return last + 1;
  }
}

/** Of each round, in microseconds of all threads. The first is for the compiler, in the worker's own heap. */
async function store(file: string): Promise<number[]> {
  const opened = await openStore(file);
  const spent: number[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const deliveries = made(`agents/invoice-7c9d/6f1c-${round}`);
    const before = process.cpuUsage();
    for (const delivery of deliveries) await opened.ingest(delivery);
    const used = process.cpuUsage(before);
    if (round > 0) spent.push((used.user + used.system) / events);
  }
  await opened.close();
  return spent;
}

function made(stream: string): UnreadDelivery[] {
  const recorder = new Recorder(stream);
  for (let index = 0; index < events; index += 1) recorder.add({ body: body(index) });
  return Array.from({ length: Math.ceil(events / batchEvents) }, (_, batch) =>
    recorder.delivery(batch * batchEvents + 1, (batch + 1) * batchEvents),
  );
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  process.stdout.write(markdown(await recording()));
