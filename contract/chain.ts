// The hash chain of audit events: canonical JSON (RFC 8785), hashes, the pure verifier, and the one-line form people read.
import { hash as digest } from "node:crypto";
import type { EventBody, EventHeader, EventType, StoredEvent } from "./event.ts";

/** `prev` of the first event of a stream. */
export const firstPrev = `sha256-${"A".repeat(43)}`;

/** Deeper JSON is refused: nothing we record nests like this, and a recursive walk must end before the stack does. */
export const maxJsonDepth = 64;

/** Thrown for what JSON or RFC 8785 cannot carry: NaN, bigint, functions, lone surrogates, cycles. */
export class NotCanonical extends TypeError {
  override readonly name = "NotCanonical";
}

/** RFC 8785 form of plain data. Members that are `undefined` are left out, as JSON.stringify does. */
export function canonicalJson(value: unknown): string {
  return writeValue(value, 0);
}

/**
 * Says that this object and all in it never change again: its canonical form is written once and kept with it. The
 * subject, the connection and the decision of a rule stand in every event of a session.
 */
export function stable<T extends object>(value: T): T {
  if (!stableForms.has(value)) stableForms.set(value, "");
  return value;
}

/** Empty until it is first written. Weak, so it needs no bound of its own. */
const stableForms = new WeakMap<object, string>();

/** `sha256-` + base64url(SHA-256(text as UTF-8)). */
export function sha256(text: string): string {
  return `sha256-${digest("sha256", text, "base64url")}`;
}

/** JCS of the header: its six members in code-unit order, written out because this runs for every event. */
export function canonicalHeader(header: EventHeader): string {
  return `{"bodyHash":${text(header.bodyHash)},"prev":${text(header.prev)},"seq":${canonicalJson(header.seq)},"stream":${text(header.stream)},"time":${text(header.time)},"type":${text(header.type)}}`;
}

export function hashHeader(header: EventHeader): string {
  return sha256(canonicalHeader(header));
}

export function hashBody(body: EventBody): string {
  return sha256(canonicalJson(body));
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
  if (!holds(() => sha256(canonical?.header ?? canonicalHeader(header)) === hash))
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
  if (holds(() => sha256(canonical?.body ?? canonicalJson(body)) === header.bodyHash))
    return undefined;
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
export const maxBatchEvents = 500;

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

/** Names of members, by the text they are written as: nearly every event brings the same few dozen. */
const knownNames = new Map<string, string>();
const maxKnownNames = 512;
const maxKnownNameLength = 64;

function nameText(name: string): string {
  const known = knownNames.get(name);
  if (known !== undefined) return known;
  const written = `${text(name)}:`;
  if (knownNames.size < maxKnownNames && name.length <= maxKnownNameLength)
    knownNames.set(name, written);
  return written;
}

/** Nearly every string we write needs no escape, and finding that out is cheaper than JSON.stringify. */
const needsCare = /[^ !#-[\]-\ud7ff\ue000-\uffff]/;

function text(value: unknown): string {
  if (typeof value !== "string") return canonicalJson(value);
  if (!needsCare.test(value)) return `"${value}"`;
  if (!value.isWellFormed()) throw new NotCanonical("a string holds half of a surrogate pair");
  return JSON.stringify(value);
}

function writeValue(value: unknown, depth: number): string {
  if (typeof value === "string") return text(value);
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new NotCanonical("a number is not finite");
    // ECMAScript's own form is the one RFC 8785 section 3.2.2.3 asks for.
    return String(value);
  }
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value !== "object") throw new NotCanonical(`a ${typeof value} has no place in JSON`);
  if (depth === maxJsonDepth) throw new NotCanonical(`nested deeper than ${maxJsonDepth}`);
  return Array.isArray(value)
    ? writeArray(value, depth + 1)
    : writeObject(value as Readonly<Record<string, unknown>>, depth + 1);
}

function writeArray(items: readonly unknown[], depth: number): string {
  let out = "[";
  for (let index = 0; index < items.length; index += 1) {
    const item = items[index];
    out += (index === 0 ? "" : ",") + (item === undefined ? "null" : writeValue(item, depth));
  }
  return `${out}]`;
}

function writeObject(object: Readonly<Record<string, unknown>>, depth: number): string {
  const kept = stableForms.get(object);
  if (kept !== undefined && kept !== "") return kept;
  let out = "";
  for (const key of sortedKeys(object)) {
    const value = object[key];
    if (value !== undefined)
      out += `${out === "" ? "" : ","}${nameText(key)}${writeValue(value, depth)}`;
  }
  const written = `{${out}}`;
  if (kept !== undefined) stableForms.set(object, written);
  return written;
}

/** An insertion sort up to this many members: our objects have few, and mostly in order already. */
const fewMembers = 16;

/** By UTF-16 code unit, which is the order RFC 8785 asks for, and what both `<` and the default sort compare. */
function sortedKeys(object: object): readonly string[] {
  const keys = Object.keys(object);
  if (keys.length > fewMembers) return keys.sort();
  for (let end = 1; end < keys.length; end += 1) {
    const key = keys[end] ?? "";
    let at = end;
    while (at > 0) {
      const before = keys[at - 1] ?? "";
      if (key >= before) break;
      keys[at] = before;
      at -= 1;
    }
    keys[at] = key;
  }
  return keys;
}
