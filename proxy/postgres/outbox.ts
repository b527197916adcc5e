// Gathers what goes to one peer and writes it once per turn: neighbouring ranges of a chunk leave as one slice, without a copy.
import type { Duplex } from "node:stream";

export class Outbox {
  readonly #socket: Duplex;
  #parts: Buffer[] = [];
  #run: Buffer | undefined;
  #runStart = 0;
  #runEnd = 0;
  #full = false;
  /** Bytes handed to the socket so far. */
  written = 0;

  constructor(socket: Duplex) {
    this.#socket = socket;
    socket.on("drain", () => {
      this.#full = false;
    });
  }

  /** The peer reads more slowly than we write: whoever feeds this outbox must pause until `drain`. */
  get full(): boolean {
    return this.#full;
  }

  /** Nothing that was passed or sent is still in memory because of this outbox or its socket. */
  get empty(): boolean {
    return this.#run === undefined && this.#parts.length === 0 && this.#socket.writableLength === 0;
  }

  /** A range of bytes that nobody will change until this is `empty`. */
  pass(buffer: Buffer, start: number, end: number): void {
    if (this.#run === buffer && this.#runEnd === start) {
      this.#runEnd = end;
      return;
    }
    this.#closeRun();
    this.#run = buffer;
    this.#runStart = start;
    this.#runEnd = end;
  }

  send(message: Buffer): void {
    this.pass(message, 0, message.length);
  }

  flush(): void {
    const socket = this.#socket;
    if (this.#parts.length === 0) {
      const run = this.#run;
      if (run === undefined) return;
      this.#run = undefined;
      this.#write(part(run, this.#runStart, this.#runEnd));
      return;
    }
    this.#closeRun();
    const parts = this.#parts;
    this.#parts = [];
    socket.cork();
    for (const one of parts) this.#write(one);
    socket.uncork();
  }

  #write(bytes: Buffer): void {
    if (!this.#socket.writable) return;
    this.written += bytes.length;
    if (!this.#socket.write(bytes)) this.#full = true;
  }

  #closeRun(): void {
    const run = this.#run;
    if (run === undefined) return;
    if (this.#runEnd > this.#runStart) this.#parts.push(part(run, this.#runStart, this.#runEnd));
    this.#run = undefined;
  }
}

/** Most chunks leave whole. */
function part(buffer: Buffer, start: number, end: number): Buffer {
  return start === 0 && end === buffer.length ? buffer : buffer.subarray(start, end);
}
