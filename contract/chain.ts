// The hash chain of audit events: hashes, the pure verifier, and the one-line form people read.
import { hashCanonical, NotCanonical, sha256 } from "./canonical.ts";
import type { EventBody, EventHeader, EventType, StoredEvent } from "./event.ts";

/** `prev` of the first event of a stream. */
export const firstPrev = `sha256-${"A".repeat(43)}`;

/** Over the header's six members, whatever else it has. */
export function hashHeader({ bodyHash, prev, seq, stream, time, type }: EventHeader): string {
  return hashCanonical({ bodyHash, prev, seq, stream, time, type });
}

export function hashBody(body: EventBody): string {
  return hashCanonical(body);
}

/** The last event that was verified: where the next one must link. */
export interface ChainPosition {
  readonly stream: string;
  readonly seq: number;
  readonly hash: string;
}

export interface ChainLink {
  readonly header: EventHeader;
  readonly hash: string;
  /** `pruned`: deleted by retention or erasure, which is no fault. */
  readonly body: EventBody | "pruned" | undefined;
  /** Canonical forms of header and body, where whoever asks has them already: they are hashed as they stand. */
  readonly canonical?: { readonly header: string; readonly body: string };
}

export type ChainFaultKind =
  | "gap"
  | "altered-header"
  | "altered-body"
  | "broken-link"
  | "missing-body";

export interface ChainFault {
  readonly stream: string;
  /** Where it shows: the first missing number for a gap, else the event's own. */
  readonly seq: number;
  readonly kind: ChainFaultKind;
  readonly message: string;
}

export interface ChainResult {
  /** The last good event. */
  readonly position: ChainPosition;
  readonly verified: number;
  readonly fault?: ChainFault;
}

/** Before the first event of a stream. */
export function startOf(stream: string): ChainPosition {
  return { stream, seq: 0, hash: firstPrev };
}

/** A stream that goes on for one whose spool was lost or disowned: `….N`. Its first event may carry any number, never any `prev`. */
export function isSuccessor(stream: string): boolean {
  return /\.[1-9][0-9]{0,5}$/.test(stream);
}

/**
 * Verifies consecutive events after `from` and stops at the first fault. Call it again with the returned position for
 * the next batch. Anything at the end can be cut off unseen: compare the last position with a head kept elsewhere.
 */
export function verifyChain(links: Iterable<ChainLink>, from: ChainPosition): ChainResult {
  let position = from;
  let verified = 0;
  for (const link of links) {
    const fault = faultOf(link, position);
    if (fault !== undefined) return { position, verified, fault };
    position = { stream: position.stream, seq: link.header.seq, hash: link.hash };
    verified += 1;
  }
  return { position, verified };
}

function faultOf(link: ChainLink, at: ChainPosition): ChainFault | undefined {
  return headerFault(link, at) ?? bodyFault(link, at.stream);
}

function headerFault(
  { header, hash, canonical }: ChainLink,
  at: ChainPosition,
): ChainFault | undefined {
  const fault = (kind: ChainFaultKind, seq: number, message: string): ChainFault => ({
    stream: at.stream,
    seq,
    kind,
    message,
  });
  const expected = at.seq + 1;
  if (header.stream !== at.stream)
    return fault("altered-header", expected, `event ${expected} names another stream`);
  const headerHash = (): string =>
    canonical === undefined ? hashHeader(header) : sha256(canonical.header);
  if (!holds(() => headerHash() === hash))
    return fault(
      "altered-header",
      header.seq,
      `the header of event ${header.seq} is not the one that was hashed`,
    );
  if (header.seq > expected && !(at.seq === 0 && isSuccessor(at.stream))) {
    return fault(
      "gap",
      expected,
      header.seq - 1 === expected
        ? `event ${expected} is missing`
        : `events ${expected} to ${header.seq - 1} are missing`,
    );
  }
  if (header.seq < expected)
    return fault("broken-link", header.seq, `event ${header.seq} stands after event ${at.seq}`);
  if (header.prev !== at.hash)
    return fault(
      "broken-link",
      header.seq,
      `event ${header.seq} does not link to the event before it`,
    );
  return undefined;
}

function bodyFault({ header, body, canonical }: ChainLink, stream: string): ChainFault | undefined {
  if (body === "pruned") return undefined;
  if (body === undefined)
    return {
      stream,
      seq: header.seq,
      kind: "missing-body",
      message: `event ${header.seq} has lost its body and no retention says so`,
    };
  const bodyHash = (): string =>
    canonical === undefined ? hashBody(body) : sha256(canonical.body);
  if (holds(() => bodyHash() === header.bodyHash)) return undefined;
  return {
    stream,
    seq: header.seq,
    kind: "altered-body",
    message: `the body of event ${header.seq} is not the one that was recorded`,
  };
}

/** What cannot be put in canonical form cannot have been hashed. */
function holds(check: () => boolean): boolean {
  try {
    return check();
  } catch (error) {
    if (error instanceof NotCanonical) return false;
    throw error;
  }
}

/** Order of the body's members on the printed line; whatever else there is follows. */
const bodyOrder = [
  "intent",
  "session",
  "subject",
  "connection",
  "operation",
  "decision",
  "outcome",
] as const;
const headerKeys = ["stream", "seq", "time", "type", "prev", "bodyHash", "hash"] as const;

/** True when a body would hide a header member on the printed line; such events are refused. */
export function shadowsHeader(body: object): boolean {
  return headerKeys.some((key) => Object.hasOwn(body, key));
}

/** An event as one JSON object: header, hash, then body. Print it with JSON.stringify, one a line. */
export function flattenEvent(event: {
  readonly header: EventHeader;
  readonly hash: string;
  readonly body?: EventBody;
}): Readonly<Record<string, unknown>> {
  const { stream, seq, time, type, prev, bodyHash } = event.header;
  const body = Object.entries(event.body ?? {}).filter(([, value]) => value !== undefined);
  const place = (key: string): number => {
    const index = bodyOrder.findIndex((known) => known === key);
    return index < 0 ? bodyOrder.length : index;
  };
  const sorted = Object.fromEntries(body.sort(([a], [b]) => place(a) - place(b)));
  return { stream, seq, time, type, prev, bodyHash, hash: event.hash, ...sorted };
}

/** The way back from a printed line. Throws NotCanonical naming the member that is missing or has another type. */
export function parseFlat(line: string): StoredEvent {
  const flat = asObject(JSON.parse(line));
  const str = (key: string): string => {
    const value = flat[key];
    if (typeof value !== "string") throw new NotCanonical(`event line: "${key}" must be a string`);
    return value;
  };
  const seq = flat["seq"];
  if (typeof seq !== "number") throw new NotCanonical('event line: "seq" must be a number');
  const body = Object.fromEntries(
    Object.entries(flat).filter(([key]) => !headerKeys.some((own) => own === key)),
  );
  const type = str("type") as EventType;
  return {
    header: {
      stream: str("stream"),
      seq,
      time: str("time"),
      type,
      prev: str("prev"),
      bodyHash: str("bodyHash"),
    },
    hash: str("hash"),
    body,
  };
}

/** The most one EventBatch carries; the operator refuses more. */
export const maxBatchEvents = 1_000;

/** Why the operator did not take a batch: the body of the 409 answer of POST /v1/events. */
export interface IngestRefusal {
  readonly code:
    | "SequenceGap"
    | "StreamConflict"
    | "AlteredEvent"
    | "AlteredContent"
    | "MalformedBatch";
  readonly stream: string;
  /** The number this stream must go on with. */
  readonly expected: number;
  readonly message: string;
}

/** Thrown by the store, and by the proxy's `send` when the operator answered with a refusal. */
export class IngestRefused extends Error {
  override readonly name = "IngestRefused";
  readonly refusal: IngestRefusal;

  constructor(refusal: IngestRefusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

function asObject(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new NotCanonical("event line: not a JSON object");
  return value as Readonly<Record<string, unknown>>;
}
