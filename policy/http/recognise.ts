// An HTTP request line and its headers -> facts. Pure; what two readers could read differently is `unrecognised`, or `ambiguous` where only a
// rule that reads it minds.
import { printable } from "../describe.ts";
import type { Ambiguities, HttpOperation, HttpUpgrade } from "../operation.ts";
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
const overrides = [
  "x-http-method-override",
  "x-http-method",
  "x-method-override",
  "x-original-url",
  "x-rewrite-url",
] as const;

/** Headers that name a second path, which is read or written as well: of S3, Azure and Google storage, and of WebDAV's COPY and MOVE. */
const otherPaths = [
  "x-amz-copy-source",
  "x-ms-copy-source",
  "x-goog-copy-source",
  "destination",
] as const;

/** Headers that say what is asked for beside the request line. @see recogniseHttp */
export const overrideHeaders: ReadonlySet<string> = new Set([...overrides, ...otherPaths]);

/** What was read, or why it could not be. */
type Read = string | Problem;

interface Problem {
  readonly problem: string;
}

/**
 * Recognises one request.
 *
 * @example
 * recogniseHttp({ method: "GET", host: "api.example.com", target: "/v1/orders?page=2", headers: {} }).facts.path // "/v1/orders"
 */
export function recogniseHttp(head: HttpRequestHead): HttpOperation {
  const { method, upgrade } = head;
  const host = readHost(head.host);
  const target = readTarget(head.target, host);
  const contentType = readContentType(head.headers["content-type"]);
  const what = upgrade === undefined ? method : `${method} (${upgrade})`;
  const name = textOf(host);
  const { path, query } = target;
  const ambiguous = withOtherPath(target.ambiguous, head.headers);
  const seen = { method, host: name, path };
  const facts = { method, host: name, path, query, contentType: textOf(contentType) };
  const operation: HttpOperation = {
    kind: "http",
    summary: printable(`${what} ${name}${path}`).slice(0, maxSummaryLength),
    accesses: [
      upgrade === undefined ? { kind: "http", ...seen } : { kind: "http", ...seen, upgrade },
    ],
    facts: upgrade === undefined ? facts : { ...facts, upgrade },
  };
  const unrecognised =
    methodProblem(method) ??
    problemOf(host) ??
    target.problem ??
    problemOf(contentType) ??
    overrideProblem(head.headers);
  if (unrecognised === undefined && ambiguous === undefined) return operation;
  return {
    ...operation,
    ...(unrecognised !== undefined && { unrecognised }),
    ...(ambiguous !== undefined && { ambiguous }),
  };
}

function problemOf(read: Read): string | undefined {
  return typeof read === "string" ? undefined : read.problem;
}

function textOf(read: Read): string {
  return typeof read === "string" ? read : "";
}

const methodPattern = /^[A-Z][A-Z0-9_-]{0,31}$/;
/** As it is read: nothing to fold or to cut off. */
const settledHost = /^[-a-z0-9._]{0,254}[-a-z0-9_]$/;

/** Methods are case-sensitive, but some servers take `get` for `GET`. */
function methodProblem(method: string): string | undefined {
  if (method === "CONNECT") return "CONNECT opens a tunnel that cannot be looked into";
  return methodPattern.test(method) ? undefined : "the method is not one word in capital letters";
}

/** Lower case, without port and final dot. */
function readHost(raw: string): Read {
  if (settledHost.test(raw)) return raw;
  const [, name] = /^(\[[0-9A-Fa-f:.]+\]|[-A-Za-z0-9._]+)(?::[0-9]{1,5})?$/.exec(raw) ?? [];
  if (name === undefined || name.length > 255)
    return { problem: "the host is not a name or an address" };
  return name.toLowerCase().replace(/\.$/, "");
}

interface Target {
  readonly path: string;
  readonly query: Query;
  readonly problem?: string;
  readonly ambiguous?: Ambiguities;
}

const nothingRead = { path: "", query: {} };

function readTarget(target: string, host: Read): Target {
  if (target.length > maxTargetLength)
    return {
      ...nothingRead,
      problem: `the request target is longer than ${maxTargetLength} characters`,
    };
  const local = stripOrigin(target, host);
  if (typeof local !== "string") return { ...nothingRead, problem: local.problem };
  if (!targetPattern.test(local))
    return { ...nothingRead, problem: "the request target contains what no request line can" };
  const mark = local.indexOf("?");
  const raw = mark < 0 ? local : local.slice(0, mark);
  const path = normalisePath(raw);
  const query = readQuery(mark < 0 ? "" : local.slice(mark + 1));
  if ("path" in path && "value" in query) return { path: path.path, query: query.value };
  return {
    path: "path" in path ? path.path : raw,
    query: "value" in query ? query.value : {},
    ambiguous: {
      ...("problem" in path && { path: path.problem }),
      ...("problem" in query && { query: query.problem }),
    },
  };
}

/** `http://host/path` -> `/path`, when the host is the request's own (RFC 9112 section 3.2.2). */
function stripOrigin(target: string, host: Read): Read {
  if (target.startsWith("/")) return target;
  const [, authority = "", rest = ""] = /^https?:\/\/([^/?#]*)(.*)$/is.exec(target) ?? [];
  const named = readHost(authority);
  if (typeof named !== "string")
    return { problem: "the request target is neither a path nor an http URL" };
  if (named !== host)
    return { problem: "the request target and the Host header name different hosts" };
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/** RFC 8259 section 8.1: JSON is UTF-8. Some servers believe the parameter all the same, and in UTF-7 `+ACI-` is a quotation mark. */
const utf8Charset = /^charset\s*=\s*"?(?:utf-?8|us-ascii)"?\s*;?$/i;

const typePattern = /^[-a-z0-9!#$&^_.+]+\/[-a-z0-9!#$&^_.+]+$/;
const jsonType = /[/+]json$/;

/** Media type without parameters, lower case; empty when there is none. */
function readContentType(header: string | readonly string[] | undefined): Read {
  if (header === undefined) return "";
  const only = typeof header === "string" ? header : header[0];
  if (only === undefined || (typeof header !== "string" && header.length !== 1))
    return { problem: "the request has several Content-Type headers" };
  // Without parameters, as most come.
  if (typePattern.test(only)) return only;
  // Go's http.Post without a type: an empty header says as much as none.
  if (only.trim() === "") return "";
  const type = (only.split(";")[0] ?? "").trim().toLowerCase();
  if (!typePattern.test(type)) return { problem: "the Content-Type is no media type" };
  const parameters = only.slice(only.indexOf(";") + 1).trim();
  if (jsonType.test(type) && /charset/i.test(parameters) && !utf8Charset.test(parameters))
    return { problem: "the Content-Type says that the JSON is not in UTF-8" };
  return type;
}

/** Where a rule reads the path it would have to be asked about both. */
function withOtherPath(
  ambiguous: Ambiguities | undefined,
  headers: RequestHeaders,
): Ambiguities | undefined {
  const path = otherPathProblem(headers);
  return path === undefined || ambiguous?.path !== undefined ? ambiguous : { ...ambiguous, path };
}

/** Why the path is not all that a request is about, or undefined where it is. */
export function otherPathProblem(headers: RequestHeaders): string | undefined {
  for (const found of otherPaths)
    if (headers[found] !== undefined)
      return `the header ${found} names another path, which rules about paths cannot be asked about`;
  return undefined;
}

function overrideProblem(headers: RequestHeaders): string | undefined {
  for (const found of overrides)
    if (headers[found] !== undefined)
      return `the header ${found} makes some servers take another method or path`;
  return undefined;
}
