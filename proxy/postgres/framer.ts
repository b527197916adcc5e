// Cuts a byte stream into PostgreSQL messages (1 byte type, 4 bytes length): whole ones without copying, large uninspected ones in pieces.

/** Type byte and length word. */
export const headerBytes = 5;
/** Parse, Query and everything else that is looked into: room for real statements, none for filling our memory. */
export const maxInspectedBytes = 1024 * 1024;
/** What is longer than its limit and not longer than this is read past, so that the connection can go on; of more nobody knows whether it is the protocol. */
const maxSkippedBytes = 64 * 1024 * 1024;

/** What the other side sent is not the protocol; the connection ends with this sentence. */
export class WireError extends Error {
  override readonly name = "WireError";
}

export interface FrameSink {
  /** While true, nothing more is handed over: bytes wait in the framer until `resume`. */
  readonly blocked: boolean;
  /** Longest message of this type (with header) to hand over whole; 0 hands it over in pieces when it spans chunks. */
  limit(type: number): number;
  /** Whether a message of `total` bytes may be gathered now; if not, the sink is blocked, and is asked again after `resume`. */
  admits(total: number): boolean;
  /** One whole message, header included, at [start, end) of `buffer`. */
  message(type: number, buffer: Buffer, start: number, end: number): void;
  /** A message of `total` bytes is longer than its limit; it is not handed over. */
  oversize(type: number, total: number, limit: number): void;
  /** Part of a message that spans chunks; the first part begins with the header. */
  piece(type: number, buffer: Buffer, start: number, end: number, last: boolean): void;
}

export class Framer {
  readonly #sink: FrameSink;
  readonly #maxSkipped: number;
  readonly #header = Buffer.alloc(headerBytes);
  #headerFill = 0;
  #body: Buffer | undefined;
  #bodyFill = 0;
  #pieceType = 0;
  #pieceLeft = 0;
  #skipLeft = 0;
  #waiting: Buffer[] = [];
  #running = false;

  /** @param maxSkipped longest message, in bytes, that may be read past */
  constructor(sink: FrameSink, maxSkipped: number = maxSkippedBytes) {
    this.#sink = sink;
    this.#maxSkipped = maxSkipped;
  }

  /** Bytes taken but not yet handed over, because the sink is blocked. */
  get waitingBytes(): number {
    let sum = 0;
    if (this.#waiting.length === 0) return sum;
    for (const chunk of this.#waiting) sum += chunk.length;
    return sum;
  }

  /** No chunk is being read or waits: nothing of what was pushed is needed here any more. */
  get atRest(): boolean {
    return !this.#running && this.#waiting.length === 0;
  }

  /** Room taken for a message that has not come to its end. */
  get gatheringBytes(): number {
    return this.#body?.length ?? 0;
  }

  /** Whether the stream stands between two messages. */
  get atBoundary(): boolean {
    const inside =
      this.#headerFill > 0 || this.#body !== undefined || this.#pieceLeft > 0 || this.#skipLeft > 0;
    return !inside && this.#waiting.length === 0;
  }

  push(chunk: Buffer): void {
    if (this.#running || this.#sink.blocked || this.#waiting.length > 0) {
      this.#waiting.push(chunk);
      return;
    }
    this.#guardedRun(chunk);
    if (this.#waiting.length > 0) this.resume();
  }

  /** Goes on with what waited; call it after the sink has unblocked. */
  resume(): void {
    if (this.#running) return;
    while (!this.#sink.blocked) {
      const chunk = this.#waiting.shift();
      if (chunk === undefined) return;
      this.#guardedRun(chunk);
    }
  }

  /** A sink that unblocks from inside a message must not start a second run over the same bytes. */
  #guardedRun(chunk: Buffer): void {
    this.#running = true;
    try {
      this.#run(chunk);
    } finally {
      this.#running = false;
    }
  }

  #run(chunk: Buffer): void {
    const sink = this.#sink;
    let offset = 0;
    while (offset < chunk.length) {
      if (sink.blocked) {
        this.#waiting.unshift(chunk.subarray(offset));
        return;
      }
      if (this.#skipLeft > 0) offset = this.#skip(chunk, offset);
      else if (this.#pieceLeft > 0) offset = this.#passPiece(chunk, offset);
      else if (this.#body !== undefined) offset = this.#fillBody(this.#body, chunk, offset);
      else if (this.#headerFill > 0 || chunk.length - offset < headerBytes)
        offset = this.#fillHeader(chunk, offset);
      else {
        const end = offset + 1 + bodyLength(chunk, offset);
        if (end <= chunk.length) {
          const start = offset;
          offset = end;
          sink.message(chunk[start] ?? 0, chunk, start, end);
        } else {
          chunk.copy(this.#header, 0, offset, offset + headerBytes);
          offset += headerBytes;
          this.#open();
        }
      }
    }
  }

  #fillHeader(chunk: Buffer, offset: number): number {
    const taken = Math.min(headerBytes - this.#headerFill, chunk.length - offset);
    chunk.copy(this.#header, this.#headerFill, offset, offset + taken);
    this.#headerFill += taken;
    if (this.#headerFill === headerBytes) this.#open();
    return offset + taken;
  }

  /** The header of a message that spans chunks is known: decide how its body travels. */
  #open(): void {
    this.#headerFill = 0;
    const type = this.#header[0] ?? 0;
    const total = 1 + bodyLength(this.#header, 0);
    const limit = this.#sink.limit(type);
    if (limit === 0) {
      this.#pieceType = type;
      this.#pieceLeft = total - headerBytes;
      this.#sink.piece(type, Buffer.from(this.#header), 0, headerBytes, this.#pieceLeft === 0);
      return;
    }
    if (total > limit) {
      if (total > this.#maxSkipped) throw tooLong(total, limit);
      this.#skipLeft = total - headerBytes;
      this.#sink.oversize(type, total, limit);
      return;
    }
    if (!this.#sink.admits(total)) {
      this.#headerFill = headerBytes;
      return;
    }
    const body = Buffer.allocUnsafe(total);
    this.#header.copy(body);
    if (total === headerBytes) this.#sink.message(type, body, 0, total);
    else {
      this.#body = body;
      this.#bodyFill = headerBytes;
    }
  }

  #fillBody(body: Buffer, chunk: Buffer, offset: number): number {
    const taken = Math.min(body.length - this.#bodyFill, chunk.length - offset);
    chunk.copy(body, this.#bodyFill, offset, offset + taken);
    this.#bodyFill += taken;
    if (this.#bodyFill === body.length) {
      this.#body = undefined;
      this.#sink.message(body[0] ?? 0, body, 0, body.length);
    }
    return offset + taken;
  }

  #skip(chunk: Buffer, offset: number): number {
    const end = Math.min(chunk.length, offset + this.#skipLeft);
    this.#skipLeft -= end - offset;
    return end;
  }

  #passPiece(chunk: Buffer, offset: number): number {
    const end = Math.min(chunk.length, offset + this.#pieceLeft);
    this.#pieceLeft -= end - offset;
    this.#sink.piece(this.#pieceType, chunk, offset, end, this.#pieceLeft === 0);
    return end;
  }
}

export function tooLong(total: number, limit: number): WireError {
  return new WireError(`a message of ${total} bytes exceeds the limit of ${limit} bytes`);
}

function bodyLength(buffer: Buffer, offset: number): number {
  const length = buffer.readInt32BE(offset + 1);
  if (length < 4) throw new WireError(`a message of length ${length} cannot be`);
  return length;
}
