// An answer that an upstream encoded although it was asked not to, read as what it says: who masks, counts and records it hears of it
// decoded, and so does the agent.
import { ProxyError } from "../errors.ts";
import { decoders } from "./decoders.ts";
import type { Decoder } from "./decoders.ts";
import type { AnswerControl, AnswerHandler } from "./upstream-connection.ts";
import type { AnswerHeaders } from "./upstream-parser.ts";

/** They speak of the bytes that came. */
const untrue: ReadonlySet<string> = new Set([
  "content-encoding",
  "content-length",
  "content-md5",
  "digest",
  "content-digest",
  "accept-ranges",
]);

const noTrailers: AnswerHeaders = Object.freeze({});

export class DecodedAnswer implements AnswerHandler, AnswerControl {
  readonly #handler: AnswerHandler;
  readonly #method: string;
  #upstream: AnswerControl | undefined;
  #decoder: Decoder | undefined;
  /** The upstream has said everything; what is left is in the decoder. */
  #hasCome = false;
  /** Of the body, encoded. */
  #received = 0;
  #isOver = false;
  #trailers: AnswerHeaders = noTrailers;

  /** @param method of the request: the answer to HEAD has no body to decode */
  constructor(handler: AnswerHandler, method: string) {
    this.#handler = handler;
    this.#method = method;
  }

  onRequestStart(control: AnswerControl): void {
    this.#upstream = control;
    this.#handler.onRequestStart(this);
  }

  onResponseStart(control: AnswerControl, status: number, headers: AnswerHeaders): void {
    this.#upstream = control;
    const make = this.#decoderOf(status, headers);
    if (make === undefined) {
      this.#handler.onResponseStart(this, status, headers);
      return;
    }
    this.#decoder = this.#listenTo(make());
    const rest = Object.entries(headers).filter(([name]) => !untrue.has(name));
    this.#handler.onResponseStart(this, status, Object.fromEntries(rest));
  }

  onResponseData(control: AnswerControl, chunk: Buffer): void {
    if (this.#decoder === undefined) {
      this.#handler.onResponseData(this, chunk);
      return;
    }
    this.#received += chunk.length;
    // A copy: the chunk is valid only while this is called.
    if (!this.#isOver && !this.#decoder.write(Buffer.from(chunk))) control.pause();
  }

  onResponseEnd(_control: AnswerControl, trailers: AnswerHeaders): void {
    if (this.#isOver) return;
    this.#hasCome = true;
    if (this.#decoder === undefined) {
      this.#isOver = true;
      this.#handler.onResponseEnd(this, trailers);
      return;
    }
    this.#trailers = trailers;
    this.#decoder.end();
  }

  onResponseError(_control: AnswerControl | null, error: Error): void {
    this.#fail(error);
  }

  pause(): void {
    if (this.#decoder === undefined) this.#upstream?.pause();
    else this.#decoder.pause();
  }

  resume(): void {
    if (this.#decoder === undefined) this.#upstream?.resume();
    else this.#decoder.resume();
  }

  abort(reason: Error): void {
    if (this.#hasCome) this.#fail(reason);
    else this.#upstream?.abort(reason);
  }

  #decoderOf(status: number, headers: AnswerHeaders): (() => Decoder) | undefined {
    const encoding = headers["content-encoding"];
    const hasBody = this.#method !== "HEAD" && status >= 200 && status !== 204 && status !== 304;
    // A part of an encoded whole decodes to nothing.
    if (!hasBody || status === 206 || typeof encoding !== "string") return undefined;
    return decoders.get(encoding.trim().toLowerCase());
  }

  #listenTo(decoder: Decoder): Decoder {
    decoder.on("data", (chunk: Buffer) => {
      if (!this.#isOver) this.#handler.onResponseData(this, chunk);
    });
    decoder.on("drain", () => this.#upstream?.resume());
    decoder.on("end", () => {
      if (this.#isOver) return;
      // Something follows that it did not take.
      if (!this.#hasCome || decoder.bytesWritten !== this.#received) {
        this.#broken();
        return;
      }
      this.#isOver = true;
      this.#handler.onResponseEnd(this, this.#trailers);
    });
    decoder.on("error", (error) => this.#broken(error));
    return decoder;
  }

  #broken(cause?: Error): void {
    const reason = new ProxyError(
      "UpstreamProtocol",
      "the upstream's answer is not encoded as its Content-Encoding says",
      { cause },
    );
    this.#upstream?.abort(reason);
    this.#fail(reason);
  }

  #fail(error: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#decoder?.destroy();
    this.#handler.onResponseError(this, error);
  }
}
