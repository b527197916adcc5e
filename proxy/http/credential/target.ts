// The request target around a credential: what is decided on has none of the agent's own, and what is sent is exactly that with ours. Pure.
import type { Lease } from "../../../contract/control.ts";
import { ProxyError } from "../../errors.ts";
import type { RequestHead } from "../head.ts";
import { withCredential, withoutParameter, withoutParameters } from "./query.ts";

/** The head as it is decided on, recorded and approved. */
export function decidedHead(head: RequestHead, lease: Lease): RequestHead {
  const target = withoutOwn(head.target, lease);
  return target === head.target ? head : { ...head, target };
}

/**
 * @param head as decided
 * @param lease of now; a hold may have outlived the one that the head was read under
 */
export function sentTarget(head: RequestHead, lease: Lease): string {
  if (withoutOwn(head.target, lease) !== head.target)
    throw new ProxyError(
      "GrantEnded",
      "the credential of the connection changed while the request waited; send it again",
    );
  return lease.kind === "query" ? withCredential(head.target, lease) : head.target;
}

function withoutOwn(target: string, lease: Lease): string {
  if (lease.kind === "query") return withoutParameter(target, lease.name);
  return lease.kind === "awsSigV4"
    ? withoutParameters(target, (name) => presigned.has(name))
    : target;
}

/** A signature of the agent's own in the query; beside ours AWS would refuse both. */
const presigned: ReadonlySet<string> = new Set([
  "x-amz-algorithm",
  "x-amz-credential",
  "x-amz-date",
  "x-amz-expires",
  "x-amz-security-token",
  "x-amz-signature",
  "x-amz-signedheaders",
  "x-amz-region-set",
]);
