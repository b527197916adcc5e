// Header fields as HTTP/2 carries them (RFC 9113 section 8): flat lists with pseudo-headers first. Pure.
import { ProxyError } from "../errors.ts";
import type { AnswerHeaders } from "./upstream-parser.ts";

/** RFC 9113 section 8.2.1; the target also keeps out what would end a line where it is translated to HTTP/1.1 further on. */
const unwritable = /[^\t\x20-\x7e\x80-\xff]/;
const unwritableTarget = /[^\x21-\x7e]/;

export interface RequestFields {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  /** Names in any spelling and values, flat, without what belongs to one connection. */
  readonly headers: readonly string[];
  readonly contentLength: number | undefined;
}

/** Throws ProxyError MalformedRequest for what cannot be written. */
export function requestFields(request: RequestFields): string[] {
  const { method, path, authority, headers, contentLength } = request;
  if (unwritableTarget.test(path)) throw unwritableRequest();
  const fields = [":method", method, ":scheme", "https", ":authority", authority, ":path", path];
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const value = headers[at + 1] ?? "";
    if (unwritable.test(value)) throw unwritableRequest();
    fields.push((headers[at] ?? "").toLowerCase(), value);
  }
  if (contentLength !== undefined) fields.push("content-length", String(contentLength));
  // True of this hop whatever the agent said: trailers travel through. gRPC servers refuse requests without it.
  fields.push("te", "trailers");
  return fields;
}

/** Regular fields by name, as the HTTP/1.1 parser gives them; pseudo-headers are left out. */
export function answerFields(raw: readonly string[]): AnswerHeaders {
  const headers: Record<string, string | string[]> = Object.create(null);
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? "";
    if (name.startsWith(":")) continue;
    const value = raw[at + 1] ?? "";
    const before = headers[name];
    if (before === undefined) headers[name] = value;
    else if (typeof before === "string") headers[name] = [before, value];
    else before.push(value);
  }
  return headers;
}

function unwritableRequest(): ProxyError {
  return new ProxyError("MalformedRequest", "the request cannot be written as HTTP/2");
}
