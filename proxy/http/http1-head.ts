// How an answer's head is written in HTTP/1.1: the status line, the headers, and how the body behind it is framed. Pure.
import { ProxyError } from "../errors.ts";
import type { FlatHeaders } from "./inbound.ts";
import { reasonPhrase } from "./reason-phrases.ts";

export type AnswerFraming = "none" | "length" | "chunked" | "close";

/** RFC 9112 section 5: what would end a line early cannot stand in one. */
const unwritable = /[^\t\x20-\x7e\x80-\xff]/;

/** What the answer is to. */
export interface AnswerTo {
  readonly method: string;
  /** Its client reads HTTP/1.0. */
  readonly isOld: boolean;
}

/** RFC 9112 section 6.3. */
export function framingOf(to: AnswerTo, status: number, length: string | undefined): AnswerFraming {
  if (to.method === "HEAD" || status === 204 || status === 304) return "none";
  if (length !== undefined) return "length";
  return to.isOld ? "close" : "chunked";
}

export interface HeadToWrite {
  readonly status: number;
  readonly headers: FlatHeaders;
  readonly framing: AnswerFraming;
  /** The connection ends behind this answer. */
  readonly isLast: boolean;
  /** For an answer that has none (RFC 9110 section 6.6.1). */
  readonly date: string;
}

/** Throws ProxyError UpstreamProtocol for what cannot be written. */
export function writeHead({ status, headers, framing, isLast, date }: HeadToWrite): string {
  let text = `HTTP/1.1 ${status} ${reasonPhrase(status)}\r\n`;
  let isDated = false;
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? "";
    const value = headers[at + 1] ?? "";
    if (name === "date") isDated = true;
    // RFC 9110 section 8.6.
    else if (name === "content-length" && status === 204) continue;
    text += line(name, value);
  }
  if (!isDated) text += `date: ${date}\r\n`;
  if (framing === "chunked") text += "transfer-encoding: chunked\r\n";
  return isLast ? `${text}connection: close\r\n\r\n` : `${text}\r\n`;
}

/** A head without a body of its own: 1xx, and what comes before a tunnel. */
export function writeBareHead(status: number, headers: FlatHeaders): string {
  let text = `HTTP/1.1 ${status} ${reasonPhrase(status)}\r\n`;
  for (let at = 0; at + 1 < headers.length; at += 2)
    text += line(headers[at] ?? "", headers[at + 1] ?? "");
  return `${text}\r\n`;
}

export function writeTrailers(trailers: FlatHeaders): string {
  let text = "";
  for (let at = 0; at + 1 < trailers.length; at += 2)
    text += line(trailers[at] ?? "", trailers[at + 1] ?? "");
  return text;
}

function line(name: string, value: string): string {
  if (unwritable.test(value))
    throw new ProxyError("UpstreamProtocol", "a header of the answer cannot be written");
  return `${name}: ${value}\r\n`;
}
