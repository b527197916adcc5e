// The older transport (2024-11-05, HTTP with SSE): a stream whose first event says where messages are taken. The agent is told a place
// of ours instead, which exists as long as the stream does and leads to that one alone.
import { ProxyError } from "../../errors.ts";
import type { Endpoint } from "../../../contract/control.ts";
import type { RequestHead } from "../head.ts";
import { authorityOf } from "../upstreams.ts";

const parameter = "chaperone-messages";
/** Paths of servers are short; what is longer is no place for messages. */
const maxPlaceLength = 2_048;

/** The place as the agent dials it. */
export function placeFor(path: string, token: string): string {
  return `${path}?${parameter}=${token}`;
}

/** The name of the place that a request is for; undefined for the endpoint itself. */
export function placeOf(head: RequestHead): string | undefined {
  const mark = head.target.indexOf("?");
  if (mark < 0) return undefined;
  return new RegExp(`^${parameter}=([0-9a-f-]{36})$`).exec(head.target.slice(mark + 1))?.[1];
}

/**
 * Path and query at the upstream. Throws ProxyError for a place on another server: our credential goes to this one alone.
 *
 * @param data of the event: a URI, relative to the stream's own
 */
export function upstreamPlace(data: string, endpoint: Endpoint, path: string): string {
  const origin = `${endpoint.tls.mode === "Disable" ? "http" : "https"}://${authorityOf(endpoint)}`;
  const place = data.length > maxPlaceLength ? null : URL.parse(data, `${origin}${path}`);
  if (place === null || place.origin !== new URL(origin).origin || place.username !== "")
    throw new ProxyError(
      "UpstreamProtocol",
      "the MCP server wants messages to be sent to another server than its own",
    );
  return place.pathname + place.search;
}
