// What a request of an `http` connection asks for: decided on its head alone, unless a rule may hold it, since an approval binds to the body too.
import type { Bundle, DetectMask } from "../../policy/bundle.ts";
import type { TokenVault } from "../../policy/mask/token-vault.ts";
import type { HttpOperation } from "../../policy/operation.ts";
import { recogniseHttp } from "../../policy/http/recognise.ts";
import { ruleBlocks } from "../../policy/when.ts";
import type { LiveGrant } from "../pipeline.ts";
import { contentText, exactOf, literal, tooLarge } from "./asked.ts";
import type { Asked } from "./asked.ts";
import { BodyStream } from "./body.ts";
import type { BodyPass, Prefix } from "./body.ts";
import type { Exchange } from "./exchange.ts";
import type { RequestHead } from "./head.ts";
import type { SeeFindings } from "./marks.ts";
import { SentMask } from "./mask-sent.ts";
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
  masks: RequestMasks,
): Asked | Promise<Asked> {
  if (exchange.request.body.length === 0 || !mayHold(live.bundle, head.method))
    return asked(exchange, head, live, masks, undefined);
  const reading = exchange.readPrefix(holdLimit);
  return reading instanceof Promise
    ? reading.then((prefix) => asked(exchange, head, live, masks, prefix))
    : asked(exchange, head, live, masks, reading);
}

/** What applies to this request, and how marks of findings get onto the session once it passed. */
export interface RequestMasks {
  readonly masks: readonly DetectMask[];
  readonly vault: TokenVault;
  readonly see: (operation: HttpOperation) => SeeFindings | undefined;
}

function asked(
  exchange: Exchange,
  head: RequestHead,
  live: LiveGrant,
  { masks, vault, see }: RequestMasks,
  read: Prefix | undefined,
): Asked {
  const { bundle } = live;
  const operation = recogniseHttp({
    method: head.method,
    host: literal(live.endpoint.host),
    target: head.target,
    headers: head.all,
  });
  const { body } = exchange.request;
  const mask =
    masks.length === 0 ? undefined : new SentMask(head, body.length !== 0, masks, bundle, vault);
  const full = bundle.recording.detail === "Full";
  const sent =
    full && isText(head.all["content-type"])
      ? new TextObserver("request", exchange.share)
      : undefined;
  const shown = (chunk: Buffer): Buffer => {
    sent?.take(chunk);
    return chunk;
  };
  const take = (chunk: Buffer): Buffer => {
    exchange.bytesIn += chunk.length;
    return shown(mask === undefined ? chunk : mask.take(chunk));
  };
  const pass: BodyPass = mask === undefined ? { take } : { take, end: () => shown(mask.end()) };
  const whole = (bytes: Buffer): Buffer => {
    const taken = take(bytes);
    return mask === undefined ? taken : Buffer.concat([taken, pass.end?.() ?? taken]);
  };
  const send = (known: Prefix | undefined): Buffer | BodyStream =>
    known?.complete === true ? whole(known.bytes) : new BodyStream(body, known?.bytes, pass);
  // What is decided on, shown to a person and approved is what would be sent.
  const prefix =
    mask !== undefined && read?.complete === true
      ? { bytes: whole(read.bytes), complete: true }
      : read;
  const isMasked = prefix !== read;

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
    ...(mask !== undefined && {
      masked: mask.counts,
      sentHeaders: (headers: string[]) => mask.headers(headers),
    }),
    body: () => {
      mask?.passed(see(operation));
      if (body.length === 0) return null;
      if (isMasked) return prefix?.bytes ?? null;
      if (prefix !== undefined || (body.length ?? Infinity) > pieceLimit) return send(prefix);
      const reading = exchange.readPrefix(pieceLimit);
      return reading instanceof Promise ? reading.then(send) : send(reading);
    },
    observer: () => (full ? new TextObserver("response", exchange.share, sent) : undefined),
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
