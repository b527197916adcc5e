// What follows the body of a request: cleaned like its head, and less, since nothing of it was decided on. Pure.
import type { Readable } from "node:stream";

import type { Endpoint, Lease } from "../../contract/control.ts";
import { ProxyError } from "../errors.ts";
import { isForHead } from "./head.ts";
import type { RequestHead } from "./head.ts";
import { injectedNames } from "./headers.ts";
import type { FlatHeaders, InboundRequest } from "./inbound.ts";
import { misplaced, saysHowToAnswer, saysWhatMessageIs } from "./trailer-names.ts";

/** Under which the request goes. */
export interface TrailerGrant {
  readonly lease: Lease;
  readonly endpoint: Endpoint;
}

/** A request about to be sent. */
interface Leaving {
  readonly headers: readonly string[];
  readonly body: Buffer | Readable | null;
  readonly length: number | undefined;
}

export interface Trailing {
  readonly head: Pick<RequestHead, "announced" | "connection">;
  readonly grant: TrailerGrant;
  /** What masks field values, if something does. */
  readonly masked: ((fields: string[]) => string[]) | undefined;
}

/**
 * Of the fields behind a body those that may go on. Throws ProxyError MalformedRequest for one that says what was decided on, or
 * that some servers would read as such.
 *
 * @param received names in lower case and values, flat
 */
export function sentTrailers(received: FlatHeaders, { head, grant, masked }: Trailing): string[] {
  const mayPass = passing(head.connection, grant);
  const sent: string[] = [];
  for (let at = 0; at + 1 < received.length; at += 2) {
    const name = received[at] ?? "";
    if (saysWhatMessageIs(name)) throw new ProxyError("MalformedRequest", misplaced);
    if (mayPass(name)) sent.push(name, received[at + 1] ?? "");
  }
  return masked?.(sent) ?? sent;
}

/** The request with what is to follow its body: of one that is whole it is known, for one that streams its client has to have said it. */
export function withTrailers<T extends Leaving>(
  leaving: T,
  request: Pick<InboundRequest, "body" | "scheme">,
  trailing: Trailing,
): T & { readonly trailers?: () => FlatHeaders } {
  const { body } = leaving;
  // A signature for AWS is over all that is sent.
  if (body === null || trailing.grant.lease.kind === "awsSigV4") return leaving;
  if (Buffer.isBuffer(body) && request.body.trailers.length === 0) return leaving;
  const fields = (): FlatHeaders => sentTrailers(request.body.trailers, trailing);
  if (Buffer.isBuffer(body)) {
    const known = fields();
    if (known.length === 0) return leaving;
    return announcing(
      leaving,
      known.filter((_, at) => at % 2 === 0),
      () => known,
    );
  }
  // Nothing follows a body whose length HTTP/1.1 has said.
  if (leaving.length !== undefined && request.scheme === undefined) return leaving;
  return announcing(leaving, announcedNames(trailing), fields);
}

/** Go's servers hand out of HTTP/2 trailers those alone that were announced. With them, HTTP/1.1 has to say where the body ends in its chunks. */
function announcing<T extends Leaving>(
  leaving: T,
  names: readonly string[],
  trailers: () => FlatHeaders,
): T & { readonly trailers: () => FlatHeaders } {
  if (names.length === 0) return { ...leaving, trailers };
  const headers = [...leaving.headers, "trailer", [...new Set(names)].join(", ")];
  return { ...leaving, headers, length: undefined, trailers };
}

function announcedNames({ head, grant }: Trailing): string[] {
  if (head.announced === undefined) return [];
  const mayPass = passing(head.connection, grant);
  return head.announced
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .filter((name) => tokenPattern.test(name) && !saysWhatMessageIs(name) && mayPass(name));
}

/** RFC 9110 section 5.6.2, in lower case. */
const tokenPattern = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;

function passing(connection: string | undefined, grant: TrailerGrant): (name: string) => boolean {
  const isInjected = injectedNames(grant);
  const named = connection?.toLowerCase().split(",") ?? [];
  const ofHop = new Set(named.map((name) => name.trim()));
  return (name) =>
    !isForHead(name) && !saysHowToAnswer(name) && !ofHop.has(name) && !isInjected(name);
}
