// What a request of an `http` connection asks for: decided on its head alone, unless a rule may hold it, since an approval binds to the body too.
import type { Bundle, DetectMask } from "../../policy/bundle.ts";
import type { HttpOperation } from "../../policy/operation.ts";
import { ruleBlocks } from "../../policy/when.ts";
import type { GateSession, LiveGrant } from "../pipeline.ts";
import { contentText, exactOf, literal, tooLarge } from "./asked.ts";
import type { Asked } from "./asked.ts";
import { BodyStream } from "./body.ts";
import type { BodyPass, Prefix } from "./body.ts";
import type { Exchange } from "./exchange.ts";
import type { RequestHead } from "./head.ts";
import { findings } from "./marks.ts";
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
  masks: readonly DetectMask[],
  session: Pick<GateSession, "mark" | "vault">,
): Asked | Promise<Asked> {
  if (exchange.request.body.length === 0 || !mayHold(live.bundle, head.method))
    return new AskedHttp(exchange, head, live, masks, session, undefined);
  const reading = exchange.readPrefix(holdLimit);
  return reading instanceof Promise
    ? reading.then((prefix) => new AskedHttp(exchange, head, live, masks, session, prefix))
    : new AskedHttp(exchange, head, live, masks, session, reading);
}

/** A class and no object of closures: most requests need only a few of its answers. */
class AskedHttp implements Asked {
  readonly operation: HttpOperation;
  readonly form: Asked["form"];
  readonly content: Asked["content"];
  readonly masked: Asked["masked"];
  readonly sentHeaders: Asked["sentHeaders"];
  readonly #exchange: Exchange;
  readonly #head: RequestHead;
  readonly #masks: readonly DetectMask[];
  readonly #session: Pick<GateSession, "mark">;
  readonly #mask: SentMask | undefined;
  /** What is recorded of the request. */
  readonly #text: TextObserver | undefined;
  /** What was read before the decision, as it would be sent: that is decided on, shown to a person and approved. */
  readonly #prefix: Prefix | undefined;

  /** Throws ProxyError for what cannot be masked. */
  constructor(
    exchange: Exchange,
    head: RequestHead,
    { bundle, endpoint }: LiveGrant,
    masks: readonly DetectMask[],
    session: Pick<GateSession, "mark" | "vault">,
    read: Prefix | undefined,
  ) {
    this.#exchange = exchange;
    this.#head = head;
    this.#masks = masks;
    this.#session = session;
    this.operation = exchange.client.recognised.of(literal(endpoint.host), head);
    const mask =
      masks.length === 0
        ? undefined
        : new SentMask(head, exchange.request.body.length !== 0, masks, bundle, session.vault);
    const full = bundle.recording.detail === "Full";
    this.#mask = mask;
    this.#text =
      full && isText(head.all["content-type"])
        ? new TextObserver("request", exchange.share)
        : undefined;
    const prefix =
      mask !== undefined && read?.complete === true
        ? { bytes: this.#whole(read.bytes), complete: true }
        : read;
    this.#prefix = prefix;
    this.form = full ? "readable" : "as asked";
    this.content =
      prefix?.complete === true
        ? () => ({ part: "request", text: contentText(prefix.bytes) })
        : undefined;
    this.masked = mask?.counts;
    this.sentHeaders = mask && ((headers) => mask.headers(headers));
  }

  exact(): string {
    if (this.#prefix?.complete === false)
      throw tooLarge(holdLimit, "a request that needs approval");
    return exactOf(this.#head, this.#prefix?.bytes);
  }

  body(): Promise<Buffer | BodyStream | null> | Buffer | BodyStream | null {
    this.#mask?.passed(findings(this.#masks, this.#session, this.operation));
    const { body } = this.#exchange.request;
    const prefix = this.#prefix;
    if (body.length === 0) return null;
    if (prefix?.complete === true && this.#mask !== undefined) return prefix.bytes;
    if (prefix !== undefined || (body.length ?? Infinity) > pieceLimit) return this.#send(prefix);
    const reading = this.#exchange.readPrefix(pieceLimit);
    return reading instanceof Promise
      ? reading.then((known) => this.#send(known))
      : this.#send(reading);
  }

  observer(): TextObserver | undefined {
    return this.form === "readable"
      ? new TextObserver("response", this.#exchange.share, this.#text)
      : undefined;
  }

  #send(known: Prefix | undefined): Buffer | BodyStream {
    if (known?.complete === true) return this.#whole(known.bytes);
    if (this.#exchange.request.body.length !== undefined) this.#exchange.share.pass();
    const mask = this.#mask;
    const take = (chunk: Buffer): Buffer => this.#take(chunk);
    const pass: BodyPass = mask === undefined ? { take } : { take, end: () => this.#end(mask) };
    return new BodyStream(this.#exchange.request.body, known?.bytes, pass);
  }

  #whole(bytes: Buffer): Buffer {
    const taken = this.#take(bytes);
    return this.#mask === undefined ? taken : Buffer.concat([taken, this.#end(this.#mask)]);
  }

  #take(chunk: Buffer): Buffer {
    this.#exchange.bytesIn += chunk.length;
    // One of unknown length may be as short as those that are sent whole.
    if (this.#exchange.bytesIn > pieceLimit) this.#exchange.share.pass();
    return this.#shown(this.#mask === undefined ? chunk : this.#mask.take(chunk));
  }

  #end(mask: SentMask): Buffer {
    return this.#shown(mask.end());
  }

  #shown(chunk: Buffer): Buffer {
    this.#text?.take(chunk);
    return chunk;
  }
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
