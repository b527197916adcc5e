// What a request of an `http` connection asks for: decided on its head alone, unless a rule may hold it, since an approval binds to the body too.
import type { Bundle } from "../../policy/bundle.ts";
import { recogniseHttp } from "../../policy/http/recognise.ts";
import type { LiveGrant } from "../pipeline.ts";
import { contentText, exactOf, literal, tooLarge } from "./asked.ts";
import type { Asked } from "./asked.ts";
import { BodyStream } from "./body.ts";
import type { Exchange } from "./exchange.ts";
import type { RequestHead } from "./head.ts";
import { TextObserver, isText } from "./text-observer.ts";

/** An approval binds to the whole body, so a held request is read to its end. */
const holdLimit = 1024 * 1024;
/** Bodies up to this are sent in one piece, which costs a fraction of streaming them. */
const pieceLimit = 64 * 1024;

export async function askHttp(
  exchange: Exchange,
  head: RequestHead,
  live: LiveGrant,
): Promise<Asked> {
  const { bundle } = live;
  const operation = recogniseHttp({
    method: head.method,
    host: literal(live.endpoint.host),
    target: head.target,
    headers: head.all,
  });
  const hasBody = exchange.request.body.length !== 0;
  const prefix =
    hasBody && mayHold(bundle, head.method) ? await exchange.readPrefix(holdLimit) : undefined;
  const full = bundle.recording.detail === "Full";
  const sent = full && isText(head.all["content-type"]) ? new TextObserver("request") : undefined;

  return {
    operation,
    exact: () => {
      if (prefix?.complete === false) throw tooLarge(holdLimit, "a request that needs approval");
      return exactOf(head, prefix?.bytes);
    },
    content:
      prefix === undefined || !prefix.complete
        ? undefined
        : () => ({ part: "request", text: contentText(prefix.bytes) }),
    identity: full,
    body: async () => {
      if (!hasBody) return null;
      const known =
        prefix ??
        ((exchange.request.body.length ?? Infinity) <= pieceLimit
          ? await exchange.readPrefix(pieceLimit)
          : undefined);
      if (known?.complete === true) {
        exchange.bytesIn = known.bytes.length;
        sent?.take(known.bytes);
        return known.bytes;
      }
      return new BodyStream(exchange.request.body, known?.bytes, (chunk) => {
        exchange.bytesIn += chunk.length;
        sent?.take(chunk);
      });
    },
    observer: () => (full ? new TextObserver("response", sent) : undefined),
  };
}

/** Whether some rule could hold a request with this method; conditions and chains are left to the decision. */
function mayHold(bundle: Bundle, method: string): boolean {
  for (const rule of bundle.rules) {
    const isAboutOthers =
      rule.sql !== undefined || rule.llm !== undefined || rule.passthrough !== undefined;
    if (rule.action !== "RequireApproval" || isAboutOthers) continue;
    const methods = rule.http?.methods;
    if (
      methods === undefined ||
      methods.some((pattern) => pattern.includes("*") || pattern.toUpperCase() === method)
    )
      return true;
  }
  return false;
}
