// What one request asks for, by protocol: the operation to decide on, what an approval would bind to, and the body to send once it may go.
import { isIP } from "node:net";

import type { Bundle } from "../../policy/bundle.ts";
import type { Decision } from "../../policy/decision.ts";
import { recogniseHttp } from "../../policy/http/recognise.ts";
import type { Operation } from "../../policy/operation.ts";
import { ProxyError } from "../errors.ts";
import { maxContentBytes } from "../gate.ts";
import type { LiveGrant, PassOptions } from "../pipeline.ts";
import { BodyStream } from "./body.ts";
import type { Exchange, Observer } from "./exchange.ts";
import type { RequestHead } from "./head.ts";
import { TextObserver, isText } from "./text-observer.ts";

export interface Asked {
  readonly operation: Operation;
  readonly exact: () => string;
  readonly content: PassOptions["content"];
  /** Ask the upstream for an unencoded answer, because it is read on the way. */
  readonly identity: boolean;
  /** The body as it goes to the upstream; may read more of it. */
  body(decision: Decision): Promise<Buffer | BodyStream | null> | Buffer | BodyStream | null;
  observer(): Observer | undefined;
}

/** An approval binds to the whole body, so a held request is read to its end. */
const holdLimit = 1024 * 1024;
/** Bodies up to this are sent in one piece, which costs a fraction of streaming them. */
const pieceLimit = 64 * 1024;

/** A request of an `http` connection: decided on its head alone, unless a rule may hold it. */
export async function askHttp(exchange: Exchange, head: RequestHead, live: LiveGrant): Promise<Asked> {
  const { bundle } = live;
  const operation = recogniseHttp({ method: head.method, host: literal(live.endpoint.host), target: head.target, headers: head.all });
  const hasBody = head.chunked || (head.contentLength ?? 0) > 0;
  const prefix = hasBody && mayHold(bundle, head.method) ? await exchange.readPrefix(holdLimit) : undefined;
  const full = bundle.recording.detail === "Full";
  const sent = full && isText(head.all["content-type"]) ? new TextObserver("request") : undefined;

  return {
    operation,
    exact: () => {
      if (prefix?.complete === false) throw tooLarge(holdLimit, "a request that needs approval");
      return exactOf(head, prefix?.bytes);
    },
    content: prefix === undefined || !prefix.complete ? undefined : () => ({ part: "request", text: contentText(prefix.bytes) }),
    identity: full,
    body: async () => {
      if (!hasBody) return null;
      const known = prefix ?? ((head.contentLength ?? Infinity) <= pieceLimit ? await exchange.readPrefix(pieceLimit) : undefined);
      if (known?.complete === true) {
        exchange.bytesIn = known.bytes.length;
        sent?.take(known.bytes);
        return known.bytes;
      }
      exchange.wantBody();
      return new BodyStream(exchange.request, known?.bytes, (chunk) => {
        exchange.bytesIn += chunk.length;
        sent?.take(chunk);
      });
    },
    observer: () => (full ? new TextObserver("response", sent) : undefined),
  };
}

/** What an approval binds to: everything of the request but the headers of its client. */
export function exactOf(head: RequestHead, body: Buffer | undefined): string {
  const type = head.all["content-type"];
  return `${head.method} ${head.target}\n${typeof type === "string" ? type : ""}\n\n${body?.toString("latin1") ?? ""}`;
}

export function contentText(bytes: Buffer): string {
  return bytes.subarray(0, maxContentBytes).toString("utf8");
}

export function literal(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}

export function tooLarge(limit: number, what: string): ProxyError {
  return new ProxyError("TooLarge", `the body of ${what} may have at most ${limit} bytes`);
}

/** Whether some rule could hold a request with this method; conditions and chains are left to the decision. */
function mayHold(bundle: Bundle, method: string): boolean {
  for (const rule of bundle.rules) {
    if (rule.action !== "RequireApproval" || rule.sql !== undefined || rule.llm !== undefined) continue;
    const methods = rule.http?.methods;
    if (methods === undefined || methods.some((pattern) => pattern.includes("*") || pattern.toUpperCase() === method)) return true;
  }
  return false;
}
