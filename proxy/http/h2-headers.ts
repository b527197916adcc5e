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
    note(headers, name, raw[at + 1] ?? "");
  }
  return headers;
}

export interface RequestParts {
  readonly method: string;
  /** `:path`; for CONNECT, which has none, the authority. */
  readonly target: string;
  readonly scheme: string | undefined;
  readonly authority: string | undefined;
  /** Without pseudo-headers, the crumbs of a cookie together again. */
  readonly headers: readonly string[];
  readonly contentLength: number | undefined;
  readonly expectsContinue: boolean;
}

/** nghttp2 has checked that pseudo-headers come first and once, that names are in lower case, and that nothing belongs to a connection. */
export function requestParts(raw: readonly string[]): RequestParts {
  const pseudo = new Map<string, string>();
  const headers: string[] = [];
  let cookieAt = -1;
  let contentLength: number | undefined;
  let expectsContinue = false;
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? "";
    const value = raw[at + 1] ?? "";
    if (name.startsWith(":")) {
      pseudo.set(name, value);
      continue;
    }
    if (name === "cookie" && cookieAt >= 0) {
      // RFC 9113 section 8.2.3: one field again before it goes where HTTP/2 does not.
      headers[cookieAt] = `${headers[cookieAt]}; ${value}`;
      continue;
    }
    if (name === "cookie") cookieAt = headers.length + 1;
    else if (name === "content-length") contentLength = Number(value);
    else if (name === "expect") expectsContinue = value.toLowerCase() === "100-continue";
    headers.push(name, value);
  }
  const authority = pseudo.get(":authority");
  return {
    method: pseudo.get(":method") ?? "",
    target: pseudo.get(":path") ?? authority ?? "",
    scheme: pseudo.get(":scheme"),
    authority,
    headers,
    contentLength,
    expectsContinue,
  };
}

/** As Node takes them: a list where a name comes several times. */
export function fieldsByName(flat: readonly string[]): Record<string, string | string[]> {
  const fields: Record<string, string | string[]> = Object.create(null);
  for (let at = 0; at + 1 < flat.length; at += 2)
    note(fields, (flat[at] ?? "").toLowerCase(), flat[at + 1] ?? "");
  return fields;
}

function note(fields: Record<string, string | string[]>, name: string, value: string): void {
  const before = fields[name];
  if (before === undefined) fields[name] = value;
  else if (typeof before === "string") fields[name] = [before, value];
  else before.push(value);
}

function unwritableRequest(): ProxyError {
  return new ProxyError("MalformedRequest", "the request cannot be written as HTTP/2");
}
