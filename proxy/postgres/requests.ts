// What was forwarded and waits for its answer: PostgreSQL answers strictly in order, so one queue tells whose reply each message is.
import type { Execution } from "./execution.ts";
import type { Portal, Statement } from "./statements.ts";

/** More unanswered requests than any driver pipelines; far above what one server buffer of replies can hold back (8 KiB). */
export const maxOutstanding = 16_384;

export type RequestKind =
  | "parse"
  | "bind"
  | "describe-statement"
  | "describe-portal"
  | "execute"
  | "close-statement"
  | "close-portal"
  | "flush"
  | "sync"
  | "query"
  /** Fails at the upstream for sure; its error is answered with `refusal` instead. */
  | "poison";

/** Receives the answer of a query of our own. */
export interface Capture {
  row(buffer: Buffer, start: number, end: number): void;
  done(error?: string): void;
}

const noBytes = Buffer.alloc(0);

export class Request {
  readonly kind: RequestKind;
  /** The message as it came, until it is forwarded. */
  buffer: Buffer;
  start: number;
  end: number;
  name = "";
  statement: Statement | undefined = undefined;
  portal: Portal | undefined = undefined;
  execution: Execution | undefined = undefined;
  /** Ours, not the client's: its answer is looked at and not passed on. */
  own = false;
  /** On `poison`: the ErrorResponse the client gets. */
  refusal: Buffer | undefined = undefined;
  /** On `poison`: it stands for a Parse of the unnamed statement, which a server that refuses it forgets. */
  forgetsUnnamed = false;
  /** The Sync-delimited batch it belongs to. */
  batch = 0;
  /** An Execute or Query that may prepare, deallocate, declare or close names by SQL. */
  changesNames = false;
  /** A Query behind messages without Sync, outside a transaction: they and it are one, which goes on to the next Sync. */
  inBatch = false;
  /** A FunctionCall, whose answer is one value. */
  callsFunction = false;
  /** Unread code may have given its statement's name away: what it stands for is said again before this. */
  saysAgain = false;
  /** The server answered it with an error itself (it was not merely skipped). */
  failed = false;
  /** Data of its COPY was forwarded. */
  hasCopyData = false;
  /** A Sync came amid the data of its COPY: the server ignored it, unless the COPY had failed before. */
  syncAmidData = false;
  /** Ours: where the rows of our own query go. */
  capture: Capture | undefined = undefined;

  constructor(kind: RequestKind, buffer: Buffer, start: number, end: number) {
    this.kind = kind;
    this.buffer = buffer;
    this.start = start;
    this.end = end;
  }

  /** The bytes are on their way: let the chunk they came in go. */
  release(): void {
    this.buffer = noBytes;
  }
}

/** A ring of requests; it grows by doubling up to `maxOutstanding`. */
export class RequestQueue {
  #ring: (Request | undefined)[] = Array.from({ length: 64 });
  #head = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get head(): Request | undefined {
    return this.#size === 0 ? undefined : this.#ring[this.#head];
  }

  push(request: Request): void {
    if (this.#size === this.#ring.length) this.#grow();
    this.#ring[(this.#head + this.#size) & (this.#ring.length - 1)] = request;
    this.#size += 1;
  }

  shift(): Request | undefined {
    if (this.#size === 0) return undefined;
    const request = this.#ring[this.#head];
    this.#ring[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.#size -= 1;
    return request;
  }

  /** Whether some Sync or Query waits behind the head: its ReadyForQuery will come whatever happens before it. */
  hasSync(): boolean {
    for (let index = 0; index < this.#size; index++) {
      const kind = this.#ring[(this.#head + index) & (this.#ring.length - 1)]?.kind;
      if (kind === "sync") return true;
    }
    return false;
  }

  /** Commands that are forwarded and not answered, each of a text counted; our own questions apart. */
  commands(): number {
    let sum = 0;
    for (let index = 0; index < this.#size; index++) {
      const request = this.#ring[(this.#head + index) & (this.#ring.length - 1)];
      if (request?.execution !== undefined)
        sum += Math.max(1, request.execution.operation.facts.count);
    }
    return sum;
  }

  #grow(): void {
    const wider: (Request | undefined)[] = Array.from({ length: this.#ring.length * 2 });
    for (let index = 0; index < this.#size; index++)
      wider[index] = this.#ring[(this.#head + index) & (this.#ring.length - 1)];
    this.#ring = wider;
    this.#head = 0;
  }
}
