// Which names may stand behind a body (RFC 9110 section 6.5.1): none that says what a message is, whom it is for or how it is to be taken. Pure.
import { overrideHeaders } from "../../policy/http/recognise.ts";

export const misplaced = "the trailers say what only a head can";

/** What frames a message, or was decided on: somebody who adds trailers to the head would read another request. */
const ofHead: ReadonlySet<string> = new Set([
  "content-length",
  "transfer-encoding",
  "host",
  "connection",
  "upgrade",
  "expect",
  "te",
  "trailer",
  "content-encoding",
  "content-type",
  "content-range",
  ...overrideHeaders,
]);

/** How the answer is to be; some of it the proxy itself says, or takes out of the head. */
const ofAnswer: ReadonlySet<string> = new Set([
  "accept",
  "accept-charset",
  "accept-encoding",
  "accept-language",
  "cache-control",
  "cookie",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "max-forwards",
  "pragma",
  "prefer",
  "range",
  "set-cookie",
]);

/** Refused in trailers. @param name in lower case */
export function saysWhatMessageIs(name: string): boolean {
  return ofHead.has(name);
}

/** Left out of trailers. @param name in lower case */
export function saysHowToAnswer(name: string): boolean {
  return ofAnswer.has(name);
}
