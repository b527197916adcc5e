// Events on their way from a proxy to the store: the proxy sends its spool's lines as they stand, the store takes events and texts apart.
import type { EventBatch, EventDelivery, EventRecord } from "./control.ts";
import type { ContentRecord, StoredEvent } from "./event.ts";

/** What the store takes of a delivery. Nothing is checked here but the form, which the caller has. */
export function batchOf({ stream, records, head }: EventDelivery): EventBatch {
  const events: StoredEvent[] = [];
  const contents: ContentRecord[] = [];
  for (const { header, hash, body, contents: texts = [] } of records) {
    events.push({ header, hash, body });
    for (const { part, sha256, text } of texts)
      contents.push({ session: body.session ?? "", seq: header.seq, part, sha256, text });
  }
  return { stream, events, contents, head };
}

/** Spool lines in any pieces, each with its newline, as records; for a store in the same process. Throws SyntaxError for what is no JSON. */
export function recordsOf(lines: readonly Buffer[]): EventRecord[] {
  return parseLines(Buffer.concat(lines)) as EventRecord[];
}

/** A delivery as it came: its first line has been read, its records have not. */
export interface UnreadDelivery {
  readonly stream: string;
  /** Hash of the last event, signed (compact JWS, EdDSA or ES256) with the proxy's grant key. */
  readonly head: string;
  /** The records, one JSON line each. */
  readonly lines: Uint8Array;
}

/**
 * Opens the body of POST /v1/events (`application/x-ndjson`): a line with stream and head, then the records, which the
 * store reads. Throws SyntaxError for a first line that is not what it should be.
 */
export function openDelivery(body: Buffer): UnreadDelivery {
  const end = body.indexOf(lineFeed);
  const first: unknown = JSON.parse(body.toString("utf8", 0, end < 0 ? body.length : end));
  const { stream, head } = Object(first) as Partial<Record<string, unknown>>;
  if (typeof stream !== "string" || typeof head !== "string")
    throw new SyntaxError("the first line names no stream and head");
  return { stream, head, lines: end < 0 ? body.subarray(0, 0) : body.subarray(end + 1) };
}

/** What its last record gives as its hash; undefined where there is no record. Throws SyntaxError for what is no JSON object. */
export function lastHash({ lines }: UnreadDelivery): unknown {
  const records = Buffer.from(lines.buffer, lines.byteOffset, lines.byteLength);
  const end = records.at(-1) === lineFeed ? records.length - 1 : records.length;
  if (end === 0) return undefined;
  const start = records.lastIndexOf(lineFeed, end - 1) + 1;
  const last: unknown = JSON.parse(records.toString("utf8", start, end));
  if (typeof last !== "object" || last === null || !("hash" in last))
    throw new SyntaxError("the last record has no hash");
  return last.hash;
}

const lineFeed = 0x0a;

/** At once: a parser started for each line costs more than the lines. */
function parseLines(lines: Buffer): unknown[] {
  return JSON.parse(`[${lines.toString("utf8").trimEnd().replaceAll("\n", ",")}]`) as unknown[];
}
