// Makes chained events and batches for store tests, with the very code that the proxy records with.
import { type ChainPosition, startOf } from "../../contract/chain.ts";
import type { EventBatch } from "../../contract/control.ts";
import { batchOf } from "../../contract/delivery.ts";
import type { EventBody, EventType } from "../../contract/event.ts";
import type { SpoolRecord } from "../../proxy/audit/record.ts";
import { RecordWriter } from "../../proxy/audit/record-writer.ts";
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
  readonly records: SpoolRecord[] = [];
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
      const { event, contents: texts } = this.#writer.make(this.#head, {
        type,
        body,
        contents,
        time: new Date(firstTime + at).toISOString(),
      });
      this.#head = { stream: this.stream, seq: event.header.seq, hash: event.hash };
      this.records.push({ event, contents: texts });
    }
    return this;
  }

  /** Events from number `from` to `to`, as the proxy would send them. */
  batch(from = this.records[0]?.event.header.seq ?? 1, to = this.#head.seq): EventBatch {
    const records = this.records.filter(
      ({ event }) => event.header.seq >= from && event.header.seq <= to,
    );
    const head = Buffer.from(records.at(-1)?.event.hash ?? "").toString("base64url");
    return batchOf({
      stream: this.stream,
      records: records.map(({ event, contents }) => ({ ...event, contents })),
      head: `e30.${head}.c2lnbmF0dXJl`,
    });
  }
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
