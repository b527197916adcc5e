// Keeps web pages away from listeners of local mode: a browser on the same machine can reach them, and must not be able to spend the real key.
import { timingSafeEqual } from "node:crypto";

import { ProxyError } from "../errors.ts";
import type { RequestHead } from "./head.ts";

export interface Guard {
  /** Made at each start; what runs under `chaperone run` has it in its environment. Absent: only the marks of a browser are refused. */
  readonly key?: string;
}

/** Throws ProxyError Denied for a request that a web page made or that lacks the key. The Host header is checked by the route. */
export function checkGuard(guard: Guard, head: RequestHead): void {
  const { origin, site } = head.browser;
  if (origin !== undefined || (site !== undefined && site !== "none" && site !== "same-origin")) {
    throw new ProxyError(
      "Denied",
      "requests of web pages are not served (the request has an Origin or a foreign Sec-Fetch-Site)",
    );
  }
  const { key } = guard;
  if (key !== undefined && !placeholders(head).some((value) => carries(value, key))) {
    throw new ProxyError(
      "Denied",
      "the placeholder key of this run is missing: use the environment that chaperone printed",
    );
  }
}

/** Where a client puts its key; a connection whose credential is a query parameter has it there. */
function placeholders({ credentials, target, path }: RequestHead): readonly string[] {
  const query = target.slice(path.length + 1);
  return query === "" ? credentials : [...credentials, ...query.split(/[&=]/)];
}

function carries(value: string, key: string): boolean {
  const given = value.startsWith("Basic ")
    ? (Buffer.from(value.slice(6), "base64").toString("utf8").split(":").at(-1) ?? "")
    : value.replace(/^Bearer /i, "");
  const a = Buffer.from(given);
  const b = Buffer.from(key);
  return a.length === b.length && timingSafeEqual(a, b);
}
