// An HTTP request line and its headers -> facts. Pure; what two readers could read differently is `unrecognised`, or `ambiguous` where only a
// rule that reads it minds.
import { printable } from "../describe.ts";
import type { Ambiguities, HttpFacts, HttpOperation, HttpUpgrade } from "../operation.ts";
import { maxTargetLength, normalisePath } from "./path.ts";
import { readQuery } from "./query.ts";
import type { Query } from "./query.ts";

/** Names in lower case, as Node gives them; a list means that the header came several times. */
export type RequestHeaders = Readonly<Record<string, string | readonly string[] | undefined>>;

export interface HttpRequestHead {
  readonly method: string;
  /** The `Host` header or `:authority`, with or without port. */
  readonly host: string;
  /** The request target as sent: `/path?query` or `http://host/path?query`. */
  readonly target: string;
  readonly headers: RequestHeaders;
  readonly upgrade?: HttpUpgrade;
}

/** RFC 9112 section 3: no blank, control or byte over 127 stands in a request line, and no fragment. */
const targetPattern = /^\/[!-"$-~]*$/;
/** Longest summary of an operation, for events and approvers. */
const maxSummaryLength = 300;

/** Headers that make some frameworks take another method or path than the request line's. */
export const overrideHeaders: ReadonlySet<string> = new Set([
  "x-http-method-override",
  "x-http-method",
  "x-method-override",
  "x-original-url",
  "x-rewrite-url",
]);

type Read<T> = { readonly value: T } | { readonly problem: string };

/**
 * Recognises one request.
 *
 * @example
 * recogniseHttp({ method: "GET", host: "api.example.com", target: "/v1/orders?page=2", headers: {} }).facts.path // "/v1/orders"
 */
export function recogniseHttp(head: HttpRequestHead): HttpOperation {
  const host = readHost(head.host);
  const target = readTarget(head.target, "value" in host ? host.value : undefined);
  const contentType = readContentType(head.headers["content-type"]);
  const upgrade = head.upgrade === undefined ? {} : { upgrade: head.upgrade };
  const what = head.upgrade === undefined ? head.method : `${head.method} (${head.upgrade})`;
  const facts: HttpFacts = {
    method: head.method,
    host: "value" in host ? host.value : "",
    path: target.path,
    query: target.query,
    contentType: "value" in contentType ? contentType.value : "",
    ...upgrade,
  };
  const problem =
    methodProblem(head.method) ??
    problemOf(host) ??
    target.problem ??
    problemOf(contentType) ??
    overrideProblem(head.headers);
  return {
    kind: "http",
    summary: printable(`${what} ${facts.host}${facts.path}`).slice(0, maxSummaryLength),
    accesses: [
      { kind: "http", method: facts.method, host: facts.host, path: facts.path, ...upgrade },
    ],
    facts,
    ...(problem !== undefined && { unrecognised: problem }),
    ...(target.ambiguous !== undefined && { ambiguous: target.ambiguous }),
  };
}

function problemOf(read: Read<unknown>): string | undefined {
  return "problem" in read ? read.problem : undefined;
}

/** Methods are case-sensitive, but some servers take `get` for `GET`. */
function methodProblem(method: string): string | undefined {
  if (method === "CONNECT") return "CONNECT opens a tunnel that cannot be looked into";
  return /^[A-Z][A-Z0-9_-]{0,31}$/.test(method)
    ? undefined
    : "the method is not one word in capital letters";
}

/** Lower case, without port and final dot. */
function readHost(raw: string): Read<string> {
  const [, name] = /^(\[[0-9A-Fa-f:.]+\]|[-A-Za-z0-9._]+)(?::[0-9]{1,5})?$/.exec(raw) ?? [];
  if (name === undefined || name.length > 255)
    return { problem: "the host is not a name or an address" };
  return { value: name.toLowerCase().replace(/\.$/, "") };
}

interface Target {
  readonly path: string;
  readonly query: Query;
  readonly problem?: string;
  readonly ambiguous?: Ambiguities;
}

function readTarget(target: string, host: string | undefined): Target {
  const none = { path: "", query: {} };
  if (target.length > maxTargetLength)
    return { ...none, problem: `the request target is longer than ${maxTargetLength} characters` };
  const local = stripOrigin(target, host);
  if ("problem" in local) return { ...none, problem: local.problem };
  if (!targetPattern.test(local.value))
    return { ...none, problem: "the request target contains what no request line can" };
  const mark = local.value.indexOf("?");
  const raw = mark < 0 ? local.value : local.value.slice(0, mark);
  const path = normalisePath(raw);
  const query = readQuery(mark < 0 ? "" : local.value.slice(mark + 1));
  const ambiguous: Ambiguities = {
    ...("problem" in path && { path: path.problem }),
    ...("problem" in query && { query: query.problem }),
  };
  return {
    path: "path" in path ? path.path : raw,
    query: "value" in query ? query.value : {},
    ...(Object.keys(ambiguous).length > 0 && { ambiguous }),
  };
}

/** `http://host/path` -> `/path`, when the host is the request's own (RFC 9112 section 3.2.2). */
function stripOrigin(target: string, host: string | undefined): Read<string> {
  if (target.startsWith("/")) return { value: target };
  const [, authority = "", rest = ""] = /^https?:\/\/([^/?#]*)(.*)$/is.exec(target) ?? [];
  const named = readHost(authority);
  if ("problem" in named)
    return { problem: "the request target is neither a path nor an http URL" };
  if (named.value !== host)
    return { problem: "the request target and the Host header name different hosts" };
  return { value: rest.startsWith("/") ? rest : `/${rest}` };
}

/** RFC 8259 section 8.1: JSON is UTF-8. Some servers believe the parameter all the same, and in UTF-7 `+ACI-` is a quotation mark. */
const utf8Charset = /^charset\s*=\s*"?(?:utf-?8|us-ascii)"?\s*;?$/i;

/** Media type without parameters, lower case; empty when there is none. */
function readContentType(header: string | readonly string[] | undefined): Read<string> {
  if (header === undefined) return { value: "" };
  const values = typeof header === "string" ? [header] : header;
  const [only] = values;
  if (values.length !== 1 || only === undefined)
    return { problem: "the request has several Content-Type headers" };
  // Go's http.Post without a type: an empty header says as much as none.
  if (only.trim() === "") return { value: "" };
  const type = (only.split(";")[0] ?? "").trim().toLowerCase();
  if (!/^[-a-z0-9!#$&^_.+]+\/[-a-z0-9!#$&^_.+]+$/.test(type))
    return { problem: "the Content-Type is no media type" };
  const parameters = only.slice(only.indexOf(";") + 1).trim();
  if (/[/+]json$/.test(type) && /charset/i.test(parameters) && !utf8Charset.test(parameters))
    return { problem: "the Content-Type says that the JSON is not in UTF-8" };
  return { value: type };
}

function overrideProblem(headers: RequestHeaders): string | undefined {
  const found = [...overrideHeaders].find((name) => headers[name] !== undefined);
  return found && `the header ${found} makes some servers take another method or path`;
}
