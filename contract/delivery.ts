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

/**
 * The body of POST /v1/events (`application/x-ndjson`): a line with stream and head, then the records. What it says is
 * unchecked. Throws SyntaxError for what is no JSON.
 */
export function parseDelivery(body: Buffer): unknown {
  const [first, ...records] = parseLines(body);
  return typeof first === "object" ? { ...first, records } : first;
}

/** At once: a parser started for each line costs more than the lines. */
function parseLines(lines: Buffer): unknown[] {
  return JSON.parse(`[${lines.toString("utf8").trimEnd().replaceAll("\n", ",")}]`) as unknown[];
}
