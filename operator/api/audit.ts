// What the API needs of the audit store: a place to put events, and the questions people ask. operator/audit implements both.
import type { EventAck } from "../../contract/control.ts";
import type { OwnDelivery } from "../audit/check.ts";
import type { AuditReader } from "../audit/queries.ts";

export interface EventSink {
  /**
   * Stores the delivery once and answers after commit; throws IngestRefused, and SubjectNotOwn where an event names another
   * subject. The subject is proven, and the stream known to be its own.
   */
  ingest(delivery: OwnDelivery, signal: AbortSignal): Promise<EventAck>;
}

export type ApiReader = Pick<
  AuditReader,
  "events" | "sessions" | "session" | "recording" | "verify" | "budgets"
>;
