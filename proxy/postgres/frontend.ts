// Client to server: reads messages into segments (up to Sync, Flush or Query), has each segment decided as a whole, and forwards what may pass.
import type { FrontendSide } from "./backend.ts";
import { amidCopy, checkType, copyTypes, emptyTypes } from "./client-messages.ts";
import type { Exchange } from "./exchange.ts";
import { Forwarding } from "./forwarding.ts";
import { Framer, headerBytes, maxInspectedBytes, WireError } from "./framer.ts";
import type { FrameSink } from "./framer.ts";
import { lookUpFunction, mayAllowFunctions } from "./function-call.ts";
import type { CalledFunction } from "./function-call.ts";
import { shortOutstanding } from "./gathering.ts";
import { frontend } from "./messages.ts";
import { simpleQueriesOnly } from "./replication.ts";
import { Reader } from "./reader.ts";
import { maxOutstanding, Request } from "./requests.ts";
import { Settlement } from "./settlement.ts";
import type { Refused } from "./settlement.ts";

/** A segment this large is decided and forwarded before its Sync has come. */
export const maxSegmentBytes = 1024 * 1024;
export const maxSegmentRequests = 1_000;
/** Parameters of a statement: a document or an image among them is no rarity. */
export const maxBindBytes = 8 * 1024 * 1024;
const noBytes = Buffer.alloc(0);

export interface FrontendHooks {
  /** Something went forward: bytes may be read again, or the session may end. */
  readonly moved: () => void;
  /** The session cannot go on. */
  readonly failed: (error: unknown) => void;
}

export class Frontend implements FrameSink, FrontendSide {
  readonly framer = new Framer(this);
  readonly #x: Exchange;
  readonly #reader: Reader;
  readonly #settlement: Settlement;
  readonly #forwarding: Forwarding;
  readonly #hooks: FrontendHooks;
  #segment: Request[] = [];
  #segmentBytes = 0;
  /** A decision is being waited for. */
  #deciding = false;
  /** What is waited for: the answer to one request, or to all; and what to do then. */
  #until: Request | "all" | undefined;
  #then: (() => void) | undefined;
  #terminated = false;
  #starved = false;
  /** The chunk the last request of the segment came in: it stays in memory as a whole. */
  #lastChunk: Buffer = noBytes;
  /** Part of a CopyData message has come, and whether it was forwarded. */
  #inPiece = false;
  #passesPiece = false;

  constructor(exchange: Exchange, hooks: FrontendHooks) {
    this.#x = exchange;
    this.#hooks = hooks;
    this.#reader = new Reader(exchange);
    this.#settlement = new Settlement(exchange);
    this.#forwarding = new Forwarding(exchange);
  }

  get blocked(): boolean {
    return (
      this.#deciding ||
      this.#starved ||
      this.#until !== undefined ||
      this.#x.cancelling !== undefined ||
      this.#x.queue.size >= (this.#x.share.isShort ? shortOutstanding : maxOutstanding)
    );
  }

  /** Of the client's bytes, all that is here and not forwarded. */
  get heldBytes(): number {
    return this.framer.gatheringBytes + this.framer.waitingBytes + this.#segmentBytes;
  }

  /** A message waits for memory. */
  get starved(): boolean {
    return this.#starved;
  }

  admits(total: number): boolean {
    const admitted = this.#x.share.admits(total);
    this.#starved = !admitted;
    return admitted;
  }

  /** There may be memory again. */
  resume(): void {
    if (!this.#starved) return;
    this.#starved = false;
    this.wake();
  }

  /** The client said goodbye; nothing more is read. */
  get terminated(): boolean {
    return this.#terminated;
  }

  /** Of the client's bytes nothing is needed here any more: all is forwarded, or dropped. */
  get done(): boolean {
    const waits = this.#deciding || this.#then !== undefined;
    return this.#segment.length === 0 && !waits && this.framer.atRest;
  }

  /** Nothing of the client's is half read or undecided. */
  get quiet(): boolean {
    if (this.#deciding || this.#until !== undefined || this.#then !== undefined) return false;
    return this.#segment.length === 0 && !this.#forwarding.begun && !this.#forwarding.skips;
  }

  push(chunk: Buffer): void {
    this.framer.push(chunk);
    this.#flush();
  }

  /** Ends the wait for a decision: the client went away, or cancelled. */
  abandonHold(cancelled: boolean): boolean {
    if (!this.#deciding) return false;
    this.#settlement.abandon(cancelled);
    return true;
  }

  limit(type: number): number {
    checkType(type);
    if (this.#x.copyIn !== undefined && !copyTypes.has(type)) throw amidCopy(type);
    if (type === frontend.copyData) return 0;
    return type === frontend.bind ? maxBindBytes : maxInspectedBytes;
  }

  /** Refused in its place; the connection goes on. */
  oversize(type: number, total: number, limit: number): void {
    if (this.#terminated || this.#forwarding.skips) return;
    if (this.#x.copyIn !== undefined && this.#duringCopy(type, noBytes, 0, 0)) return;
    if (this.#isQueryInBatch(type)) {
      this.#afterBatchSoFar(() => this.oversize(type, total, limit));
      return;
    }
    const { request } = this.#reader.oversize(type, total, limit);
    this.#add(request);
    if (request.kind === "query") this.#close(undefined);
  }

  /** A message that the server has the beginning of goes there to its end, also when its COPY fails meanwhile; else what follows would be read as its rest. */
  piece(_type: number, buffer: Buffer, start: number, end: number, last: boolean): void {
    const begins = !this.#inPiece;
    this.#inPiece = !last;
    if (begins) this.#passesPiece = this.#x.copyIn !== undefined && !this.#terminated;
    if (!this.#passesPiece) return;
    if (this.#x.copyIn === undefined) this.#x.upstream.pass(buffer, start, end);
    else this.#copyBytes(buffer, start, end, begins);
  }

  message(type: number, buffer: Buffer, start: number, end: number): void {
    if (this.#terminated) return;
    checkType(type);
    if (emptyTypes.has(type) && end - start !== headerBytes)
      throw new WireError(`a message of type ${type} has a body, which it never has`);
    if (this.#x.copyIn !== undefined && this.#duringCopy(type, buffer, start, end)) return;
    switch (type) {
      case frontend.sync:
        if (this.#forwarding.endsSkipping()) return;
        this.#add(new Request("sync", buffer, start, end));
        this.#close(undefined);
        return;
      case frontend.terminate:
        this.#terminated = true;
        this.#dropSegment("the client left");
        this.#x.upstream.pass(buffer, start, end);
        this.#hooks.moved();
        return;
      case frontend.copyData:
      case frontend.copyDone:
      case frontend.copyFail:
        return; // Outside COPY they are ignored, as the server does after a COPY that failed.
      default:
        if (!this.#forwarding.skips) this.#request(type, buffer, start, end);
    }
  }

  #request(type: number, buffer: Buffer, start: number, end: number): void {
    if (type !== frontend.query && this.#x.options.replication !== undefined)
      throw simpleQueriesOnly(this.#x.connection);
    if (type === frontend.functionCall) {
      this.#functionCall(buffer, start, end);
      return;
    }
    if (this.#isQueryInBatch(type) || (type === frontend.execute && this.#mustFollowAnswer())) {
      this.#afterBatchSoFar(() => this.message(type, buffer, start, end));
      return;
    }
    const first = this.#segment.length === 0 && this.#x.queue.size === 0;
    const read = this.#reader.read(type, buffer, start, end, first);
    if (read === "wait") {
      this.#waitFor("all", () => this.message(type, buffer, start, end));
      return;
    }
    if (read === "settle") {
      this.#afterBatchSoFar(() => this.message(type, buffer, start, end));
      return;
    }
    const { request, waits } = read;
    this.#add(request);
    const large =
      this.#segmentBytes > maxSegmentBytes || this.#segment.length >= maxSegmentRequests;
    if (waits || large || request.kind === "query" || request.kind === "flush")
      this.#close(waits ? request : undefined);
  }

  /** Its name is asked of the server when all before it is answered; then it is decided like a Query. */
  #functionCall(buffer: Buffer, start: number, end: number): void {
    const decide = (called: CalledFunction | undefined): void => {
      this.#add(this.#reader.functionCall(buffer, start, end, called));
      this.#close(undefined);
    };
    this.#close(undefined, () =>
      this.#waitFor("all", () => {
        // What went before it was refused, or failed.
        if (this.#forwarding.skips) return;
        const x = this.#x;
        const bundle = x.options.gate.current()?.bundle;
        const { begun } = this.#forwarding;
        const askable = !begun && x.mayAsk(begun) && !x.options.masks.active;
        if (bundle === undefined || !askable || !mayAllowFunctions(bundle)) {
          decide(undefined);
          return;
        }
        this.#deciding = true;
        lookUpFunction(x, buffer, start, end).then(
          (called) => {
            this.#deciding = false;
            this.#guarded(() => decide(called));
            this.wake();
          },
          (error: unknown) => this.#hooks.failed(error),
        );
      }),
    );
  }

  /** With limits on results, one Execute of a batch is answered before the next is sent: a result that is cut off must stop the rest. */
  #mustFollowAnswer(): boolean {
    const limits = this.#x.options.gate.current()?.bundle.limits;
    if (limits?.rowsPerResult === undefined && limits?.bytesPerResult === undefined) return false;
    if (this.#forwarding.begun && this.#x.queue.size > 0) return true;
    return this.#segment.some((request) => request.kind === "execute");
  }

  /** A Query behind messages without Sync is ignored if one of them failed; a refusal of ours must not end what the server still skips. */
  #isQueryInBatch(type: number): boolean {
    if (type !== frontend.query && type !== frontend.functionCall) return false;
    return this.#segment.length > 0 || (this.#forwarding.begun && this.#x.queue.size > 0);
  }

  #afterBatchSoFar(then: () => void): void {
    this.#close(undefined, () => this.#waitFor("all", then));
  }

  #add(request: Request): void {
    this.#segment.push(request);
    if (request.buffer === this.#lastChunk) return;
    this.#lastChunk = request.buffer;
    this.#segmentBytes += request.buffer.length;
  }

  /** Decides the segment and forwards it; `until` is a request whose answer is waited for before more is read. */
  #close(until: Request | undefined, then?: () => void): void {
    const segment = this.#takeSegment();
    const settled = this.#settlement.settle(segment, this.#forwarding.begun);
    if (!(settled instanceof Promise)) {
      this.#forward(segment, settled, until);
      then?.();
      return;
    }
    this.#deciding = true;
    settled.then(
      (refused) => {
        this.#deciding = false;
        this.#guarded(() => {
          this.#forward(segment, refused, until);
          then?.();
        });
        this.wake();
      },
      (error: unknown) => this.#hooks.failed(error),
    );
  }

  #forward(
    segment: readonly Request[],
    refused: Refused | undefined,
    until: Request | undefined,
  ): void {
    if (this.#x.over) {
      this.#forwarding.drop(segment, 0, "not sent because the session ended");
      return;
    }
    const { ended } = this.#x.options.session;
    if (refused !== undefined && ended.aborted) {
      // Nothing passes any more, so no statement can bring an idle point: the session ends with this one.
      this.#hooks.failed(ended.reason);
      return;
    }
    this.#forwarding.segment(segment, refused);
    if (until !== undefined && refused === undefined && !this.#forwarding.skips)
      this.#waitFor(until, undefined);
  }

  #waitFor(until: Request | "all", then: (() => void) | undefined): void {
    if (until === "all" && this.#x.queue.size === 0) {
      then?.();
      return;
    }
    if (until === "all") this.#forwarding.flushBatch();
    this.#until = until;
    this.#then = then;
  }

  answered(request: Request): void {
    if (this.#until === undefined) return;
    if (this.#until === "all" ? this.#x.queue.size > 0 : this.#until !== request) return;
    this.#until = undefined;
  }

  skip(): void {
    this.#dropSegment("not sent after an error in the same pipeline");
    this.#forwarding.skip();
  }

  fail(): void {
    this.#dropSegment("not sent because a result of the same pipeline was ended");
    this.#forwarding.failBatch();
  }

  /** Goes on with what waited, if nothing is in the way any more. */
  wake(): void {
    this.#guarded(this.#goOn);
  }

  readonly #goOn = (): void => {
    while (!this.blocked && this.#then !== undefined) {
      const then = this.#then;
      this.#then = undefined;
      then();
    }
    this.framer.resume();
    this.#flush();
    this.#hooks.moved();
  };

  /** While the server takes COPY data. Returns whether the message is dealt with. */
  #duringCopy(type: number, buffer: Buffer, start: number, end: number): boolean {
    const request = this.#x.copyIn;
    switch (type) {
      case frontend.copyData:
        this.#copyBytes(buffer, start, end, true);
        return true;
      case frontend.copyDone:
      case frontend.copyFail:
        this.#x.copyIn = undefined;
        this.#x.upstream.pass(buffer, start, end);
        // The next command of a multi-statement text may be a COPY as well.
        if (request?.kind === "query") this.#waitFor(request, undefined);
        return true;
      case frontend.sync:
        if (request !== undefined) request.syncAmidData ||= request.hasCopyData;
        return true; // The server ignores both here, for clients that send them right behind Execute.
      case frontend.flush:
        return true;
      case frontend.terminate:
        return false;
      default:
        throw amidCopy(type);
    }
  }

  #copyBytes(buffer: Buffer, start: number, end: number, begins: boolean): void {
    const request = this.#x.copyIn;
    const execution = request?.execution;
    if (request === undefined || execution === undefined) return;
    // What is read elsewhere while it goes on may be in what comes now. The session ends with it, and so does the COPY.
    const refused = execution.refusedByMark(this.#x.options.session);
    if (refused !== undefined) throw refused;
    request.hasCopyData = true;
    execution.bytesIn += end - start;
    execution.copied?.add(buffer, start, end, begins);
    this.#x.upstream.pass(buffer, start, end);
  }

  #takeSegment(): Request[] {
    const segment = this.#segment;
    this.#segment = [];
    this.#segmentBytes = 0;
    this.#lastChunk = noBytes;
    return segment;
  }

  #dropSegment(why: string): void {
    const segment = this.#takeSegment();
    this.#forwarding.drop(segment, 0, why);
  }

  #flush(): void {
    this.#x.upstream.flush();
    this.#x.client.flush();
  }

  #guarded(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#hooks.failed(error);
    }
  }
}
