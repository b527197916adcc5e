// Writes the body of a request that streams behind its head: counted where its length is known, else in chunks, at the pace of the connection.
import type { Socket } from "node:net";
import type { Readable } from "node:stream";

import { ProxyError } from "../errors.ts";

const lineEnd = "\r\n";
/** RFC 9112 section 5: what would end a line early cannot stand in one. */
const unwritable = /[^\t\x20-\x7e\x80-\xff]/;

/** How a body that streams ends. */
export interface BodyEnd {
  /** Of all of it; undefined: in chunks. */
  readonly length: number | undefined;
  /** What follows it in its last chunk; asked for when all of it was read. */
  readonly trailers: (() => readonly string[]) | undefined;
}

/** The last chunk of a body, with what follows it. Throws ProxyError for what cannot be written. */
export function lastChunk(trailers: readonly string[]): string {
  let text = "0\r\n";
  for (let at = 0; at + 1 < trailers.length; at += 2) {
    const value = trailers[at + 1] ?? "";
    if (unwritable.test(value))
      throw new ProxyError("MalformedRequest", "the trailers cannot be written as HTTP/1.1");
    text += `${trailers[at]}: ${value}\r\n`;
  }
  return `${text}\r\n`;
}

export class BodyWriter {
  readonly #socket: Socket;
  readonly #body: Readable;
  readonly #failed: (error: Error) => void;
  readonly #trailers: BodyEnd["trailers"];
  /** Of a known length; undefined in chunks. */
  #left: number | undefined;
  #isWhole = false;

  /** @param failed the body will never be whole, so the request cannot end */
  constructor(
    socket: Socket,
    body: Readable,
    { length, trailers }: BodyEnd,
    failed: (error: Error) => void,
  ) {
    this.#socket = socket;
    this.#body = body;
    this.#left = length;
    this.#failed = failed;
    this.#trailers = trailers;
  }

  /** All of it was written. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  start(): void {
    // It broke while the request waited for a connection: no listener would hear of it any more.
    if (this.#body.destroyed && !this.#body.readableEnded) {
      this.#failed(this.#body.errored ?? endedEarly());
      return;
    }
    this.#body.on("end", this.#onEnd).on("error", this.#onError).on("close", this.#onClose);
    this.#body.on("data", this.#onData);
  }

  /** What is left of it is not this connection's any more. */
  stop(): void {
    this.#body.off("data", this.#onData).off("end", this.#onEnd);
    this.#body.off("error", this.#onError).off("close", this.#onClose);
    this.#socket.off("drain", this.#onDrain);
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#left !== undefined && (this.#left -= chunk.length) < 0) {
      this.#fail(lengthFault());
      return;
    }
    if (this.#write(chunk)) return;
    this.#body.pause();
    this.#socket.once("drain", this.#onDrain);
  };

  readonly #onDrain = (): void => {
    this.#body.resume();
  };

  readonly #onEnd = (): void => {
    if (this.#left !== undefined && this.#left > 0) {
      this.#fail(lengthFault());
      return;
    }
    try {
      const end = this.#left === undefined ? lastChunk(this.#trailers?.() ?? []) : "";
      this.#isWhole = true;
      this.stop();
      if (end !== "") this.#socket.write(end, "latin1");
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  };

  readonly #onError = (error: Error): void => this.#fail(error);

  readonly #onClose = (): void => this.#fail(endedEarly());

  #write(chunk: Buffer): boolean {
    if (this.#left !== undefined) return this.#socket.write(chunk);
    this.#socket.cork();
    this.#socket.write(`${chunk.length.toString(16)}${lineEnd}`, "latin1");
    this.#socket.write(chunk);
    const goesOn = this.#socket.write(lineEnd, "latin1");
    this.#socket.uncork();
    return goesOn;
  }

  #fail(error: Error): void {
    this.stop();
    this.#failed(error);
  }
}

function endedEarly(): Error {
  return new Error("the body of the request ended early");
}

function lengthFault(): ProxyError {
  return new ProxyError(
    "MalformedRequest",
    "the request's body is not as long as its Content-Length says",
  );
}
