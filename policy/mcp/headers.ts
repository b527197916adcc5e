// The headers of MCP's HTTP transport: what they claim about the message has to be what the message says, because others on the
// way may go by either (2026-07-28, streamable HTTP, request metadata).
import { isObject } from "../llm/json.ts";
import type { JsonObject } from "../operation.ts";
import type { Message, MessageProblem } from "./message.ts";
import { rpcCodes } from "./message.ts";
import { namedBy } from "./methods.ts";
import type { Generation } from "./version.ts";
import { generationOf, knownVersions, metaKeys } from "./version.ts";

/** By lower-case name; a list when it came several times. */
export type Headers = Readonly<Record<string, string | readonly string[]>>;

export interface Claims {
  /** Empty where nothing says it: before 2025-06-18 only the handshake did. */
  readonly version: string;
  readonly generation: Generation;
  readonly session: string | undefined;
  readonly lastEventId: string | undefined;
}

const single = [
  "mcp-protocol-version",
  "mcp-session-id",
  "mcp-method",
  "mcp-name",
  "last-event-id",
];
/** Visible ASCII (2025-11-25, transports, session management); servers send UUIDs and tokens. */
const sessionPattern = /^[!-~]{1,1024}$/;
const paramPrefix = "mcp-param-";

/** What the headers claim; of a message (absent for GET and DELETE) it is held against what the message says. */
export function readClaims(
  headers: Headers,
  message: Message | undefined,
): Claims | MessageProblem {
  const twice = single.find((name) => Array.isArray(headers[name]));
  if (twice !== undefined) return mismatch(`the header ${twice} came several times`);
  const said = versionsOf(headers, message);
  if ("problem" in said) return said;
  const { version, generation } = said;
  const session = one(headers, "mcp-session-id");
  if (session !== undefined && !sessionPattern.test(session))
    return mismatch("the header mcp-session-id is no session id");
  const claims = { version, generation, session, lastEventId: one(headers, "last-event-id") };
  return (
    mixture(claims, message) ?? (message && disagreement(headers, message, generation)) ?? claims
  );
}

function versionsOf(
  headers: Headers,
  message: Message | undefined,
): { readonly version: string; readonly generation: Generation } | MessageProblem {
  const header = one(headers, "mcp-protocol-version");
  const own = message && versionIn(message);
  const version = own ?? header ?? "";
  if (typeof version !== "string") return mismatch("its protocol version is no text");
  if (version === "") return { version, generation: "session" };
  const generation = generationOf(version);
  if (generation === undefined || (header !== undefined && generationOf(header) === undefined))
    return unsupported(message);
  // The handshake asks for a version; a header beside it says the same or is not there yet.
  if (header !== undefined && header !== version)
    return mismatch(
      "the header mcp-protocol-version does not name the version that the message names",
    );
  if (
    generation === "sessionless" &&
    (header === undefined || (message !== undefined && own === undefined))
  )
    return mismatch(`${version} is named by the header mcp-protocol-version and by _meta alike`);
  return { version, generation };
}

/** What the message itself says: in `_meta`, or as the version that its handshake asks for. */
function versionIn(message: Message): unknown {
  if (!("params" in message)) return undefined;
  const meta = message.params["_meta"];
  if (isObject(meta) && metaKeys.version in meta) return meta[metaKeys.version];
  return message.method === "initialize" ? message.params["protocolVersion"] : undefined;
}

function unsupported(message: Message | undefined): MessageProblem {
  const isHandshake =
    message !== undefined && "method" in message && message.method === "initialize";
  return {
    code: isHandshake ? rpcCodes.invalidParams : rpcCodes.unsupportedVersion,
    problem: `its version of the protocol is not known here; known are ${knownVersions.join(", ")}`,
    versions: true,
  };
}

/** Parts of one generation in a message of the other: nobody knows by which rules such a session goes. */
function mixture(
  { generation, session, lastEventId }: Claims,
  message: Message | undefined,
): MessageProblem | undefined {
  if (generation !== "sessionless") return undefined;
  const what =
    (session !== undefined && "a session") ||
    (lastEventId !== undefined && "the resumption of a stream") ||
    (message === undefined && "a stream or session of its own") ||
    (message !== undefined && !("method" in message) && "an answer of the client") ||
    (message !== undefined &&
      "method" in message &&
      message.method === "initialize" &&
      "a handshake");
  if (what === false) return undefined;
  return {
    code: rpcCodes.invalidRequest,
    problem: `it names a version without sessions and brings ${what}; both generations of the protocol cannot be mixed`,
  };
}

/** In older versions they mean nothing, so that they must not say something else there, either. */
function disagreement(
  headers: Headers,
  message: Message,
  generation: Generation,
): MessageProblem | undefined {
  if (!("method" in message)) return undefined;
  const isNeeded = generation === "sessionless" && message.kind === "request";
  const method = one(headers, "mcp-method");
  if (method === undefined ? isNeeded : method !== message.method)
    return mismatch("the header mcp-method does not name the method of the message");
  const member = namedBy.get(message.method);
  const name = one(headers, "mcp-name");
  const own = member === undefined ? undefined : message.params[member];
  if (name === undefined ? isNeeded && member !== undefined : decoded(name) !== own)
    return mismatch("the header mcp-name does not name what the message names");
  return strayParameter(headers, message.params);
}

/** Which argument a `Mcp-Param-*` header stands for only the tool's schema says; but it has to be one of this call. */
function strayParameter(headers: Headers, params: JsonObject): MessageProblem | undefined {
  const names = Object.keys(headers).filter((name) => name.startsWith(paramPrefix));
  if (names.length === 0) return undefined;
  const values = new Set<string>();
  leaves(params["arguments"], values);
  for (const name of names) {
    const value = one(headers, name);
    const text = value === undefined ? undefined : decoded(value);
    if (text === undefined || !(values.has(text) || values.has(String(Number(text)))))
      return mismatch(`the header ${name.slice(0, 64)} has the value of no argument`);
  }
  return undefined;
}

function leaves(value: unknown, into: Set<string>): void {
  if (typeof value === "object" && value !== null)
    for (const inner of Object.values(value)) leaves(inner, into);
  else into.add(String(value));
}

const encodedPattern = /^=\?base64\?([A-Za-z0-9+/]*={0,2})\?=$/;

/** Undefined for what claims to be encoded and is not. */
export function decoded(value: string): string | undefined {
  const encoded = encodedPattern.exec(value)?.[1];
  if (encoded === undefined) return value;
  const bytes = Buffer.from(encoded, "base64");
  if (bytes.toString("base64") !== encoded) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** A value as a header carries it. */
export function encoded(value: string): string {
  const isPlain = /^[!-~](?:[\t -~]*[!-~])?$/.test(value) && !encodedPattern.test(value);
  return isPlain ? value : `=?base64?${Buffer.from(value).toString("base64")}?=`;
}

function one(headers: Headers, name: string): string | undefined {
  const value = headers[name];
  return typeof value === "string" ? value : value?.[0];
}

function mismatch(problem: string): MessageProblem {
  return { code: rpcCodes.headerMismatch, problem };
}

/** The headers that mirror a message, once masks changed it: they have to say what it says now. */
export function rewrittenHeaders(
  kept: readonly string[],
  before: Message,
  after: Message,
): readonly string[] {
  if (!("method" in before && "method" in after)) return kept;
  const changed = new Map<string, string>();
  pair(before.params, after.params, changed);
  return kept.map((text, at) => {
    const name = at % 2 === 1 ? (kept[at - 1] ?? "") : "";
    if (name !== "mcp-name" && !name.startsWith(paramPrefix)) return text;
    const now = changed.get(decoded(text) ?? "");
    return now === undefined ? text : encoded(now);
  });
}

/** Each text that is another one now, by what it was. */
function pair(before: unknown, after: unknown, into: Map<string, string>): void {
  if (
    typeof before === "object" &&
    before !== null &&
    typeof after === "object" &&
    after !== null
  ) {
    const others = Object.values(after);
    for (const [index, value] of Object.values(before).entries()) pair(value, others[index], into);
  } else if (String(before) !== String(after)) into.set(String(before), String(after));
}
