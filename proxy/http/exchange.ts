// One request and its answer: sends what was allowed to the upstream, streams the answer back as it comes, and records what happened.
import type { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { TLSSocket } from "node:tls";

import type { EventOutcome } from "../../contract/event.ts";
import type { Decision } from "../../policy/decision.ts";
import type { Protocol } from "../../policy/operation.ts";
import { ProxyError } from "../errors.ts";
import type { Content, Passage } from "../pipeline.ts";
import { BodyStream, ClientGone, discardRest, readPrefix } from "./body.ts";
import type { Prefix } from "./body.ts";
import type { ClientConnection } from "./client.ts";
import { agentHeaders } from "./headers.ts";
import { refusalOf } from "./refusal.ts";
import type { AnswerControl, AnswerHandler } from "./upstream-connection.ts";
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
    readonly tokens?: { readonly input: number; readonly output: number };
  };
}

export interface Outgoing {
  readonly method: string;
  readonly path: string;
  readonly headers: string[];
  readonly body: Buffer | BodyStream | null;
  readonly observer: Observer | undefined;
}

/** Requests of one connection that are sent or wait for a free upstream connection. */
const maxInFlight = 512;
/** A short answer's last piece waits for the end of the message, which the same read brings. */
const pieceLimit = 16 * 1024;

export class Exchange implements AnswerHandler {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly client: ClientConnection;
  /** Set once it is known; decides how a refusal is said. */
  protocol: Protocol | undefined;
  /** `namespace/name`, as soon as it is known: failures on the way to an upstream name it. */
  connection: string | undefined;
  /** Of the request's body, as far as it was read. */
  bytesIn = 0;
  #bytesOut = 0;
  #status = 0;
  /** The length of the answer where it is known, and its last piece when that completes it. */
  #length = -1;
  #last: Buffer | undefined;
  #startedMs = 0;
  #continueOwed: boolean;
  #finished = false;
  #gone = false;
  #controller: AnswerControl | undefined;
  #passage: Granted | undefined;
  #upstream: Upstream | undefined;
  #observer: Observer | undefined;
  #body: BodyStream | undefined;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    client: ClientConnection,
    expectsContinue: boolean,
  ) {
    this.request = request;
    this.response = response;
    this.client = client;
    this.#continueOwed = expectsContinue;
  }

  /** Tells a client that waits for it that its body is wanted; from here on it is read. */
  wantBody(): void {
    if (!this.#continueOwed) return;
    this.#continueOwed = false;
    this.response.writeContinue();
  }

  async readPrefix(limit: number): Promise<Prefix> {
    this.wantBody();
    return readPrefix(this.request, limit);
  }

  send(upstream: Upstream, passage: Granted, outgoing: Outgoing): void {
    this.#passage = passage;
    this.#observer = outgoing.observer;
    if (outgoing.body instanceof BodyStream) this.#body = outgoing.body;
    this.#startedMs = performance.now();
    if (this.#gone) {
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
    const { method, path, headers, body } = outgoing;
    if (body instanceof BodyStream && upstream.streaming !== undefined)
      upstream.streaming.dispatch({ method, path, headers, body }, this);
    else upstream.known.dispatch({ method, path, headers, body }, this);
  }

  /** Answers with a refusal; the connection stays usable. */
  refuse(error: ProxyError, decision?: Decision): void {
    if (this.#finished) return;
    if (this.response.headersSent || this.#gone) {
      this.#abortAgent();
      return;
    }
    const refusal = refusalOf(named(error, this.connection), decision, this.protocol);
    if (this.client.ended !== undefined) refusal.headers.push("connection", "close");
    this.response.writeHead(refusal.status, refusal.headers);
    this.response.end(refusal.body);
    this.#finish();
    discardRest(this.request);
  }

  /** Something went wrong on the way: recorded if it was allowed, and said as what it is. */
  fail(error: ProxyError): void {
    this.#release();
    this.#record("error", error.code);
    this.refuse(error);
  }

  /** Ends it now, whatever the upstream is doing. False when the answer has begun: then only breaking off is left. */
  cut(error: ProxyError): boolean {
    if (this.#finished || this.#gone || this.response.headersSent) return false;
    const controller = this.#controller;
    this.#record(controller === undefined ? "error" : "unknown", error.code);
    this.refuse(error);
    controller?.abort(error);
    return true;
  }

  /** The agent closed its connection: the upstream hears of it at once. */
  clientGone(): void {
    if (this.#finished) return;
    this.#gone = true;
    this.#controller?.abort(new ClientGone());
  }

  onRequestStart(controller: AnswerControl): void {
    this.#controller = controller;
    // Answered or left while it waited for a free connection: nothing is sent any more.
    if (this.#gone || this.#finished) controller.abort(new ClientGone());
  }

  onResponseStart(_controller: AnswerControl, status: number, headers: ResponseHeaders): void {
    if (status < 200) {
      this.#inform(status, headers);
      return;
    }
    this.#status = status;
    const kept = agentHeaders(headers);
    if (this.client.ended !== undefined) kept.push("connection", "close");
    this.#observer?.start(status, headers);
    this.response.writeHead(status, kept);
    // A stream's first byte may be seconds away; the agent learns at once that it was accepted.
    const length = headers["content-length"];
    if (length === undefined) this.response.flushHeaders();
    else this.#length = Number(length);
  }

  onResponseData(controller: AnswerControl, chunk: Buffer): void {
    this.#bytesOut += chunk.length;
    this.#observer?.take(chunk);
    if (this.#bytesOut === this.#length && chunk.length <= pieceLimit) {
      this.#last = chunk;
      return;
    }
    // A copy: the chunk is the connection's, which reads on.
    if (this.response.write(Buffer.from(chunk))) return;
    controller.pause();
    this.response.once("drain", () => controller.resume());
  }

  onResponseEnd(_controller: AnswerControl, trailers: ResponseHeaders): void {
    if (Object.keys(trailers).length > 0)
      this.response.addTrailers(toPairs(agentHeaders(trailers)));
    // A string joins the head in one write; as bytes it would be a vector of two. The chunk is still valid: the same read ended the answer.
    if (this.#last === undefined) this.response.end();
    else this.response.end(this.#last.toString("latin1"), "latin1");
    this.#release();
    this.#record(this.#status < 400 ? "ok" : "error");
    this.#finish();
    discardRest(this.request);
  }

  onResponseError(_controller: AnswerControl | null, failure: Error): void {
    this.#release();
    const error = upstreamError(failure);
    // Once a request was on its way, nobody knows what the upstream made of it.
    const sent = this.#controller !== undefined && this.#status === 0;
    this.#record(sent ? "unknown" : "error", this.#gone ? "ClientGone" : error.code);
    if (this.#gone) this.#finish();
    else this.refuse(error);
  }

  /** RFC 9110 section 15.2: informational answers are passed on, to clients that know them. */
  #inform(status: number, headers: ResponseHeaders): void {
    if (this.request.httpVersionMinor === 0) return;
    const link = headers["link"];
    if (status === 102) this.response.writeProcessing();
    else if (status === 103 && link !== undefined) this.response.writeEarlyHints({ link });
  }

  #record(status: EventOutcome["status"], error?: string): void {
    const passage = this.#passage;
    if (passage === undefined) return;
    this.#passage = undefined;
    const observed = this.#observer?.finish();
    const outcome: EventOutcome = {
      status,
      bytesIn: this.bytesIn,
      bytesOut: this.#bytesOut,
      durationMs: Math.round((performance.now() - this.#startedMs) * 10) / 10,
      ...(this.#status > 0 && { httpStatus: this.#status }),
      ...(observed?.tokens !== undefined && { tokens: observed.tokens }),
      ...(error !== undefined && { error }),
    };
    passage.done(outcome, observed?.contents);
  }

  #release(): void {
    if (this.#upstream !== undefined) this.#upstream.inFlight--;
    this.#upstream = undefined;
    // What is left of the request is no longer the upstream's.
    this.#body?.destroy();
    this.#body = undefined;
  }

  /** An answer that broke off must not look like one that ended. */
  #abortAgent(): void {
    const { socket } = this.request;
    // TLS has its own end mark, which destroy leaves out; plain TCP needs a reset to differ from the end of a close-delimited answer.
    if (socket instanceof Socket && !(socket instanceof TLSSocket)) socket.resetAndDestroy();
    else socket.destroy();
    this.#finish();
  }

  #finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.client.finished(this);
  }
}

/** Whoever has to mend it looks for the Connection, not for an address. */
function named(error: ProxyError, connection: string | undefined): ProxyError {
  if (error.status < 500 || connection === undefined || error.message.includes(connection))
    return error;
  return new ProxyError(error.code, `connection ${connection}: ${error.message}`, { cause: error });
}

function toPairs(flat: readonly string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at + 1 < flat.length; at += 2) pairs.push([flat[at] ?? "", flat[at + 1] ?? ""]);
  return pairs;
}
