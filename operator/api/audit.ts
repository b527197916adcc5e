// What the API needs of the audit store: a place to put events, and the questions people ask. operator/audit implements both.
import type { EventAck, EventBatch } from "../../contract/control.ts";
import type { ContentRecord, EventSubject, StoredEvent } from "../../contract/event.ts";

export interface EventSink {
  /** Stores the batch once and answers after commit. `subject` is proven; the batch's stream and events are already known to be its own. */
  ingest(batch: EventBatch, subject: EventSubject, signal: AbortSignal): Promise<EventAck>;
}

export interface EventQuery {
  readonly namespace?: string;
  readonly session?: string;
  readonly verdict?: string;
  readonly type?: string;
  readonly connection?: string;
  readonly limit: number;
  /** Only events after this cursor. */
  readonly after?: number;
}

export interface EventPage {
  readonly events: readonly StoredEvent[];
  /** Give it as `after` to go on. */
  readonly cursor: number;
}

export interface SessionSummary {
  readonly id: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
  readonly chain?: string;
  readonly connection: string;
  readonly protocol: string;
  readonly started: string;
  readonly last: string;
  readonly ended: boolean;
  readonly operations: number;
  readonly denied: number;
  readonly held: number;
  readonly masked: number;
}

export interface RecordedSession {
  readonly events: readonly StoredEvent[];
  readonly contents: readonly ContentRecord[];
}

export interface VerifiedStream {
  readonly stream: string;
  readonly ok: boolean;
}

export interface AuditReader {
  events(query: EventQuery, signal: AbortSignal): Promise<EventPage>;
  sessions(
    query: { readonly namespace?: string; readonly limit: number },
    signal: AbortSignal,
  ): Promise<readonly SessionSummary[]>;
  session(id: string, signal: AbortSignal): Promise<SessionSummary | undefined>;
  /** Events and masked contents of one session; with `whole`, also what the same pod did meanwhile. */
  recording(id: string, whole: boolean, signal: AbortSignal): Promise<RecordedSession>;
  verify(stream: string | undefined, signal: AbortSignal): Promise<readonly VerifiedStream[]>;
}
