// Client to server: reads messages into segments (up to Sync, Flush or Query), has each segment decided as a whole, and forwards what may pass.
import type { FrontendSide } from "./backend.ts";
import type { Exchange } from "./exchange.ts";
import { Framer, maxInspectedBytes } from "./framer.ts";
import type { FrameSink } from "./framer.ts";
import {
  describePortal,
  executePortal,
  flush,
  frontend,
  message,
  readyForQuery,
  sync,
} from "./messages.ts";
import { Reader } from "./reader.ts";
import { maxOutstanding, Request } from "./requests.ts";
import { Settlement } from "./settlement.ts";
import type { Refused } from "./settlement.ts";

/** A segment this large is decided and forwarded before its Sync has come. */
export const maxSegmentBytes = 1024 * 1024;
export const maxSegmentRequests = 1_000;

/** Everything until Sync is ignored; `local`: the server knows nothing of this batch and its Sync is answered here. */
type Skipping = "no" | "upstream" | "local";

export class Frontend implements FrameSink, FrontendSide {
  readonly framer = new Framer(this);
  readonly #x: Exchange;
  readonly #reader: Reader;
  readonly #settlement: Settlement;
  /** Called when reading may go on, and when an error ends the session. */
  readonly #hooks: { readonly moved: () => void; readonly failed: (error: unknown) => void };
  #segment: Request[] = [];
  #segmentBytes = 0;
  /** Part of this batch is forwarded and its Sync is not. */
  #begun = false;
  #skipping: Skipping = "no";
  /** A decision is being waited for. */
  #deciding = false;
  /** What is waited for: the answer to one request, or to all. */
  #until: Request | "all" | undefined;
  #then: (() => void) | undefined;
  #terminated = false;

  constructor(
    exchange: Exchange,
    hooks: { readonly moved: () => void; readonly failed: (error: unknown) => void },
  ) {
    this.#x = exchange;
    this.#hooks = hooks;
    this.#reader = new Reader(exchange);
    this.#settlement = new Settlement(exchange);
  }

  get blocked(): boolean {
    return (
      this.#deciding ||
      this.#until !== undefined ||
      this.#x.cancelling !== undefined ||
      this.#x.queue.size >= maxOutstanding
    );
  }

  /** The client said goodbye; nothing more is read. */
  get terminated(): boolean {
    return this.#terminated;
  }

  /** Nothing of the client's is half read or undecided. */
  get quiet(): boolean {
    if (this.#until !== undefined || this.#then !== undefined) return false;
    return !this.#deciding && this.#segment.length === 0 && !this.#begun && this.#skipping === "no";
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
    return type === frontend.copyData ? 0 : maxInspectedBytes;
  }

  piece(_type: number, buffer: Buffer, start: number, end: number, _last: boolean): void {
    this.#copyBytes(buffer, start, end);
  }

  message(type: number, buffer: Buffer, start: number, end: number): void {
    if (this.#terminated) return;
    if (this.#x.copyIn !== undefined && this.#duringCopy(type, buffer, start, end)) return;
    switch (type) {
      case frontend.sync:
        this.#sync(buffer, start, end);
        return;
      case frontend.terminate:
        this.#terminate(buffer, start, end);
        return;
      case frontend.copyData:
      case frontend.copyDone:
      case frontend.copyFail:
        return; // Outside COPY they are ignored, as the server does after a COPY that failed.
      default:
        if (this.#skipping === "no") this.#request(type, buffer, start, end);
    }
  }

  #request(type: number, buffer: Buffer, start: number, end: number): void {
    const again = (): void => this.message(type, buffer, start, end);
    if (type === frontend.execute && this.#mustFollowAnswer()) {
      this.#close(undefined, () => this.#waitFor("all", again));
      return;
    }
    const read = this.#reader.read(type, buffer, start, end);
    if (read === "wait") {
      this.#waitFor("all", again);
      return;
    }
    const { request } = read;
    this.#add(request);
    if (request.kind === "query") this.#close(read.waits ? request : undefined);
    else if (read.waits) this.#close(request);
    else if (request.kind === "flush") this.#close(undefined);
    else if (this.#segmentBytes > maxSegmentBytes || this.#segment.length >= maxSegmentRequests)
      this.#close(undefined);
  }

  /** With limits on results, one Execute of a batch is answered before the next is sent: a result that is cut off must stop the rest. */
  #mustFollowAnswer(): boolean {
    const limits = this.#x.options.gate.current()?.bundle.limits;
    if (limits?.rowsPerResult === undefined && limits?.bytesPerResult === undefined) return false;
    if (this.#begun && this.#x.queue.size > 0) return true;
    return this.#segment.some((request) => request.kind === "execute");
  }

  #add(request: Request): void {
    this.#segment.push(request);
    this.#segmentBytes += request.end - request.start;
  }

  #sync(buffer: Buffer, start: number, end: number): void {
    const skipping = this.#skipping;
    this.#skipping = "no";
    if (skipping === "local") {
      this.#endBatch();
      this.#x.client.send(readyForQuery(this.#x.status));
      return;
    }
    this.#add(new Request("sync", buffer, start, end));
    this.#close(undefined);
  }

  #terminate(buffer: Buffer, start: number, end: number): void {
    this.#terminated = true;
    this.#dropSegment("the client left");
    this.#x.upstream.pass(buffer, start, end);
    this.#hooks.moved();
  }

  /** Decides the segment and forwards it; `answered` is a request whose answer is waited for before more is read. */
  #close(until: Request | undefined, then?: () => void): void {
    const segment = this.#segment;
    this.#segment = [];
    this.#segmentBytes = 0;
    const settled = this.#settlement.settle(segment, this.#begun);
    if (!(settled instanceof Promise)) {
      this.#forward(segment, settled, until);
      then?.();
      return;
    }
    this.#deciding = true;
    settled.then(
      (refusal) => {
        this.#deciding = false;
        this.#guarded(() => {
          this.#forward(segment, refusal, until);
          then?.();
          this.wake();
        });
      },
      (error: unknown) => this.#hooks.failed(error),
    );
  }

  #forward(
    segment: readonly Request[],
    refused: Refused | undefined,
    until: Request | undefined,
  ): void {
    if (this.#skipping !== "no") {
      // The server failed an earlier part of this batch while this part was being decided.
      this.#drop(segment, 0, "not sent after an error in the same pipeline");
      const last = segment.at(-1);
      if (last?.kind === "sync") this.#resync(last);
      return;
    }
    if (refused === undefined) {
      for (const request of segment) this.#send(request);
      this.#afterSegment(segment, until);
      return;
    }
    const { ended } = this.#x.options.session;
    if (ended.aborted) {
      // Nothing passes any more, so no statement can bring an idle point: the session ends with this one.
      this.#hooks.failed(ended.reason);
      return;
    }
    const { at, answer } = refused;
    const last = segment.at(-1);
    this.#drop(segment, at, "not sent because a statement of the same pipeline was refused");
    if (this.#unknownToServer && at === 0) this.#refuseHere(answer, last);
    else this.#refuseThere(segment, at, answer, last);
  }

  /** Nothing is outstanding, nothing of this batch is forwarded and no transaction hangs on it: the server need not hear of the refusal. */
  get #unknownToServer(): boolean {
    return !this.#begun && this.#x.queue.size === 0 && this.#x.status !== "T";
  }

  #refuseHere(answer: Buffer, last: Request | undefined): void {
    this.#x.client.send(answer);
    if (last?.kind !== "query" && last?.kind !== "sync") {
      this.#skipping = "local";
      return;
    }
    this.#endBatch();
    this.#x.client.send(readyForQuery(this.#x.status));
  }

  /** The server must fail, too, or what it did before in this transaction would commit. */
  #refuseThere(
    segment: readonly Request[],
    at: number,
    answer: Buffer,
    last: Request | undefined,
  ): void {
    for (let index = 0; index < at; index++) {
      const request = segment[index];
      if (request !== undefined) this.#send(request);
    }
    this.#poison(answer);
    if (last?.kind === "query") this.#resync(this.#ownSync());
    else if (last?.kind === "sync") this.#resync(last);
    else {
      this.#skipping = "upstream";
      this.#x.upstream.send(flush());
    }
  }

  #poison(answer: Buffer | undefined): void {
    const bytes = executePortal(this.#x.options.poisonPortal);
    const poison = new Request("poison", bytes, 0, bytes.length);
    poison.refusal = answer;
    this.#send(poison);
  }

  #ownSync(): Request {
    const bytes = sync();
    return new Request("sync", bytes, 0, bytes.length);
  }

  #resync(request: Request): void {
    this.#skipping = "no";
    this.#send(request);
    this.#endBatch();
  }

  #send(request: Request): void {
    const { queue, upstream } = this.#x;
    const { execution } = request;
    if (request.kind === "execute") this.#describeFirst(request);
    if (execution !== undefined && execution.startedAt === 0) {
      execution.startedAt = this.#x.now();
      execution.bytesIn += request.end - request.start;
    }
    if (request.kind === "describe-portal" && request.portal !== undefined)
      request.portal.described ||= this.#x.options.masks.active;
    upstream.pass(request.buffer, request.start, request.end);
    request.release();
    if (request.kind !== "flush") {
      queue.push(request);
      this.#begun = request.kind !== "sync" && request.kind !== "query";
    }
  }

  /** Under masks the shape of every result must be known; a driver that keeps an old Describe does not ask for it, so we do. */
  #describeFirst(request: Request): void {
    const { portal, execution } = request;
    if (portal === undefined || execution?.masking === undefined || portal.described) return;
    portal.described = true;
    const bytes = describePortal(portal.name);
    const describe = new Request("describe-portal", bytes, 0, bytes.length);
    describe.own = true;
    describe.portal = portal;
    this.#x.upstream.send(bytes);
    describe.release();
    this.#x.queue.push(describe);
  }

  #afterSegment(segment: readonly Request[], until: Request | undefined): void {
    const last = segment.at(-1);
    if (last?.kind === "sync" || last?.kind === "query") this.#endBatch();
    else if (last !== undefined && last.kind !== "flush") this.#x.upstream.send(flush());
    if (until !== undefined && this.#skipping === "no") this.#waitFor(until, undefined);
  }

  #endBatch(): void {
    this.#begun = false;
    this.#x.registry.endBatch();
  }

  #waitFor(until: Request | "all", then: (() => void) | undefined): void {
    if (until === "all" && this.#x.queue.size === 0) {
      then?.();
      return;
    }
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
    this.#skipping = "upstream";
    this.#begun = true;
  }

  fail(): void {
    this.#dropSegment("not sent because a result of the same pipeline was ended");
    this.#poison(undefined);
    this.#x.upstream.send(flush());
    this.#skipping = "upstream";
  }

  /** Goes on with what waited, if nothing is in the way any more. */
  wake(): void {
    this.#guarded(() => {
      while (!this.blocked && this.#then !== undefined) {
        const then = this.#then;
        this.#then = undefined;
        then();
      }
      this.framer.resume();
      this.#flush();
      this.#hooks.moved();
    });
  }

  /** While the server takes COPY data. Returns whether the message is dealt with. */
  #duringCopy(type: number, buffer: Buffer, start: number, end: number): boolean {
    const request = this.#x.copyIn;
    switch (type) {
      case frontend.copyData:
        this.#copyBytes(buffer, start, end);
        return true;
      case frontend.copyDone:
      case frontend.copyFail:
        this.#x.copyIn = undefined;
        this.#x.upstream.pass(buffer, start, end);
        if (request?.kind === "query") this.#waitFor(request, undefined);
        return true;
      case frontend.sync:
      case frontend.flush:
        return true; // The server ignores both here, for clients that send them right behind Execute.
      case frontend.terminate:
        return false;
      default:
        this.#x.copyIn = undefined;
        this.#x.upstream.send(
          message(frontend.copyFail, Buffer.from(`message of type ${type} during COPY\0`)),
        );
        return true;
    }
  }

  #copyBytes(buffer: Buffer, start: number, end: number): void {
    const execution = this.#x.copyIn?.execution;
    if (execution === undefined) return;
    execution.bytesIn += end - start;
    this.#x.upstream.pass(buffer, start, end);
  }

  #dropSegment(why: string): void {
    const segment = this.#segment;
    this.#segment = [];
    this.#segmentBytes = 0;
    this.#drop(segment, 0, why);
  }

  #drop(segment: readonly Request[], from: number, why: string): void {
    for (let index = from; index < segment.length; index++) {
      const request = segment[index];
      if (request !== undefined) this.#x.drop(request, "denied", why);
    }
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
