// The `aws-chunked` content coding: taken off what an agent's SDK sent, and put on, signed chunk by chunk, where a body streams.
import { Transform } from "node:stream";
import type { TransformCallback } from "node:stream";

import { ProxyError } from "../../errors.ts";
import { signChunk } from "./sigv4.ts";
import type { Signature } from "./sigv4.ts";

/** As AWS's own SDKs; S3 asks for at least 8 KiB. */
export const chunkBytes = 64 * 1024;
/** `HEX;chunk-signature=` and 64 hexadecimal digits. */
const maxLine = 256;
/** Checksums after the last chunk. */
const maxTrailerBytes = 4 * 1024;
/** One chunk of an SDK; it is passed on as it comes, so this only refuses numbers that are none. */
const maxChunkBytes = 1024 ** 3;

/** How long `length` bytes are once they are encoded. */
export function encodedLength(length: number): number {
  const whole = Math.floor(length / chunkBytes);
  const rest = length % chunkBytes;
  return whole * framed(chunkBytes) + (rest > 0 ? framed(rest) : 0) + framed(0);
}

function framed(size: number): number {
  return size.toString(16).length + ";chunk-signature=".length + 64 + 2 + size + 2;
}

/** Signs as it goes: what is sent is never held for more than one chunk. */
export class AwsChunkedEncoder extends Transform {
  readonly #signature: Signature;
  readonly #date: string;
  #before: string;
  #pieces: Buffer[] = [];
  #length = 0;

  constructor(signature: Signature, date: string) {
    super({ highWaterMark: chunkBytes });
    this.#signature = signature;
    this.#date = date;
    this.#before = signature.signature;
  }

  override _transform(piece: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#pieces.push(piece);
    this.#length += piece.length;
    if (this.#length >= chunkBytes) {
      let bytes = Buffer.concat(this.#pieces, this.#length);
      while (bytes.length >= chunkBytes) {
        this.#emit(bytes.subarray(0, chunkBytes));
        bytes = bytes.subarray(chunkBytes);
      }
      this.#pieces = [bytes];
      this.#length = bytes.length;
    }
    done();
  }

  override _flush(done: TransformCallback): void {
    if (this.#length > 0) this.#emit(Buffer.concat(this.#pieces, this.#length));
    this.#emit(Buffer.alloc(0));
    done();
  }

  #emit(chunk: Buffer): void {
    this.#before = signChunk(this.#signature, this.#date, this.#before, chunk);
    this.push(`${chunk.length.toString(16)};chunk-signature=${this.#before}\r\n`);
    if (chunk.length > 0) this.push(chunk);
    this.push("\r\n");
  }
}

type State = "line" | "data" | "dataEnd" | "trailer" | "over";

/**
 * Takes the coding off, whatever its chunks were signed with: the agent's keys are placeholders. Fails with ProxyError
 * MalformedRequest where it is not the coding, or is not as long as `x-amz-decoded-content-length` said.
 */
export class AwsChunkedDecoder extends Transform {
  readonly #expected: number | undefined;
  #state: State = "line";
  #line = "";
  #left = 0;
  #total = 0;

  constructor(expected: number | undefined) {
    super({ highWaterMark: chunkBytes });
    this.#expected = expected;
  }

  override _transform(piece: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    try {
      for (let rest = piece; rest.length > 0;) rest = this.#take(rest);
      done();
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  }

  override _flush(done: TransformCallback): void {
    const isWhole = this.#state === "over" && this.#total === (this.#expected ?? this.#total);
    done(isWhole ? null : malformed());
  }

  #take(bytes: Buffer): Buffer {
    switch (this.#state) {
      case "data":
        return this.#data(bytes);
      case "line":
        return this.#untilLine(bytes, maxLine, (line) => this.#size(line));
      case "dataEnd":
        return this.#untilLine(bytes, 0, () => {
          this.#state = "line";
        });
      case "trailer":
        return this.#untilLine(bytes, maxTrailerBytes, (line) => {
          if (line === "") this.#state = "over";
        });
      case "over":
        throw malformed();
      default:
        return this.#state satisfies never;
    }
  }

  #data(bytes: Buffer): Buffer {
    const part = bytes.subarray(0, this.#left);
    this.push(Buffer.from(part));
    this.#left -= part.length;
    if (this.#left === 0) this.#state = "dataEnd";
    return bytes.subarray(part.length);
  }

  #size(line: string): void {
    const [, hex = ""] = /^([0-9A-Fa-f]{1,8})(?:;[!-~]*)?$/.exec(line) ?? [];
    const size = hex === "" ? Infinity : Number.parseInt(hex, 16);
    this.#total += size;
    if (size > maxChunkBytes || this.#total > (this.#expected ?? Infinity)) throw malformed();
    this.#left = size;
    this.#state = size === 0 ? "trailer" : "data";
  }

  /** Collects one line; what follows it is returned. */
  #untilLine(bytes: Buffer, limit: number, use: (line: string) => void): Buffer {
    const end = bytes.indexOf(0x0a);
    this.#line += bytes.toString("latin1", 0, end < 0 ? bytes.length : end + 1);
    if (this.#line.length > limit + 2) throw malformed();
    if (end < 0) return Buffer.alloc(0);
    if (!this.#line.endsWith("\r\n")) throw malformed();
    const line = this.#line.slice(0, -2);
    this.#line = "";
    use(line);
    return bytes.subarray(end + 1);
  }
}

function malformed(): ProxyError {
  return new ProxyError("MalformedRequest", "the body is not the aws-chunked that its head says");
}
