// The parts of a multipart/form-data body (RFC 7578), where every reader finds the same ones. Readers differ on preambles, bare line feeds,
// folded or repeated headers, quotes and charsets of parts, so what stands there is refused.

export interface FormPart {
  readonly name: string;
  /** Of a file; a field has none. */
  readonly filename: string | undefined;
  /** Media type of a file, lower case, without parameters; empty where it names none. */
  readonly type: string;
  readonly bytes: Uint8Array;
}

export type Form = { readonly parts: readonly FormPart[] } | { readonly problem: string };

/** Of one body; what APIs ask for has a dozen. */
const maxParts = 256;
/** Of the headers of one part. */
const maxHeadLength = 4 * 1024;

/** RFC 2046 section 5.1.1, without the blank. */
const formType =
  /^multipart\/form-data[ \t]*;[ \t]*boundary=(?:([\w'+,.-]{1,70})|"([\w'()+,./:=?-]{1,70})")$/i;
/** The names of both parameters as every client writes them; `filename*` (RFC 5987) comes beside or instead of `filename`. */
const disposition =
  /^form-data; ?name="([^"\\\r\n]{1,256})"(?:; ?filename="([^"\\\r\n]{0,1024})")?(?:; ?filename\*=utf-8''([\w.!#$&+^`|~%-]{0,3072}))?$/i;
const headerLine = /^([a-z-]{1,64}):[ \t]*([\t\x20-\x7e\x80-\uffff]*)$/i;
const mediaType = /^[-a-z0-9!#$&^_.+]+\/[-a-z0-9!#$&^_.+]+$/;

/** @param contentType the header of the request as it came */
export function parseForm(contentType: string, body: Uint8Array): Form {
  const [, bare, quoted] = formType.exec(contentType.trim()) ?? [];
  const boundary = bare ?? quoted;
  if (boundary === undefined)
    return { problem: "the body is not sent as multipart/form-data with one plain boundary" };
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const delimiter = Buffer.from(`--${boundary}`);
  const parts: FormPart[] = [];
  if (!bytes.subarray(0, delimiter.length).equals(delimiter))
    return { problem: "the form does not begin with its boundary" };
  let at = delimiter.length;
  while (!isAt(bytes, at, "--")) {
    if (!isAt(bytes, at, "\r\n"))
      return { problem: "a boundary of the form is followed by more than a line end" };
    const next = bytes.indexOf(delimiter, at);
    if (next < 0 || !isAt(bytes, next - 2, "\r\n"))
      return { problem: "a part of the form does not end at a boundary on a line of its own" };
    if (parts.length >= maxParts) return { problem: `the form has more than ${maxParts} parts` };
    const part = readPart(bytes.subarray(at + 2, next - 2));
    if ("problem" in part) return part;
    parts.push(part);
    at = next + delimiter.length;
  }
  if (!/^(?:\r\n)?$/.test(bytes.toString("latin1", at + 2, at + 8)))
    return { problem: "something follows the end of the form" };
  return { parts };
}

function isAt(bytes: Buffer, at: number, text: string): boolean {
  return at >= 0 && bytes.toString("latin1", at, at + text.length) === text;
}

function readPart(bytes: Buffer): FormPart | { readonly problem: string } {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0 || end > maxHeadLength)
    return { problem: "a part of the form has no headers of its own, or too many" };
  const headers = readHeaders(bytes.toString("utf8", 0, end));
  if (typeof headers === "string") return { problem: headers };
  const [, name, filename, encodedName] =
    disposition.exec(headers.get("content-disposition") ?? "") ?? [];
  if (name === undefined)
    return {
      problem: "a part of the form has no plain `Content-Disposition: form-data` with a name",
    };
  const [type = "", ...parameters] = (headers.get("content-type") ?? "").toLowerCase().split(";");
  if (type !== "" && !mediaType.test(type.trim()))
    return {
      problem: `the part ${JSON.stringify(name)} of the form has no media type as its Content-Type`,
    };
  if (
    parameters.some(
      (one) => /charset/.test(one) && !/^\s*charset="?(?:utf-?8|us-ascii)"?\s*$/.test(one),
    )
  )
    return { problem: `the part ${JSON.stringify(name)} of the form is not in UTF-8` };
  return {
    name,
    filename: filename ?? encodedName,
    type: type.trim(),
    bytes: bytes.subarray(end + 4),
  };
}

/** By name, or why not. */
function readHeaders(head: string): Map<string, string> | string {
  const headers = new Map<string, string>();
  for (const line of head.split("\r\n")) {
    const [, name, value] = headerLine.exec(line) ?? [];
    if (name === undefined || value === undefined)
      return "a part of the form has a header that is none";
    const known = name.toLowerCase();
    if (!partHeaders.has(known) || headers.has(known))
      return `a part of the form has the header ${known} too often, or at all`;
    headers.set(known, value.trimEnd());
  }
  if (!/^(?:binary|8bit|7bit)?$/i.test(headers.get("content-transfer-encoding") ?? ""))
    return "a part of the form is encoded";
  return headers;
}

const partHeaders: ReadonlySet<string> = new Set([
  "content-disposition",
  "content-type",
  "content-length",
  // RFC 7578 section 4.7: deprecated, and written by old clients for what is not encoded.
  "content-transfer-encoding",
]);
