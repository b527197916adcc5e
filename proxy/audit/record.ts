// One spool record: an event with the masked texts it refers to. Pure: no files, no clock.
import { hashCanonical, sha256 } from "../../contract/canonical.ts";
import { hashBody, hashHeader } from "../../contract/chain.ts";
import type {
  ContentRef,
  EventBody,
  EventHeader,
  EventType,
  StoredEvent,
} from "../../contract/event.ts";
import type { Content } from "../pipeline.ts";

/** A longer text is cut and marked `truncated`: a recording is for reading, and one prompt must not fill the spool. */
export const maxContentBytes = 256 * 1024;
/** All texts of one event; the rest are kept as empty, truncated texts. */
export const maxEventContentBytes = 1024 * 1024;

export interface StoredContent extends ContentRef {
  readonly text: string;
}

export interface SpoolRecord {
  readonly event: StoredEvent;
  readonly contents: readonly StoredContent[];
}

export interface RecordInput {
  readonly type: EventType;
  readonly body: EventBody;
  readonly contents: readonly Content[];
  /** RFC 3339, UTC, milliseconds. */
  readonly time: string;
}

/** The digests of the contents become `operation.content`, so that the chain covers them. */
export function withContentRefs(body: EventBody, contents: readonly StoredContent[]): EventBody {
  if (body.operation === undefined || body.session === undefined)
    throw new TypeError("an event with contents must name its session and operation");
  return { ...body, operation: { ...body.operation, content: refsTo(contents) } };
}

function refsTo(contents: readonly StoredContent[]): readonly ContentRef[] {
  return contents.map(({ text: _text, ...ref }) => ref);
}

export function boundContents(contents: readonly Content[]): readonly StoredContent[] {
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

const typeForm = /^[a-z-]+$/;
/** RFC 3339, UTC, milliseconds. */
const timeForm = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Reads a line back and checks it against its own hashes; undefined for anything that is not exactly what was written. */
export function parseRecord(line: string): SpoolRecord | undefined {
  const parsed = parsedLine(line);
  if (parsed === undefined) return undefined;
  const { header, hash, body, contents = [] } = parsed;
  try {
    if (!typeForm.test(header.type) || !timeForm.test(header.time)) return undefined;
    if (hashHeader(header) !== hash || hashBody(body) !== header.bodyHash) return undefined;
    if (contents.some((content) => sha256(content.text) !== content.sha256)) return undefined;
    // Only the texts themselves are covered by their digests; all else about them stands in the body too.
    const refs = body.operation?.content ?? [];
    if (hashCanonical(refsTo(contents)) !== hashCanonical(refs)) return undefined;
  } catch {
    // Members of another type than we write: not our record.
    return undefined;
  }
  return { event: { header, hash, body }, contents };
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
