// The headers of the two messages we send: to the upstream with the lease's credential, to the agent without what belongs to the other hop. Pure.
import type { Endpoint, HeaderField, Lease } from "../../contract/control.ts";
import { ProxyError } from "../errors.ts";
import { concealCredential, concealInFields } from "./credential/conceal.ts";
import { hideCredential } from "./credential/query.ts";
import type { RequestHead } from "./head.ts";
import { saysWhatMessageIs } from "./trailer-names.ts";

/** Response headers that belong to the upstream's hop, or (`alt-svc`) would lead the agent past this proxy. */
const hopByHop: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authentication-info",
  "te",
  "transfer-encoding",
  "upgrade",
  "alt-svc",
]);

/** How the upstream is asked to answer. */
export type AnswerForm = "as asked" | "readable" | "whole";

/**
 * What travels to the upstream, flat. Host and framing are written by the client that sends it.
 *
 * @param answer readable: asked for without encoding, because it is read on the way; whole: and not in parts, at the ends of
 *   which half a value would stand
 */
export function upstreamHeaders(
  head: RequestHead,
  { lease, endpoint }: { readonly lease: Lease; readonly endpoint: Endpoint },
  answer: AnswerForm,
): string[] {
  const identity = answer !== "as asked";
  const injected = withFixed(leaseHeaders(lease), endpoint.headers);
  const headers: string[] = [];
  for (let at = 0; at + 1 < head.kept.length; at += 2) {
    const name = head.kept[at] ?? "";
    if (isInjected(injected, name) || (identity && name === "accept-encoding")) continue;
    if (answer === "whole" && (name === "range" || name === "if-range")) continue;
    if (name === "cookie" && endpoint.cookies === undefined) continue;
    headers.push(name, head.kept[at + 1] ?? "");
  }
  if (identity) headers.push("accept-encoding", "identity");
  for (const { name, value } of injected) headers.push(name, value);
  return headers;
}

/** Remembers what was last made of headers on one connection of an agent, which sends the same ones again and again (FieldMemory). */
export class SentHeaders {
  #kept: RequestHead["kept"] | undefined;
  #lease: Lease | undefined;
  #endpoint: Endpoint | undefined;
  #answer: AnswerForm | undefined;
  #sent: readonly string[] = [];

  /** As `upstreamHeaders`. */
  of(
    head: RequestHead,
    grant: { readonly lease: Lease; readonly endpoint: Endpoint },
    answer: AnswerForm,
  ): readonly string[] {
    const { lease, endpoint } = grant;
    const isSame =
      head.kept === this.#kept &&
      lease === this.#lease &&
      endpoint === this.#endpoint &&
      answer === this.#answer;
    if (isSame) return this.#sent;
    this.#sent = upstreamHeaders(head, grant, answer);
    this.#kept = head.kept;
    this.#lease = lease;
    this.#endpoint = endpoint;
    this.#answer = answer;
    return this.#sent;
  }
}

/** What of an answer's headers is not the agent's to see. */
export interface AnswerRules {
  readonly passesCookies: boolean;
  /** Takes the credential that the request carried out of a value. */
  readonly hide: ((value: string) => string) | undefined;
  /** Takes any credential out of a text of the answer that is recorded. */
  readonly conceal: (text: string) => string;
}

/** Made once for each grant. */
const rulesOf = new WeakMap<object, AnswerRules>();

export function answerRules(grant: {
  readonly lease: Lease;
  readonly endpoint: Endpoint;
}): AnswerRules {
  const known = rulesOf.get(grant);
  if (known !== undefined) return known;
  const { lease, endpoint } = grant;
  const rules: AnswerRules = {
    passesCookies: endpoint.cookies !== undefined,
    hide: lease.kind === "query" ? hideCredential(lease) : concealInFields(lease),
    conceal: (text) => concealCredential(lease)(text),
  };
  rulesOf.set(grant, rules);
  return rules;
}

/** What travels to the agent, flat. `content-length` stays: the client that read it has checked the body against it. */
export function agentHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  { passesCookies, hide }: Pick<AnswerRules, "passesCookies" | "hide">,
): string[] {
  const connection = headers["connection"];
  const named = connection === undefined ? undefined : optionsOf(connection);
  const result: string[] = [];
  for (const name in headers) {
    if (hopByHop.has(name) || named?.includes(name) === true) continue;
    if (name === "set-cookie" && !passesCookies) continue;
    const value = headers[name];
    if (typeof value === "string") result.push(name, value);
    else if (value !== undefined) for (const one of value) result.push(name, one);
  }
  if (hide !== undefined)
    for (let at = 1; at < result.length; at += 2) result[at] = hide(result[at] ?? "");
  return result;
}

/**
 * What of the fields before (1xx) and behind an answer travels to the agent, flat. None says what the answer is: whoever believed a length
 * there would take another answer out of the same bytes.
 */
export function besideHeaders(...answer: Parameters<typeof agentHeaders>): string[] {
  const flat = agentHeaders(...answer);
  return flat.filter((_, at) => !saysWhatMessageIs(flat[at - (at % 2)] ?? ""));
}

/** Which names the agent cannot say, because we do. */
export function injectedNames({
  lease,
  endpoint,
}: {
  readonly lease: Lease;
  readonly endpoint: Endpoint;
}): (name: string) => boolean {
  const injected = withFixed(leaseHeaders(lease), endpoint.headers);
  return (name) => isInjected(injected, name);
}

function optionsOf(connection: string | string[]): string[] | undefined {
  if (connection === "keep-alive" || connection === "close") return undefined;
  return String(connection)
    .toLowerCase()
    .split(",")
    .map((option) => option.trim());
}

type Injected = readonly HeaderField[];

/** What the lease sets stands above what the Connection sets for every request. */
function withFixed(credential: Injected, fixed: Injected | undefined): Injected {
  if (fixed === undefined) return credential;
  return [
    ...fixed.filter(({ name }) => !isInjected(credential, name.toLowerCase())),
    ...credential,
  ];
}

function leaseHeaders(lease: Lease): Injected {
  switch (lease.kind) {
    case "headers":
      return lease.headers;
    case "awsSigV4": // over what is sent in the end: credential/sign-request.ts
    case "query":
    case "none":
      return [];
    case "password":
      // Without it the request would go as nobody.
      throw new ProxyError(
        "GrantRefused",
        "the credential of this Connection is a user and password for PostgreSQL; for HTTP use credential.static.basic",
      );
    default:
      return lease satisfies never;
  }
}

/** A lease has one header, rarely two. To CGI and its like `private_token` is `private-token`, so that is the agent's copy of it too. */
function isInjected(injected: Injected, name: string): boolean {
  for (const header of injected)
    if (header.name.length === name.length && folded(header.name) === folded(name)) return true;
  return false;
}

function folded(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, "-");
}
