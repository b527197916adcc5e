// What an approval of a message binds to: all of it but what a client changes each time it sends it again.
import canonicalize from "canonicalize";
import type { Message } from "./message.ts";

/** @param body the message as it is sent */
export function exactMessage(message: Message | undefined, method: string, body: string): string {
  if (message === undefined) return method;
  if (!("method" in message) || hasUnsureNumber(message.params)) return `${method}\n${body}`;
  // The id is a counter, and `_meta` names progress tokens, versions and traces.
  const { _meta: _, ...params } = message.params;
  return `${method}\n${canonicalize(params) ?? ""}`;
}

/** A number that the canonical form would round, so that two texts which differ could look alike. */
function hasUnsureNumber(value: unknown): boolean {
  if (typeof value === "number") return !(Math.abs(value) <= Number.MAX_SAFE_INTEGER);
  return typeof value === "object" && value !== null && Object.values(value).some(hasUnsureNumber);
}
