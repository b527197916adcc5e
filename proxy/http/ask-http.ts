// What a request of an `http` connection asks for: decided on its head alone, unless a rule may hold it, since an approval binds to the body too.
import type { Bundle } from "../../policy/bundle.ts";
import { recogniseHttp } from "../../policy/http/recognise.ts";
import { ruleBlocks } from "../../policy/when.ts";
import type { LiveGrant } from "../pipeline.ts";
import { contentText, exactOf, literal, tooLarge } from "./asked.ts";
import type { Asked } from "./asked.ts";
import { BodyStream } from "./body.ts";
import type { Prefix } from "./body.ts";
import type { Exchange } from "./exchange.ts";
import type { RequestHead } from "./head.ts";
import { TextObserver, isText } from "./text-observer.ts";

/** An approval binds to the whole body, so a held request is read to its end. */
const holdLimit = 1024 * 1024;
/** Bodies up to this are sent in one piece, which costs a fraction of streaming them. */
const pieceLimit = 64 * 1024;

/** At once, unless a body has to be waited for. */
export function askHttp(
  exchange: Exchange,
  head: RequestHead,
  live: LiveGrant,
): Asked | Promise<Asked> {
  if (exchange.request.body.length === 0 || !mayHold(live.bundle, head.method))
    return asked(exchange, head, live, undefined);
  const reading = exchange.readPrefix(holdLimit);
  return reading instanceof Promise
    ? reading.then((prefix) => asked(exchange, head, live, prefix))
    : asked(exchange, head, live, reading);
}

function asked(
  exchange: Exchange,
  head: RequestHead,
  live: LiveGrant,
  prefix: Prefix | undefined,
): Asked {
  const { bundle } = live;
  const operation = recogniseHttp({
    method: head.method,
    host: literal(live.endpoint.host),
    target: head.target,
    headers: head.all,
  });
  const { body } = exchange.request;
  const full = bundle.recording.detail === "Full";
  const sent = full && isText(head.all["content-type"]) ? new TextObserver("request") : undefined;
  const count = (chunk: Buffer): void => {
    exchange.bytesIn += chunk.length;
    sent?.take(chunk);
  };
  const send = (known: Prefix | undefined): Buffer | BodyStream => {
    if (known?.complete !== true) return new BodyStream(body, known?.bytes, count);
    count(known.bytes);
    return known.bytes;
  };

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
    form: full ? "readable" : "as asked",
    body: () => {
      if (body.length === 0) return null;
      if (prefix !== undefined || (body.length ?? Infinity) > pieceLimit) return send(prefix);
      const reading = exchange.readPrefix(pieceLimit);
      return reading instanceof Promise ? reading.then(send) : send(reading);
    },
    observer: () => (full ? new TextObserver("response", sent) : undefined),
  };
}

/** Whether some rule could hold a request with this method; conditions and chains are left to the decision. */
function mayHold(bundle: Bundle, method: string): boolean {
  for (const rule of bundle.rules) {
    const isAboutOthers =
      rule.http === undefined && ruleBlocks.some((block) => rule[block] !== undefined);
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
