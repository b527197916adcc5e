// Makes chained events and batches for store tests, with the very code that the proxy records with.
import { type ChainPosition, startOf } from "../../contract/chain.ts";
import type { EventBatch } from "../../contract/control.ts";
import { batchOf, openDelivery, type UnreadDelivery } from "../../contract/delivery.ts";
import type { EventBody, EventType } from "../../contract/event.ts";
import { RecordWriter, type WrittenRecord } from "../../proxy/audit/record-writer.ts";
import type { Content } from "../../proxy/pipeline.ts";

export interface Recorded {
  readonly type?: EventType;
  readonly body?: EventBody;
  readonly contents?: readonly Content[];
  /** Milliseconds after the first event's time. */
  readonly at?: number;
}

export const firstTime = Date.parse("2026-11-20T10:00:00.000Z");

export class Recorder {
  readonly stream: string;
  readonly records: WrittenRecord[] = [];
  readonly #writer = new RecordWriter();
  #head: ChainPosition;

  constructor(stream: string, from: ChainPosition = startOf(stream)) {
    this.stream = stream;
    this.#head = from;
  }

  add(...events: readonly Recorded[]): this {
    for (const {
      type = "operation",
      body = statement("s1", "SELECT 1"),
      contents = [],
      at = this.records.length,
    } of events) {
      const record = this.#writer.make(this.#head, {
        type,
        body,
        contents,
        time: new Date(firstTime + at).toISOString(),
      });
      this.#head = { stream: this.stream, seq: record.event.header.seq, hash: record.event.hash };
      this.records.push({ ...record, line: Buffer.from(record.line) });
    }
    return this;
  }

  /** Events from number `from` to `to`, as the proxy would send them. */
  batch(from = this.records[0]?.event.header.seq ?? 1, to = this.#head.seq): EventBatch {
    const records = this.#between(from, to);
    return batchOf({
      stream: this.stream,
      records: records.map(({ event, contents }) => ({ ...event, contents })),
      head: signed(records),
    });
  }

  /** The same as it comes over the wire. */
  delivery(from = this.records[0]?.event.header.seq ?? 1, to = this.#head.seq): UnreadDelivery {
    const records = this.#between(from, to);
    const first = JSON.stringify({ stream: this.stream, head: signed(records) });
    return openDelivery(
      Buffer.concat([Buffer.from(`${first}\n`), ...records.map(({ line }) => line)]),
    );
  }

  #between(from: number, to: number): readonly WrittenRecord[] {
    return this.records.filter(({ event }) => event.header.seq >= from && event.header.seq <= to);
  }
}

function signed(records: readonly WrittenRecord[]): string {
  const head = Buffer.from(records.at(-1)?.event.hash ?? "").toString("base64url");
  return `e30.${head}.c2lnbmF0dXJl`;
}

export const subject = {
  namespace: "agents",
  serviceAccount: "invoice-agent",
  pod: "invoice-7c9d",
  podUid: "6f1c",
  chain: "summarise",
};

export function statement(
  session: string,
  summary: string,
  more: Partial<EventBody> = {},
): EventBody {
  return {
    session,
    subject,
    connection: { namespace: "agents", name: "orders-db", protocol: "postgres" },
    operation: { kind: "sql", summary, facts: { statements: ["select"] } },
    decision: {
      verdict: "allow",
      policy: "agents/invoice-agent",
      rule: "read-orders",
      reason: "RuleMatched",
      message: "allowed",
      mode: "Enforce",
    },
    outcome: { status: "ok", rows: 1, durationMs: 0.9 },
    ...more,
  };
}

export function denied(session: string, summary: string): EventBody {
  return statement(session, summary, {
    decision: {
      verdict: "deny",
      policy: "agents/invoice-agent",
      rule: "never-destroy",
      reason: "RuleMatched",
      message: "no",
      mode: "Enforce",
    },
    outcome: { status: "denied" },
  });
}
