// One spool record: an event with the masked texts it refers to, as one JSON line. Pure: no files, no clock.
import {
  canonicalHeader,
  canonicalJson,
  hashBody,
  hashHeader,
  NotCanonical,
  sha256,
  type ChainPosition,
} from "../../contract/chain.ts";
import type {
  ContentRef,
  EventBody,
  EventHeader,
  EventType,
  StoredEvent,
} from "../../contract/event.ts";
import { ProxyError } from "../errors.ts";
import type { Content } from "../pipeline.ts";

/** A longer text is cut and marked `truncated`: a recording is for reading, and one prompt must not fill the spool. */
export const maxContentBytes = 256 * 1024;
/** All texts of one event; the rest are kept as empty, truncated texts. */
export const maxEventContentBytes = 1024 * 1024;
/** Canonical JSON of one body. Facts that do not fit are left out by name; what still does not fit is refused. */
export const maxBodyBytes = 128 * 1024;

export interface StoredContent extends ContentRef {
  readonly text: string;
}

export interface SpoolRecord {
  readonly event: StoredEvent;
  readonly contents: readonly StoredContent[];
  /** One JSON line with its newline, as it stands in the segment and travels to the operator: the event, and its contents where it has some. */
  readonly line: string;
}

export interface RecordInput {
  readonly type: EventType;
  readonly body: EventBody;
  readonly contents: readonly Content[];
  /** RFC 3339, UTC, milliseconds. */
  readonly time: string;
}

/** Makes the record that follows `after`. The digests of the contents become `operation.content`, so the chain covers them. */
export function makeRecord(after: ChainPosition, input: RecordInput): SpoolRecord {
  const contents = boundContents(input.contents);
  const body = contents.length === 0 ? input.body : withContentRefs(input.body, contents);
  return seal(after, input, body, contents);
}

/** Gives a record another place in another stream: same number, new links. */
export function rechain(after: ChainPosition, record: SpoolRecord): SpoolRecord {
  return seal(after, record.event.header, record.event.body, record.contents);
}

function seal(
  after: ChainPosition,
  { type, time }: { readonly type: EventType; readonly time: string },
  given: EventBody,
  contents: readonly StoredContent[],
): SpoolRecord {
  const { body, json } = boundedBody(given);
  const header: EventHeader = {
    stream: after.stream,
    seq: after.seq + 1,
    time,
    type,
    prev: after.hash,
    bodyHash: sha256(json),
  };
  const headerJson = canonicalHeader(header);
  const hash = sha256(headerJson);
  const tail = contents.length === 0 ? "" : `,"contents":${JSON.stringify(contents)}`;
  return {
    event: { header, hash, body },
    contents,
    line: `{"header":${headerJson},"hash":"${hash}","body":${json}${tail}}\n`,
  };
}

/** The body as it will be hashed: strings well-formed, within its bound. */
function boundedBody(given: EventBody): { readonly body: EventBody; readonly json: string } {
  let body = given;
  let json = canonicalOrMended(body);
  if (json === undefined) {
    body = wellFormed(body);
    json = canonicalJson(body);
  }
  if (json.length * 3 <= maxBodyBytes || Buffer.byteLength(json) <= maxBodyBytes)
    return { body, json };
  const bytes = Buffer.byteLength(json);
  if (body.operation !== undefined)
    body = {
      ...body,
      operation: {
        ...body.operation,
        facts: { omitted: `${bytes} bytes, more than ${maxBodyBytes}` },
      },
    };
  json = canonicalJson(body);
  if (Buffer.byteLength(json) > maxBodyBytes)
    throw new ProxyError(
      "TooLarge",
      `The audit record of this operation is ${bytes} bytes; at most ${maxBodyBytes} can be recorded. Send a smaller operation.`,
    );
  return { body, json };
}

function canonicalOrMended(body: EventBody): string | undefined {
  try {
    return canonicalJson(body);
  } catch (error) {
    if (error instanceof NotCanonical) return undefined;
    throw error;
  }
}

/**
 * An agent can put half a surrogate pair into a statement; refusing to record it would refuse to record the attempt.
 * JSON round trip first: it drops what JSON cannot carry and gives a plain copy.
 */
function wellFormed(body: EventBody): EventBody {
  const escapes = /\\\\|\\u[dD][89a-fA-F][0-9a-fA-F]{2}/g;
  return JSON.parse(
    JSON.stringify(body).replaceAll(escapes, (found) => (found === "\\\\" ? found : "\\ufffd")),
  ) as EventBody;
}

function withContentRefs(body: EventBody, contents: readonly StoredContent[]): EventBody {
  if (body.operation === undefined || body.session === undefined)
    throw new TypeError("an event with contents must name its session and operation");
  const refs = contents.map(({ text: _text, ...ref }) => ref);
  return { ...body, operation: { ...body.operation, content: refs } };
}

function boundContents(contents: readonly Content[]): readonly StoredContent[] {
  let room = maxEventContentBytes;
  return contents.map((content) => {
    const stored = boundContent(content, Math.min(room, maxContentBytes));
    room -= stored.bytes;
    return stored;
  });
}

function boundContent(
  { part, text, truncated, whole: all }: Content,
  limit: number,
): StoredContent {
  const rest = all === undefined ? {} : { whole: all };
  const whole = text.toWellFormed();
  const bytes = Buffer.byteLength(whole);
  if (bytes <= limit)
    return {
      part,
      sha256: sha256(whole),
      bytes,
      ...(truncated === true ? { truncated } : {}),
      ...rest,
      text: whole,
    };
  // A cut inside a character decodes to U+FFFD at the end; drop it.
  const cut = Buffer.from(whole)
    .subarray(0, limit)
    .toString()
    .replace(/\ufffd+$/, "");
  const bytesKept = Buffer.byteLength(cut);
  return { part, sha256: sha256(cut), bytes: bytesKept, truncated: true, ...rest, text: cut };
}

/** Reads a line back and checks it against its own hashes; undefined for anything that is not exactly what was written. */
export function parseRecord(line: string): SpoolRecord | undefined {
  const parsed = parsedLine(line);
  if (parsed === undefined) return undefined;
  const { header, hash, body, contents = [] } = parsed;
  try {
    if (hashHeader(header) !== hash || hashBody(body) !== header.bodyHash) return undefined;
    if (contents.some((content) => sha256(content.text) !== content.sha256)) return undefined;
  } catch {
    // Members of another type than we write: not our record.
    return undefined;
  }
  return { event: { header, hash, body }, contents, line: `${line}\n` };
}

interface ParsedLine {
  readonly header: EventHeader;
  readonly hash: string;
  readonly body: EventBody;
  readonly contents?: readonly StoredContent[];
}

function parsedLine(line: string): ParsedLine | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" &&
      value !== null &&
      "header" in value &&
      "hash" in value &&
      "body" in value
      ? (value as ParsedLine)
      : undefined;
  } catch {
    return undefined;
  }
}
