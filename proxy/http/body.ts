// Reads request bodies within bounds: the beginning that a decision needs, the rest as a stream, and what nobody will read.
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";

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

/** Reads the body, or at least `limit` bytes of it. */
export function readPrefix(request: IncomingMessage, limit: number): Promise<Prefix> {
  return new Promise((resolve, reject) => {
    if (request.complete && request.readableLength === 0) {
      resolve(nothing);
      return;
    }
    const chunks: Buffer[] = [];
    let length = 0;
    const settle = (): void => {
      request.off("data", data).off("end", end).off("close", gone);
    };
    const result = (complete: boolean): void => {
      settle();
      const [only] = chunks;
      resolve({
        bytes: chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, length),
        complete,
      });
    };
    const data = (chunk: Buffer): void => {
      chunks.push(chunk);
      length += chunk.length;
      if (length <= limit) return;
      request.pause();
      result(false);
    };
    const end = (): void => result(true);
    const gone = (): void => {
      settle();
      reject(new ClientGone());
    };
    // Without a listener for it Node keeps a client's reset to itself; `close` follows in any case.
    request.on("data", data).on("end", end).on("close", gone);
  });
}

/**
 * A request body as a stream of its own, beginning with what was already read. The upstream client destroys the stream
 * it is given as soon as an answer is complete; given the request itself, it would take the agent's connection with it.
 */
export class BodyStream extends Readable {
  readonly #request: IncomingMessage;
  readonly #observe: (chunk: Buffer) => void;

  constructor(
    request: IncomingMessage,
    prefix: Buffer | undefined,
    observe: (chunk: Buffer) => void,
  ) {
    super({ highWaterMark: 65_536 });
    // The client that reads it hears of an error while it reads; before and after that nobody has to.
    this.on("error", () => {});
    this.#request = request;
    this.#observe = observe;
    if (prefix !== undefined && prefix.length > 0) this.#push(prefix);
    request
      .on("data", this.#push)
      .on("end", this.#end)
      .on("close", this.#gone)
      .on("error", this.#gone);
    request.pause();
  }

  override _read(): void {
    this.#request.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#request.off("data", this.#push).off("end", this.#end).off("close", this.#gone);
    done(error);
  }

  readonly #push = (chunk: Buffer): void => {
    this.#observe(chunk);
    if (!this.push(chunk)) this.#request.pause();
  };

  readonly #end = (): void => {
    // A request also closes after its end, when what it brought may still wait here for the upstream.
    this.#request.off("close", this.#gone).off("error", this.#gone);
    this.push(null);
  };

  readonly #gone = (): void => {
    if (!this.readableEnded) this.destroy(new ClientGone());
  };
}

/**
 * Takes the rest of a body that nobody reads off the wire, so that the connection stays usable and the client, which
 * may still be sending, gets to read its answer; one that goes on for too long or stalls loses its connection.
 */
export function discardRest(request: IncomingMessage): void {
  if (request.complete && request.readableLength === 0) return;
  let left = discardLimit;
  const timer = setTimeout(() => {
    if (!request.complete) request.socket.destroy();
  }, discardMs).unref();
  request.on("data", (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.socket.destroy();
  });
  const done = (): void => clearTimeout(timer);
  request.once("end", done).once("close", done).on("error", done);
  request.resume();
}

/** From the same machine this is some ten milliseconds of reading. */
const discardLimit = 16 * 1024 * 1024;
const discardMs = 10_000;
