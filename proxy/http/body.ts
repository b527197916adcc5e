// Reads request bodies within bounds: the beginning that a decision needs, and the rest as a stream.
import { Readable } from "node:stream";

import { Blocks } from "./blocks.ts";
import type { BodyShare } from "./body-budget.ts";
import type { BodyReader, InboundBody } from "./inbound.ts";

/** The agent closed its connection; there is nobody to answer. */
export class ClientGone extends Error {
  constructor() {
    super("the client closed its connection");
    this.name = "ClientGone";
  }
}

export interface Prefix {
  readonly bytes: Buffer;
  /** False when the limit was reached first; the rest is still to be read. */
  readonly complete: boolean;
}

const nothing: Prefix = { bytes: Buffer.alloc(0), complete: true };

/**
 * Reads the body, or at least `limit` bytes of it; at once where it is here already. Rejects with what kept the rest away.
 *
 * @param share what it may hold of what all bodies may
 */
export function readPrefix(
  body: InboundBody,
  limit: number,
  share: BodyShare,
): Prefix | Promise<Prefix> {
  if (body.isComplete) return nothing;
  const reader = new PrefixReader(body, limit, share);
  body.read(reader);
  return reader.result ?? reader.later();
}

class PrefixReader implements BodyReader {
  result: Prefix | undefined;
  readonly #body: InboundBody;
  readonly #limit: number;
  readonly #share: BodyShare;
  #bytes: Buffer = nothing.bytes;
  /** From the second piece on. */
  #pieces: Blocks | undefined;
  #length = 0;
  #failure: Error | undefined;
  #waiting: PromiseWithResolvers<Prefix> | undefined;

  constructor(body: InboundBody, limit: number, share: BodyShare) {
    this.#body = body;
    this.#limit = limit;
    this.#share = share;
  }

  later(): Promise<Prefix> {
    this.#waiting = Promise.withResolvers<Prefix>();
    if (this.#failure !== undefined) this.#waiting.reject(this.#failure);
    return this.#waiting.promise;
  }

  data(chunk: Buffer, isOwn = false): void {
    if (this.#length === 0) this.#bytes = isOwn ? chunk : Buffer.from(chunk);
    else this.#gather(chunk);
    this.#length += chunk.length;
    if (this.#length > this.#limit) {
      this.#body.pause();
      this.#settle(false);
    } else if (!this.#share.grow(this.#length, this.#goOn, this.#giveUp)) this.#body.pause();
  }

  readonly #goOn = (): void => this.#body.resume();

  readonly #giveUp = (error: Error): void => this.failed(error);

  end(): void {
    this.#settle(true);
  }

  failed(error: Error): void {
    this.#failure = error;
    this.#waiting?.reject(error);
  }

  #gather(chunk: Buffer): void {
    if (this.#pieces === undefined) {
      this.#pieces = new Blocks();
      this.#pieces.add(this.#bytes);
      this.#bytes = nothing.bytes;
    }
    this.#pieces.add(chunk);
  }

  #settle(complete: boolean): void {
    const bytes = this.#pieces?.whole() ?? this.#bytes;
    this.#pieces = undefined;
    this.result = { bytes, complete };
    this.#waiting?.resolve(this.result);
  }
}

/** What a body goes through on its way. */
export interface BodyPass {
  /** What goes on once this has come; the stream's to keep. Throws where none of it may. */
  take(chunk: Buffer): Buffer;
  /** The rest; a pass that has one may change how long the body is. */
  end?(): Buffer;
}

/**
 * A request body as a stream of its own, beginning with what was already read. The upstream client destroys the stream
 * it is given as soon as an answer is complete; the agent's connection lives on.
 */
export class BodyStream extends Readable implements BodyReader {
  /** Of all of it; undefined where only its end will tell. */
  readonly length: number | undefined;
  readonly #body: InboundBody;
  readonly #pass: BodyPass;

  constructor(body: InboundBody, prefix: Buffer | undefined, pass: BodyPass) {
    super();
    // The client that reads it hears of an error while it reads; before and after that nobody has to.
    this.on("error", () => {});
    this.length = pass.end === undefined ? body.length : undefined;
    this.#body = body;
    this.#pass = pass;
    if (prefix !== undefined && prefix.length > 0) this.#take(prefix);
    body.read(this);
    body.pause();
  }

  override _read(): void {
    this.#body.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    // What is left is the leg's from here on.
    this.#body.pause();
    done(error);
  }

  data(chunk: Buffer, isOwn = false): void {
    if (!this.destroyed) this.#take(isOwn ? chunk : Buffer.from(chunk));
  }

  end(): void {
    if (this.destroyed) return;
    try {
      const rest = this.#pass.end?.();
      if (rest !== undefined && rest.length > 0) this.push(rest);
      this.push(null);
    } catch (error) {
      this.#broke(error);
    }
  }

  failed(error: Error): void {
    if (!this.readableEnded) this.destroy(error);
  }

  #take(chunk: Buffer): void {
    try {
      const passed = this.#pass.take(chunk);
      if (passed.length > 0 && !this.push(passed)) this.#body.pause();
    } catch (error) {
      this.#broke(error);
    }
  }

  /** Not another byte of it goes on. */
  #broke(error: unknown): void {
    this.destroy(error instanceof Error ? error : new Error(String(error)));
  }
}
