// Sends decided requests to the server, and says refusals so that the server's transaction fails where the client's does.
import type { Exchange } from "./exchange.ts";
import { describePortal, executePortal, flush, readyForQuery, sync } from "./messages.ts";
import { Request } from "./requests.ts";
import type { Refused } from "./settlement.ts";

/** Everything until Sync is ignored; `local`: the server knows nothing of this batch and its Sync is answered here. */
type Skipping = "no" | "upstream" | "local";

export class Forwarding {
  readonly #x: Exchange;
  /** Part of this batch is forwarded and its Sync is not. */
  #begun = false;
  #skipping: Skipping = "no";

  constructor(exchange: Exchange) {
    this.#x = exchange;
  }

  get begun(): boolean {
    return this.#begun;
  }

  /** After an error of this batch: what the client sends until Sync is dropped. */
  get skips(): boolean {
    return this.#skipping !== "no";
  }

  /** A Sync came. Returns whether that is all there is to it. */
  endsSkipping(): boolean {
    const local = this.#skipping === "local";
    this.#skipping = "no";
    if (!local) return false;
    this.#endBatch();
    this.#x.client.send(readyForQuery(this.#x.status));
    return true;
  }

  /** The server skips until Sync, which is not forwarded yet. */
  skip(): void {
    this.#skipping = "upstream";
    this.#begun = true;
  }

  /** A result was ended early: what the batch did must not commit. */
  failBatch(): void {
    this.#poison(undefined);
    this.#x.upstream.send(flush());
    this.#skipping = "upstream";
  }

  /** What is forwarded of this batch is about to be waited for: the server ignores a Flush during COPY, so its answers may still be held back. */
  flushBatch(): void {
    if (this.#begun) this.#x.upstream.send(flush());
  }

  segment(segment: readonly Request[], refused: Refused | undefined): void {
    const last = segment.at(-1);
    if (this.#skipping !== "no") {
      // The server failed an earlier part of this batch while this part was being decided.
      this.drop(segment, 0, "not sent after an error in the same pipeline");
      if (last?.kind === "sync") this.#resync(last);
    } else if (refused === undefined) this.#sendAll(segment, last);
    else {
      const { at, answer } = refused;
      // A refused Query ends with its own ReadyForQuery; after a refusal in the extended protocol only Sync counts, and a Query is ignored.
      const byQuery = segment[at]?.kind === "query";
      const ends = byQuery || last?.kind === "sync" ? last : undefined;
      this.drop(segment, at, "not sent because a statement of the same pipeline was refused");
      const replaced = segment[at];
      const forgetsUnnamed = replaced?.kind === "parse" && replaced.name === "";
      // The server drops the unnamed statement at a Query, whatever comes of it (exec_simple_query), and nothing before it is unanswered.
      if (byQuery && replaced?.callsFunction === false) this.#x.registry.forgetUnnamed();
      if (!this.#unknownToServer || at > 0)
        this.#refuseThere(segment, at, { answer, forgetsUnnamed }, ends);
      else {
        if (forgetsUnnamed) this.#x.registry.forgetUnnamed();
        this.#refuseHere(answer, ends);
      }
    }
  }

  drop(segment: readonly Request[], from: number, why: string): void {
    for (let index = from; index < segment.length; index++) {
      const request = segment[index];
      if (request !== undefined) this.#x.drop(request, "denied", why);
    }
  }

  #sendAll(segment: readonly Request[], last: Request | undefined): void {
    for (const request of segment) this.#send(request);
    if (last?.kind === "sync" || last?.kind === "query") this.#endBatch();
    // The server would keep its answers to itself until the client's Sync, which may wait for them.
    else if (last !== undefined && last.kind !== "flush") this.#x.upstream.send(flush());
  }

  /** Nothing is outstanding, nothing of this batch is forwarded and no transaction hangs on it: the server need not hear of the refusal. */
  get #unknownToServer(): boolean {
    return !this.#begun && this.#x.queue.size === 0 && this.#x.status !== "T";
  }

  #refuseHere(answer: Buffer, ends: Request | undefined): void {
    this.#x.client.send(answer);
    if (ends === undefined) {
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
    refusal: { readonly answer: Buffer; readonly forgetsUnnamed: boolean },
    ends: Request | undefined,
  ): void {
    for (let index = 0; index < at; index++) {
      const request = segment[index];
      if (request !== undefined) this.#send(request);
    }
    this.#poison(refusal.answer, refusal.forgetsUnnamed);
    if (ends?.kind === "query") this.#resync(ownSync());
    else if (ends !== undefined) this.#resync(ends);
    else {
      this.#skipping = "upstream";
      this.#x.upstream.send(flush());
    }
  }

  #poison(answer: Buffer | undefined, forgetsUnnamed = false): void {
    const bytes = executePortal(this.#x.options.poisonPortal);
    const poison = new Request("poison", bytes, 0, bytes.length);
    poison.refusal = answer;
    poison.forgetsUnnamed = forgetsUnnamed;
    this.#send(poison);
  }

  #resync(request: Request): void {
    this.#skipping = "no";
    this.#send(request);
    this.#endBatch();
  }

  #send(request: Request): void {
    const { queue, upstream } = this.#x;
    const { execution } = request;
    if (request.saysAgain)
      for (const own of request.statement?.saidAgain() ?? []) this.#sendOwn(own);
    if (request.kind === "execute") this.#describeFirst(request);
    if (execution !== undefined && execution.startedAt === 0) {
      execution.startedAt = this.#x.now();
      execution.bytesIn += request.end - request.start;
      this.#x.options.masks.sent(execution);
      const marks = execution.masking?.decisiveMarks(execution.understood) ?? [];
      if (marks.length > 0) this.#x.options.session.mark(marks, execution.operation);
      this.#x.changes.sent(execution.understood);
      this.#x.openCursors.sent(execution);
      this.#x.settings.sent(execution.operation);
      this.#x.batchEnds ||= execution.operation.session?.ends === true;
    }
    if (request.kind === "bind") this.#x.options.masks.cursors.bound(request.name);
    if (request.kind === "describe-portal" && request.portal !== undefined)
      request.portal.described ||= this.#x.options.masks.active;
    upstream.pass(request.buffer, request.start, request.end);
    request.release();
    if (request.kind === "flush") return;
    queue.push(request);
    this.#begun = request.kind !== "sync" && request.kind !== "query";
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
    this.#sendOwn(describe);
  }

  #sendOwn(request: Request): void {
    this.#x.upstream.send(request.buffer);
    request.release();
    this.#x.queue.push(request);
  }

  #endBatch(): void {
    this.#begun = false;
    this.#x.batchEnds = false;
    this.#x.registry.endBatch();
    this.#x.settings.batchEnded();
  }
}

function ownSync(): Request {
  const bytes = sync();
  return new Request("sync", bytes, 0, bytes.length);
}
