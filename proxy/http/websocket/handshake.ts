// The opening handshake of WebSocket (RFC 6455 section 4), with the agent and with the upstream: two handshakes, each with a key of its
// own. Extensions are never agreed on, so that every frame is what it seems to be. Pure.
import { createHash } from "node:crypto";

import { ProxyError } from "../../errors.ts";
import type { RequestHead } from "../head.ts";
import type { AnswerHeaders } from "../upstream-parser.ts";

/** What an agent asks for. */
export interface WebSocketOffer {
  readonly key: string;
  /** Subprotocols, in the agent's order. */
  readonly protocols: readonly string[];
}

const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** 16 bytes in base64. */
const keyPattern = /^[A-Za-z0-9+/]{21}[AQgw]==$/;
const tokenPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Of one offer. */
const maxProtocols = 32;
const version = "13";

/** Of the agent's handshake or the upstream's: they are made anew on the other side. */
const ownHeaders: ReadonlySet<string> = new Set([
  "sec-websocket-key",
  "sec-websocket-version",
  "sec-websocket-extensions",
  "sec-websocket-accept",
  "sec-websocket-protocol",
]);

/** Throws ProxyError: NotSupported for another protocol than websocket, MalformedRequest for a handshake that is none. */
export function readOffer(head: RequestHead, isHttp1: boolean): WebSocketOffer {
  if (head.upgrade?.toLowerCase() !== "websocket")
    throw new ProxyError(
      "NotSupported",
      `upgrading to ${JSON.stringify(head.upgrade?.slice(0, 32) ?? "")} is not supported: websocket is, and HTTP/1.1 without an upgrade`,
    );
  if (!isHttp1) throw malformed("an upgrade is a thing of HTTP/1.1");
  if (!head.wantsUpgrade) throw malformed("the header Connection does not say `upgrade`");
  if (head.method !== "GET") throw malformed("its method is not GET");
  if (head.chunked || (head.contentLength ?? 0) > 0) throw malformed("it has a body");
  if (head.all["sec-websocket-version"] !== version)
    throw malformed(`its Sec-WebSocket-Version is not ${version}`);
  const key = head.all["sec-websocket-key"];
  if (typeof key !== "string" || !keyPattern.test(key))
    throw malformed("its Sec-WebSocket-Key is not 16 bytes in base64");
  return { key, protocols: readProtocols(head.all["sec-websocket-protocol"]) };
}

/** Keys that browsers' clients of OpenAI put among the subprotocols, because they cannot set headers: the agent's own, and dropped like those in headers. */
const keyProtocol = /^openai-(?:insecure-api-key|ephemeral-token)\./i;

export function withoutKeys(offer: WebSocketOffer): WebSocketOffer {
  return { ...offer, protocols: offer.protocols.filter((name) => !keyProtocol.test(name)) };
}

function readProtocols(value: string | readonly string[] | undefined): readonly string[] {
  if (value === undefined) return [];
  const names = (typeof value === "string" ? [value] : value)
    .flatMap((one) => one.split(","))
    .map((name) => name.trim());
  if (names.length > maxProtocols || new Set(names).size < names.length)
    throw malformed(`its subprotocols repeat, or are more than ${maxProtocols}`);
  if (!names.every((name) => tokenPattern.test(name))) throw malformed("a subprotocol is no token");
  return names;
}

/** Flat headers without those of a handshake. */
export function withoutHandshake(flat: readonly string[]): string[] {
  const kept: string[] = [];
  for (let at = 0; at + 1 < flat.length; at += 2)
    if (!ownHeaders.has(flat[at] ?? "")) kept.push(flat[at] ?? "", flat[at + 1] ?? "");
  return kept;
}

/** The request line and headers for the upstream, as bytes on the wire. @param key 16 random bytes in base64 */
export function requestText(
  target: string,
  host: string,
  headers: readonly string[],
  key: string,
  { protocols }: WebSocketOffer,
): string {
  const lines = [
    `GET ${target} HTTP/1.1`,
    `host: ${host}`,
    "connection: Upgrade",
    "upgrade: websocket",
    `sec-websocket-key: ${key}`,
    `sec-websocket-version: ${version}`,
  ];
  if (protocols.length > 0) lines.push(`sec-websocket-protocol: ${protocols.join(", ")}`);
  for (let at = 0; at + 1 < headers.length; at += 2)
    lines.push(`${headers[at]}: ${headers[at + 1]}`);
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** Throws ProxyError UpstreamProtocol for a 101 that is no answer to this request (section 4.1). Returns the subprotocol it chose. */
export function checkAccepted(
  headers: AnswerHeaders,
  key: string,
  { protocols }: WebSocketOffer,
): string | undefined {
  if (
    String(headers["upgrade"]).toLowerCase() !== "websocket" ||
    !says(headers["connection"], "upgrade")
  )
    throw refused("it does not say that it is WebSocket");
  if (headers["sec-websocket-accept"] !== acceptOf(key))
    throw refused("its Sec-WebSocket-Accept is not that of the key");
  if (headers["sec-websocket-extensions"] !== undefined)
    throw refused("it agreed on an extension that was not offered");
  const protocol = headers["sec-websocket-protocol"];
  if (protocol === undefined) return undefined;
  if (typeof protocol !== "string" || !protocols.includes(protocol))
    throw refused("it chose a subprotocol that was not offered");
  return protocol;
}

/** Headers of the 101 for the agent, flat; `Connection` is its leg's. @param others of the upstream's answer, as any answer's travel on */
export function acceptance(
  { key }: WebSocketOffer,
  protocol: string | undefined,
  others: readonly string[],
): string[] {
  return [
    "upgrade",
    "websocket",
    "sec-websocket-accept",
    acceptOf(key),
    ...(protocol === undefined ? [] : ["sec-websocket-protocol", protocol]),
    ...withoutHandshake(others),
  ];
}

/** Section 4.2.2. SHA-1 proves nothing here but that the peer knows the protocol. */
function acceptOf(key: string): string {
  return createHash("sha1").update(`${key}${guid}`).digest("base64");
}

function says(header: string | string[] | undefined, option: string): boolean {
  return String(header ?? "")
    .toLowerCase()
    .split(",")
    .some((one) => one.trim() === option);
}

function malformed(what: string): ProxyError {
  return new ProxyError("MalformedRequest", `the request is no WebSocket handshake: ${what}`);
}

function refused(what: string): ProxyError {
  return new ProxyError(
    "UpstreamProtocol",
    `the upstream's answer is no WebSocket handshake: ${what}`,
  );
}
