// One request and its answer: sends what was allowed to the upstream, streams the answer back as it comes, and records what happened.
import { Readable } from "node:stream";
import type { Duplex } from "node:stream";

import type { EventOutcome, EventTokens } from "../../contract/event.ts";
import type { Decision } from "../../policy/decision.ts";
import type { Protocol } from "../../policy/operation.ts";
import type { Counts } from "../../policy/mask/stream.ts";
import { ProxyError } from "../errors.ts";
import { answerLimits } from "./answer-limits.ts";
import type { AnswerLimits } from "./answer-limits.ts";
import type { Limits } from "../../policy/bundle.ts";
import type { AnswerBudget } from "../budget/answer-budget.ts";
import type { Content, Passage } from "../pipeline.ts";
import { ClientGone, readPrefix } from "./body.ts";
import type { Prefix } from "./body.ts";
import type { BodyBudget, BodyShare } from "./body-budget.ts";
import type { ClientConnection } from "./client.ts";
import { DecodedAnswer } from "./decoded-answer.ts";
import { agentHeaders, besideHeaders } from "./headers.ts";
import type { InboundAnswer, InboundEvents, InboundRequest } from "./inbound.ts";
import type { AnswerRules } from "./headers.ts";
import { detected } from "./mask-answer.ts";
import type { AnswerGuard } from "./mask-answer.ts";
import { clientLeft, named } from "./exchange-error.ts";
import { refusalOf } from "./refusal.ts";
import { RestoringAnswer } from "./restoring-answer.ts";
import type { Restoring } from "./restoring-answer.ts";
import { dispatchAgain } from "./retries.ts";
import type { AnswerControl, AnswerHandler, UpstreamRequest } from "./upstream-connection.ts";
import type { Upstream } from "./upstreams.ts";
import { upstreamError } from "./upstream-error.ts";

export type Granted = Extract<Passage, { go: true }>;
type ResponseHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** Looks at an answer on its way without holding it up. */
export interface Observer {
  start(status: number, headers: ResponseHeaders): void;
  take(chunk: Buffer): void;
  finish(): {
    readonly contents: readonly Content[];
    readonly tokens?: EventTokens;
    /** What the answer says went wrong, although HTTP says that it went well. */
    readonly error?: string;
  };
}

export interface Outgoing {
  readonly request: UpstreamRequest;
  readonly observer: Observer | undefined;
  readonly answer: AnswerRules;
  /** The answer is read on the way: an encoding that was not asked for is removed. */
  readonly decodes?: boolean;
  /** What stands between the upstream's answer and the agent. */
  readonly mask?: AnswerGuard | undefined;
  /** What counts it as it streams, after the mask. */
  readonly budget?: AnswerBudget | undefined;
  /** What was masked in the request, by detector. */
  readonly masked?: Counts | undefined;
  /** Puts values back where their tokens stand, behind all that looks at the answer. */
  readonly restoring?: Restoring | undefined;
  readonly retries: number;
  readonly limits: Limits;
}

/** Requests of one connection that are sent or wait for a free upstream connection: as many as an agent may have open over one of its own. */
const maxInFlight = 1_024;
/** A short answer's last piece waits for the end of the message, which the same read brings. */
const pieceLimit = 16 * 1024;

/** Of what is said between two pieces to a client that does not read. */
const maxOverdue = 1024 * 1024;

export class Exchange implements AnswerHandler, InboundEvents {
  readonly request: InboundRequest;
  readonly client: ClientConnection;
  /** What it holds of what all requests may. */
  readonly share: BodyShare;
  /** Set once it is known; decides how a refusal is said. */
  protocol: Protocol | undefined;
  /** How a refusal is said, where the protocol alone does not say it. */
  say: typeof refusalOf = refusalOf;
  /** `namespace/name`, as soon as it is known: failures on the way to an upstream name it. */
  connection: string | undefined;
  /** Of the request's body, as far as it was read. */
  bytesIn = 0;
  #answer: InboundAnswer;
  #bytesOut = 0;
  #status = 0;
  /** The length of the answer where it is known, and its last piece when that completes it. */
  #length = -1;
  #last: Buffer | undefined;
  #startedMs = 0;
  #finished = false;
  /** The agent has left; nobody hears an answer. */
  isGone = false;
  #left: AbortController | undefined;
  #controller: AnswerControl | undefined;
  #isPaused = false;
  /** Said between two pieces since the client stopped reading: nothing upstream can be made to wait for that. */
  #overdue = 0;
  #passage: Granted | undefined;
  #upstream: Upstream | undefined;
  #observer: Observer | undefined;
  #mask: AnswerGuard | undefined;
  #budget: AnswerBudget | undefined;
  /** The limit that cut it off. */
  #limit: string | undefined;
  #limits: AnswerLimits | undefined;
  #masked: Counts | undefined;
  #rules: AnswerRules = { passesCookies: false, hide: undefined, conceal: (text) => text };
  #body: Readable | undefined;

  constructor(request: InboundRequest, client: ClientConnection, budget: BodyBudget) {
    this.share = budget.share();
    this.request = request;
    this.client = client;
    this.#answer = request.answer;
  }

  /** Aborts when the agent is gone. Made when it is asked for: most exchanges never wait for anything. */
  get signal(): AbortSignal {
    if (this.#left === undefined) {
      this.#left = new AbortController();
      if (this.isGone) this.#left.abort(clientLeft());
    }
    return this.#left.signal;
  }

  readPrefix(limit: number): Prefix | Promise<Prefix> {
    return readPrefix(this.request.body, limit, this.share);
  }

  /** Makes room for a body that grew: resolves once all that is held has it, rejects when there was none in time. */
  hold(length: number): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.share.grow(length, resolve, reject)) resolve();
    });
  }

  send(upstream: Upstream, passage: Granted, outgoing: Outgoing): void {
    this.#passage = passage;
    this.#observer = outgoing.observer;
    this.#mask = outgoing.mask;
    this.#budget = outgoing.budget;
    this.#masked = outgoing.masked;
    this.#rules = outgoing.answer;
    if (outgoing.restoring !== undefined)
      this.#answer = new RestoringAnswer(this.#answer, outgoing.restoring, (e) => this.end(e));
    const { request } = outgoing;
    if (request.body instanceof Readable) this.#body = request.body;
    this.#startedMs = performance.now();
    if (this.isGone) {
      this.#release();
      this.#record("error", "ClientGone");
      return;
    }
    if (upstream.inFlight >= maxInFlight) {
      this.fail(
        new ProxyError(
          "LimitExceeded",
          `${maxInFlight} requests are already under way on this connection; wait for some to end`,
        ),
      );
      return;
    }
    upstream.inFlight++;
    this.#upstream = upstream;
    this.#limits = answerLimits(outgoing.limits, (reason) => this.end(reason));
    dispatchAgain(
      upstream.pool,
      request,
      outgoing.decodes === true ? new DecodedAnswer(this, request.method) : this,
      this.#body === undefined ? outgoing.retries : 0,
    );
  }

  /** Answers with a refusal; the connection stays usable. */
  refuse(error: ProxyError, decision?: Decision): void {
    if (this.#finished) return;
    if (this.#answer.hasBegun || this.isGone) {
      this.#abortAgent();
      return;
    }
    const whole = named(error, this.connection);
    const refusal = this.say(whole, decision, this.protocol, this.request.target);
    this.#answer.begin(refusal.status, refusal.headers);
    this.#answer.end(refusal.body);
    this.#finish();
  }

  /** Says something in an answer that has begun and goes on, between two pieces of what the upstream says. */
  interject(chunk: Buffer): void {
    if (!this.#answer.hasBegun || this.#finished || this.isGone) return;
    this.#bytesOut += chunk.length;
    this.#observer?.take(chunk);
    if (this.#answer.write(chunk)) return;
    this.#overdue += chunk.length;
    this.#isPaused = true;
    this.#controller?.pause();
    if (this.#overdue > maxOverdue)
      this.end(new ProxyError("LimitExceeded", "the client does not read what it is told"));
  }

  /** A whole answer that did not come by `send`. */
  respond(status: number, headers: readonly string[], body: Buffer): void {
    if (this.#finished || this.isGone) return;
    this.#answer.begin(status, headers);
    this.#answer.end(body);
    this.#finish();
  }

  /** Something went wrong on the way: recorded if it was allowed, and said as what it is. */
  fail(error: ProxyError): void {
    this.#release();
    this.#record("error", error.code);
    this.refuse(error);
  }

  /** Gives the connection up for another protocol, with this head instead of an answer. */
  handOver(status: number, headers: readonly string[]): Duplex {
    const raw = this.request.handOver(status, headers);
    this.#finish();
    return raw;
  }

  /** Ends it now, whatever the upstream is doing: refused with this error where no answer has begun, else broken off. */
  end(error: ProxyError): void {
    if (this.#finished || this.isGone) return;
    const controller = this.#controller;
    if (this.#answer.hasBegun) this.#abortAgent();
    else {
      this.#record(controller === undefined ? "error" : "unknown", error.code);
      this.refuse(error);
    }
    controller?.abort(error);
  }

  drained(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#overdue = 0;
    this.#limits?.touch();
    this.#controller?.resume();
  }

  /** The upstream hears of it at once. */
  gone(): void {
    if (this.#finished) return;
    this.isGone = true;
    this.#left?.abort(clientLeft());
    this.#controller?.abort(new ClientGone());
  }

  broken(error: ProxyError): void {
    this.end(error);
  }

  onRequestStart(controller: AnswerControl): void {
    this.#controller = controller;
    // Answered or left while it waited for a free connection: nothing is sent any more.
    if (this.isGone || this.#finished) controller.abort(new ClientGone());
  }

  onResponseStart(controller: AnswerControl, status: number, received: ResponseHeaders): void {
    if (status < 100 || status > 999) {
      controller.abort(
        new ProxyError("UpstreamProtocol", "the upstream gave a status that HTTP does not have"),
      );
      return;
    }
    // RFC 9110 section 15.2: informational answers are passed on.
    if (status < 200) {
      this.#answer.inform(status, this.#headers(received));
      return;
    }
    this.#status = status;
    const masked = this.#tried(controller, (mask) => mask.begin(status, received), received);
    if (masked === undefined) return;
    const headers = this.#budget === undefined ? masked : this.#budget.begin(status, masked);
    this.#observer?.start(status, headers);
    const length = headers["content-length"];
    if (length !== undefined) this.#length = Number(length);
    this.#limits?.touch();
    const hasBody = this.request.method !== "HEAD" && status !== 304;
    if (hasBody && this.#isOver(controller, this.#limits?.refuses(this.#length))) return;
    this.#answer.begin(status, agentHeaders(headers, this.#rules));
  }

  onResponseData(controller: AnswerControl, received: Buffer): void {
    if (this.#isOver(controller, this.#limits?.take(received.length))) return;
    const masked = this.#tried(controller, (mask) => mask.data(received), received);
    if (masked !== undefined && this.#mask?.isOver === true)
      return this.#cutShort(controller, masked);
    const chunk =
      masked === undefined || this.#budget === undefined
        ? masked
        : this.#counted(controller, this.#budget, masked);
    if (chunk === undefined || chunk.length === 0) return;
    this.#bytesOut += chunk.length;
    this.#observer?.take(chunk);
    if (this.#bytesOut === this.#length && chunk.length <= pieceLimit) {
      this.#last = chunk;
      return;
    }
    if (this.#answer.write(chunk)) return;
    this.#isPaused = true;
    controller.pause();
  }

  onResponseEnd(controller: AnswerControl, trailers: ResponseHeaders): void {
    const masked = this.#tried(controller, (mask) => mask.end(), undefined);
    if (this.#finished) return;
    const rest =
      this.#budget === undefined ? masked : this.#countedRest(controller, this.#budget, masked);
    if (this.#finished) return;
    if (rest !== undefined && rest.length > 0) {
      this.#bytesOut += rest.length;
      this.#observer?.take(rest);
      this.#last = rest;
    }
    // What is left of the request is the leg's once it is answered.
    this.#release();
    // The last piece is still valid: the same read ended the answer.
    this.#answer.end(this.#last, this.#headers(trailers));
    this.#last = undefined;
    this.#record(this.#status < 400 ? "ok" : "error");
    this.#finish();
  }

  onResponseError(_controller: AnswerControl | null, failure: Error): void {
    this.#release();
    const error = upstreamError(failure);
    // Once a request was on its way, nobody knows what the upstream made of it.
    const sent = this.#controller !== undefined && this.#status === 0;
    this.#record(sent ? "unknown" : "error", this.isGone ? "ClientGone" : error.code);
    if (this.isGone) this.#finish();
    else this.refuse(error);
  }

  /** Ends a well-formed answer here: nothing of what the upstream still has to say is for the agent. */
  #cutShort(controller: AnswerControl, last: Buffer): void {
    this.#bytesOut += last.length;
    this.#observer?.take(last);
    this.#release();
    this.#answer.end(last);
    this.#record("error", "LimitExceeded");
    this.#finish();
    controller.abort(new ClientGone());
  }

  /** Of what comes before and behind an answer; fields that may not be shown are left out, and nothing hangs on them. */
  #headers(headers: ResponseHeaders): string[] {
    try {
      return besideHeaders(this.#mask?.headers(headers) ?? headers, this.#rules);
    } catch {
      return [];
    }
  }

  /** What the mask makes of it, or what came where there is none; undefined when it had to break the answer off. */
  #tried<T>(controller: AnswerControl, run: (mask: AnswerGuard) => T, unmasked: T): T | undefined {
    if (this.#mask === undefined) return unmasked;
    try {
      return run(this.#mask);
    } catch (error) {
      this.#isOver(
        controller,
        upstreamError(error instanceof Error ? error : new Error(String(error))),
      );
      return undefined;
    }
  }

  /** What of it the budgets allow; undefined where that ended the answer. */
  #counted(controller: AnswerControl, budget: AnswerBudget, chunk: Buffer): Buffer | undefined {
    try {
      const { bytes, over, isBroken } = budget.take(chunk);
      if (over === undefined) return bytes;
      this.#cut(controller, over, bytes, isBroken === true);
    } catch (error) {
      this.#isOver(
        controller,
        upstreamError(error instanceof Error ? error : new Error(String(error))),
      );
    }
    return undefined;
  }

  #countedRest(
    controller: AnswerControl,
    budget: AnswerBudget,
    rest: Buffer | undefined,
  ): Buffer | undefined {
    const counted = rest === undefined ? undefined : this.#counted(controller, budget, rest);
    if (this.#finished) return undefined;
    return Buffer.concat([counted ?? Buffer.alloc(0), budget.rest()]);
  }

  /** The budget is used up: the agent gets an end that its SDK understands, and the upstream stops. */
  #cut(controller: AnswerControl, limit: string, last: Buffer, isBroken: boolean): void {
    const reason = new ProxyError("BudgetExceeded", `the answer used up limits.${limit}`);
    this.#limit = limit;
    this.#bytesOut += last.length;
    this.#observer?.take(last);
    this.#release();
    this.#record("error", reason.code);
    if (isBroken) {
      this.#answer.write(last);
      this.#abortAgent();
    } else {
      this.#answer.end(last);
      this.#finish();
    }
    controller.abort(reason);
  }

  /** Breaks the answer off for this reason, if there is one. */
  #isOver(controller: AnswerControl, reason: ProxyError | undefined): boolean {
    if (reason === undefined) return false;
    this.onResponseError(controller, reason);
    controller.abort(reason);
    return true;
  }

  #record(status: EventOutcome["status"], error?: string): void {
    const passage = this.#passage;
    if (passage === undefined) return;
    this.#passage = undefined;
    const observed = this.#observer?.finish();
    const failure = error ?? observed?.error;
    const plain = {
      status: failure !== undefined && status === "ok" ? "error" : status,
      bytesIn: this.bytesIn,
      bytesOut: this.#bytesOut,
      durationMs: Math.round((performance.now() - this.#startedMs) * 10) / 10,
    } as const;
    const outcome = this.#status > 0 ? { ...plain, httpStatus: this.#status } : plain;
    const isPlain = failure === undefined && observed === undefined && this.#counts === undefined;
    passage.done(
      isPlain ? outcome : { ...outcome, ...this.#details(failure, observed?.tokens) },
      observed?.contents.map((one) => ({ ...one, text: this.#rules.conceal(one.text) })),
    );
  }

  /** Of what was masked. */
  get #counts(): Counts | undefined {
    return this.#masked ?? this.#mask?.counts;
  }

  /** What few outcomes have. */
  #details(failure: string | undefined, tokens: EventTokens | undefined): Partial<EventOutcome> {
    return {
      ...detected(this.#masked, this.#mask?.counts),
      ...(tokens !== undefined && { tokens }),
      ...(failure !== undefined && { error: failure }),
      ...(this.#limit !== undefined && { limit: this.#limit }),
    };
  }

  #release(): void {
    this.#limits?.stop();
    if (this.#upstream !== undefined) this.#upstream.inFlight--;
    this.#upstream = undefined;
    // What is left of the request is no longer the upstream's.
    this.#body?.destroy();
    this.#body = undefined;
  }

  /** An answer that broke off must not look like one that ended. */
  #abortAgent(): void {
    this.#answer.abort();
    this.#finish();
  }

  #finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.share.release();
    this.client.finished(this);
  }
}
