// Reads exact numbers of bytes from a socket while a connection is being set up; afterwards the stream is handed on with what was left over.
import type { Duplex } from "node:stream";
import { WireError } from "./framer.ts";

/** No message of a handshake is longer; what a peer sends ahead beyond it is left in the kernel's buffer. */
const maxBufferedBytes = 64 * 1024;

/** The peer closed the connection before it was set up. */
export class ConnectionEnded extends Error {
  override readonly name = "ConnectionEnded";
}

export class ByteReader {
  readonly #socket: Duplex;
  readonly #signal: AbortSignal;
  #bytes: Buffer = Buffer.alloc(0);
  #failure: unknown;
  #waiting: { count: number; resolve: () => void; reject: (error: unknown) => void } | undefined;

  constructor(socket: Duplex, signal: AbortSignal) {
    this.#socket = socket;
    this.#signal = signal;
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("close", this.#onEnd);
    socket.on("error", this.#onError);
    signal.addEventListener("abort", this.#onAbort);
    socket.resume();
  }

  /** Waits for `count` bytes and takes them. */
  async read(count: number): Promise<Buffer> {
    const bytes = await this.peek(count);
    this.#bytes = this.#bytes.subarray(count);
    if (this.#bytes.length < maxBufferedBytes) this.#socket.resume();
    return bytes;
  }

  /** Waits for `count` bytes and leaves them. */
  async peek(count: number): Promise<Buffer> {
    if (count > maxBufferedBytes)
      throw new WireError(`a message of ${count} bytes is too long here`);
    this.#signal.throwIfAborted();
    if (this.#bytes.length < count) {
      if (this.#failure !== undefined) throw this.#failure;
      await new Promise<void>((resolve, reject) => {
        this.#waiting = { count, resolve, reject };
      });
    }
    return this.#bytes.subarray(0, count);
  }

  /** Stops reading; returns what came and was not taken. */
  detach(): Buffer {
    this.#socket.pause();
    this.#socket.off("data", this.#onData);
    this.#socket.off("end", this.#onEnd);
    this.#socket.off("close", this.#onEnd);
    this.#socket.off("error", this.#onError);
    this.#signal.removeEventListener("abort", this.#onAbort);
    const rest = this.#bytes;
    this.#bytes = Buffer.alloc(0);
    return rest;
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    if (this.#bytes.length >= maxBufferedBytes) this.#socket.pause();
    const waiting = this.#waiting;
    if (waiting === undefined || this.#bytes.length < waiting.count) return;
    this.#waiting = undefined;
    waiting.resolve();
  };

  readonly #onEnd = (): void => this.#fail(new ConnectionEnded("the peer closed the connection"));
  readonly #onError = (error: Error): void => this.#fail(error);
  readonly #onAbort = (): void => this.#fail(this.#signal.reason);

  #fail(error: unknown): void {
    this.#failure ??= error;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(this.#failure);
  }
}
