// What the API needs of the audit store: a place to put events, and the questions people ask. operator/audit implements both.
import type { EventAck, EventBatch } from "../../contract/control.ts";
import type { EventSubject } from "../../contract/event.ts";
import type { AuditReader } from "../audit/queries.ts";

export interface EventSink {
  /** Stores the batch once and answers after commit; throws IngestRefused. `subject` is proven, and stream and events are already known to be its own. */
  ingest(batch: EventBatch, subject: EventSubject, signal: AbortSignal): Promise<EventAck>;
}

export type ApiReader = Pick<
  AuditReader,
  "events" | "sessions" | "session" | "recording" | "verify" | "budgets"
>;
