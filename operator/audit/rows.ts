// Rows of the store back into events, the same for every query.
import type { EventBody, EventHeader, EventType, StoredEvent } from "../../contract/event.ts";

/** Numbers come as strings from PostgreSQL, whose bigint does not fit JavaScript's number in general; ours do. */
export interface HeaderRow {
  readonly stream: string;
  readonly seq: number | string;
  readonly time: string;
  readonly type: string;
  readonly prev: string;
  readonly body_hash: string;
}

export interface EventRow extends HeaderRow {
  readonly id: number | string;
  readonly hash: string;
  readonly body: string | null;
}

export function toHeader(row: HeaderRow): EventHeader {
  return {
    stream: row.stream,
    seq: Number(row.seq),
    time: row.time,
    type: row.type as EventType,
    prev: row.prev,
    bodyHash: row.body_hash,
  };
}

/** A pruned event has an empty body. */
export function toEvent(row: EventRow): StoredEvent {
  return { header: toHeader(row), hash: row.hash, body: row.body === null ? {} : toBody(row.body) };
}

/** A body that somebody has made unreadable must not hide the events around it; it fails verification all the same. */
export function toBody(stored: string): EventBody {
  try {
    return JSON.parse(stored) as EventBody;
  } catch {
    return {
      error: {
        code: "BodyUnreadable",
        message: "the stored body is no JSON; see: chaperone audit verify",
      },
    };
  }
}
