// The records of a delivery, one JSON line each. What stands as a spool writes it (docs/reference/events.md) is taken apart without being written again.
import type { EventHeader, EventType } from "../../contract/event.ts";

/** A line that is JSON. Nothing else is known of what has the type `unknown`. */
export interface ReadRecord {
  readonly header: unknown;
  readonly hash: unknown;
  readonly body: unknown;
  readonly contents: unknown;
  /** The header again, with its canonical form: where that stood in the line, which proves that the header is complete. */
  readonly spooled?: { readonly header: EventHeader; readonly json: string };
}

/**
 * A header in canonical form, complete, and its hash. No string in it needs an escape, so that what is matched is what
 * JSON.parse would find.
 */
const spoolForm =
  /^\{"header":(\{"bodyHash":"(sha256-[\w-]{43})","prev":"(sha256-[\w-]{43})","seq":([1-9]\d{0,14}),"stream":"([!#-[\]-~]{1,512})","time":"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)","type":"([a-z][a-z-]{0,31})"\}),"hash":"(sha256-[\w-]{43})","body":/;

/** Throws SyntaxError for what is no JSON. */
export function readLine(line: string): ReadRecord {
  return readSpoolLine(line) ?? readAnyLine(line);
}

function readSpoolLine(line: string): ReadRecord | undefined {
  const match = spoolForm.exec(line);
  if (match === null) return undefined;
  const [start = "", json = "", bodyHash = "", prev = "", seq = "", stream = ""] = match;
  const [, , , , , , time = "", type = "", hash = ""] = match;
  const header: EventHeader = {
    stream,
    seq: Number(seq),
    time,
    type: type as EventType,
    prev,
    bodyHash,
  };
  const rest = bareBody(line, start.length) ?? readAnyLine(line);
  return {
    header,
    hash,
    body: rest.body,
    contents: rest.contents,
    spooled: { header, json },
  };
}

/** The body of an event without texts, which ends the line; a line with texts ends with their list. */
function bareBody(line: string, from: number): Pick<ReadRecord, "body" | "contents"> | undefined {
  if (!line.endsWith("}}")) return undefined;
  try {
    return { body: JSON.parse(line.slice(from, -1)), contents: undefined };
  } catch {
    // Something else follows the body, or it is no JSON: the whole line will tell.
    return undefined;
  }
}

function readAnyLine(line: string): ReadRecord {
  const record: unknown = JSON.parse(line);
  const { header, hash, body, contents }: Partial<ReadRecord> =
    typeof record === "object" && record !== null ? record : {};
  return { header, hash, body, contents };
}
