// What one request asks for, whatever the protocol: the operation to decide on, what an approval would bind to, and the body to send once it may go.
import { isIP } from "node:net";

import type { Limits } from "../../policy/bundle.ts";
import type { Decision } from "../../policy/decision.ts";
import type { LlmProvider } from "../../policy/llm/provider.ts";
import type { Counts } from "../../policy/mask/stream.ts";
import type { Operation } from "../../policy/operation.ts";
import { ProxyError } from "../errors.ts";
import { maxContentBytes } from "../pipeline.ts";
import type { PassOptions } from "../pipeline.ts";
import type { BodyStream } from "./body.ts";
import type { Exchange, Observer } from "./exchange.ts";
import type { RequestHead } from "./head.ts";
import type { AnswerForm } from "./headers.ts";
import type { Sendable } from "./credential/sign-request.ts";
import type { AnswerGuard } from "./mask-answer.ts";
import type { Upstream } from "./upstreams.ts";

export interface Asked {
  readonly operation: Operation;
  /** The head as it goes to the upstream, where the body goes on in another form than it came in, or to another place. */
  readonly head?: RequestHead;
  exact(): string;
  readonly content: PassOptions["content"];
  /** Whose answer it is, which says how it is read where it is masked; absent for any server's. */
  readonly provider?: LlmProvider;
  /** Tokens of the request, where its protocol knows of any. */
  readonly inputTokens?: () => number;
  /** What was masked in the request, by detector. */
  readonly masked?: Counts | undefined;
  /** The headers as they may leave, flat; absent where they go as they are. */
  readonly sentHeaders?: ((headers: readonly string[]) => string[]) | undefined;
  /** Where nothing is masked: readable, because the answer is read on the way. */
  readonly form: AnswerForm;
  /** The body as it goes to the upstream; may read more of it. */
  body(decision: Decision): Promise<Buffer | BodyStream | null> | Buffer | BodyStream | null;
  observer(): Observer | undefined;
  /** What looks at the answer instead of the mask of its `speaker`. */
  guard?(upstream: Upstream, sent: Sendable): AnswerGuard;
  /** What of the policy's limits the exchange itself keeps; left out, all. */
  readonly limits?: Limits;
}

/**
 * What the gate is told of an exchange. A class, because its getter must not stand in an object literal: V8 gives each such object a shape
 * of its own, and through these shapes the garbage collector takes every exchange for a long-lived one.
 */
export class AskedOfGate implements PassOptions {
  readonly #exchange: Exchange;
  readonly #asked: Asked;

  constructor(exchange: Exchange, asked: Asked) {
    this.#exchange = exchange;
    this.#asked = asked;
  }

  get content(): PassOptions["content"] {
    return this.#asked.content;
  }

  get inputTokens(): PassOptions["inputTokens"] {
    return this.#asked.inputTokens;
  }

  exact(): string {
    return this.#asked.exact();
  }

  /** Made when it is asked for. */
  get signal(): AbortSignal {
    return this.#exchange.signal;
  }
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
