// Group commit: one writer in flight, lines gathered while it works, one fdatasync for everyone who waits for one.
import { ProxyError } from "../errors.ts";
import { textsIn } from "./lines.ts";
import { LogFile } from "./log-file.ts";
import { type Piece, type Slab, type SlabPool } from "./slabs.ts";

/** Lines wait this long for company before they are written, unless somebody waits for them: a write costs some 50 µs, however short. */
export const flushDelayMs = 10;
/** Unwritten bytes that start a write at once. */
const flushBytes = 256 * 1024;
/** Unwritten bytes kept while the disk does not take them; above, `append` refuses. */
export const maxPendingBytes = 8 * 1024 * 1024;
/** A failed write (disk full, I/O error) is tried again after this. */
const retryMs = 250;
/** Who waits for durability is refused after this: a disk that hangs must not hang the agent. */
export const durableTimeoutMs = 5_000;
/** A group that needs no more company: with more in it nobody would be left to use the processor meanwhile. */
const company = 16;
/** Turns of the event loop that a group waits for company, at most. */
const companyTurns = 8;
/** Callers waiting for one sync at a time; above, `append` refuses. */
const maxWaiters = 10_000;

/** Lines as bytes: as strings they would be walked by the garbage collector while they wait. A chunk holds its slab. */
interface Chunk {
  readonly file: string;
  readonly offset: number;
  readonly slab: Slab;
  /** Where its lines stand in the slab. */
  readonly from: number;
  /** Of the line that begins a segment, where this chunk does. */
  readonly headBytes: number;
  readonly firstSeq: number;
  bytes: number;
  lastSeq: number;
}

export interface WriterEvents {
  /** Room was made: what waited may go on. */
  progressed(): void;
  /** The lines of these events are in the file, though perhaps not durable yet. Who is told holds the slab from here on. */
  written(firstSeq: number, lastSeq: number, lines: Piece): void;
}

interface Waiter {
  readonly seq: number;
  readonly resolve: () => void;
  readonly reject: (error: ProxyError) => void;
  readonly sinceMs: number;
}

export class GroupWriter {
  #chunks: Chunk[] = [];
  /** In the order of their numbers. */
  #waiters: Waiter[] = [];
  /** Set while somebody waits, for the one that waits longest. */
  #late: NodeJS.Timeout | undefined;
  readonly #slabs: SlabPool;
  /** Being filled. */
  #slab: Slab | undefined;
  #slabUsed = 0;
  #pendingBytes = 0;
  #durableSeq: number;
  #writtenSeq: number;
  #file: LogFile | undefined;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #running: Promise<void> | undefined;
  #failure: Error | undefined;
  #broken = false;

  readonly #events: WriterEvents;
  /** Being written. */
  #current: Chunk | undefined;

  /** @param durableSeq the last number that is on disk already */
  constructor(durableSeq: number, slabs: SlabPool, events: WriterEvents) {
    this.#slabs = slabs;
    this.#events = events;
    this.#durableSeq = durableSeq;
    this.#writtenSeq = durableSeq;
  }

  get durableSeq(): number {
    return this.#durableSeq;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Why the last write did not succeed. Gone again once one does, except after a failed fdatasync. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Lines taken and not in their file yet. */
  unwritten(): readonly string[] {
    const inFlight = this.#current === undefined ? [] : [this.#current];
    return [...inFlight, ...this.#chunks].flatMap((chunk) => textsIn(linesOf(chunk)));
  }

  /** Takes the line that a new file begins with. `firstSeq`: the number of its first event. */
  begin(file: string, line: Buffer, firstSeq: number): void {
    this.#write(this.#newChunk(file, 0, line.length, line.length, firstSeq), line);
  }

  /** Takes an event's line for `file` at `offset`. Offsets are the caller's: they make a write that failed halfway repeatable. */
  push(file: string, offset: number, line: Buffer, seq: number): void {
    const bytes = line.length;
    const last = this.#chunks.at(-1);
    const chunk =
      last !== undefined && last.file === file && this.#hasRoomBehind(last, bytes)
        ? last
        : this.#newChunk(file, offset, bytes, 0, seq);
    this.#write(chunk, line);
    chunk.lastSeq = seq;
    if (this.#running !== undefined || this.#broken) return;
    if (this.#pendingBytes >= flushBytes && this.#failure === undefined) this.#start();
    else
      this.#timer ??= setTimeout(this.#start, this.#failure === undefined ? flushDelayMs : retryMs);
  }

  #hasRoomBehind(chunk: Chunk, bytes: number): boolean {
    return (
      chunk.slab === this.#slab &&
      chunk.from + chunk.bytes === this.#slabUsed &&
      this.#slabUsed + bytes <= chunk.slab.bytes.length
    );
  }

  #newChunk(
    file: string,
    offset: number,
    bytes: number,
    headBytes: number,
    firstSeq: number,
  ): Chunk {
    let slab = this.#slab;
    if (slab === undefined || this.#slabUsed + bytes > slab.bytes.length) {
      slab?.release();
      slab = this.#slab = this.#slabs.take(bytes);
      this.#slabUsed = 0;
    }
    const place = { slab: slab.hold(), from: this.#slabUsed };
    const chunk = { file, offset, ...place, headBytes, firstSeq, bytes: 0, lastSeq: firstSeq - 1 };
    this.#chunks.push(chunk);
    return chunk;
  }

  /** A copy: what it is given is written over. */
  #write(chunk: Chunk, line: Buffer): void {
    chunk.slab.bytes.set(line, this.#slabUsed);
    this.#slabUsed += line.length;
    chunk.bytes += line.length;
    this.#pendingBytes += line.length;
  }

  /** Resolves once everything up to `seq` is on the disk; rejects with RecordingUnavailable. `seq` never goes back. */
  sync(seq: number): Promise<void> {
    if (seq <= this.#durableSeq) return Promise.resolve();
    if (this.#failure !== undefined || this.#waiters.length >= maxWaiters)
      return Promise.reject(unavailable(this.#failure));
    // Not at once: callers of the same turn share the write.
    if (this.#running === undefined) this.#immediate ??= setImmediate(this.#start);
    if (this.#late === undefined)
      this.#late = setTimeout(this.#refuseLate, durableTimeoutMs).unref();
    return new Promise((resolve, reject) => {
      this.#waiters.push({ seq, resolve, reject, sinceMs: performance.now() });
    });
  }

  /** Closes without writing: everything pending has been made durable in other files, so those who wait are served. */
  async abandon(): Promise<void> {
    this.#broken = true;
    this.#chunks = [];
    this.#unschedule();
    this.#settleWaiters((waiter) => waiter.resolve());
    await this.#running;
    await this.#file?.close();
    this.#file = undefined;
  }

  /** Closes the file. Sync first: what is pending then is not written. */
  async close(): Promise<void> {
    this.#broken = true;
    this.#unschedule();
    await this.#running;
    this.#rejectWaiters(
      new ProxyError("ShuttingDown", "The recording is closed; the proxy is ending."),
    );
    await this.#file?.close();
    this.#file = undefined;
  }

  readonly #refuseLate = (): void => {
    const now = performance.now();
    const late = this.#waiters.filter(({ sinceMs }) => now - sinceMs >= durableTimeoutMs);
    this.#waiters = this.#waiters.filter(({ sinceMs }) => now - sinceMs < durableTimeoutMs);
    const [next] = this.#waiters;
    this.#late =
      next === undefined
        ? undefined
        : setTimeout(this.#refuseLate, durableTimeoutMs - (now - next.sinceMs)).unref();
    for (const { reject } of late)
      reject(unavailable(new Error(`the disk did not answer within ${durableTimeoutMs} ms`)));
  };

  readonly #start = (): void => {
    this.#unschedule();
    if (this.#running !== undefined || this.#broken) return;
    this.#running = this.#drain().then(
      () => this.#finished(undefined),
      (error: unknown) => this.#finished(error instanceof Error ? error : new Error(String(error))),
    );
  };

  #finished(failure: Error | undefined): void {
    this.#running = undefined;
    this.#failure = failure;
    if (failure === undefined) this.#events.progressed();
    else this.#rejectWaiters(unavailable(failure));
    if (this.#broken || (this.#chunks.length === 0 && this.#waiters.length === 0)) return;
    if (failure === undefined) this.#start();
    else this.#timer ??= setTimeout(this.#start, retryMs);
  }

  async #drain(): Promise<void> {
    for (;;) {
      await this.#company();
      // Between any two writes, or a steady stream of lines would keep everyone waiting who asked for durability.
      if (this.#isAwaited(this.#writtenSeq)) await this.#sync();
      const chunk = this.#chunks.shift();
      if (chunk === undefined) return;
      this.#current = chunk;
      try {
        await this.#flush(chunk);
      } catch (error) {
        this.#chunks.unshift(chunk);
        throw error;
      } finally {
        this.#current = undefined;
      }
      this.#pendingBytes -= chunk.bytes;
    }
  }

  /**
   * A sync costs as much for many as for one: while each turn of the loop brings another who waits, the next one can wait for it (PostgreSQL's
   * commit_delay, without a clock). Who is alone waits for nobody.
   */
  async #company(): Promise<void> {
    for (let turn = 0, before = 1; turn < companyTurns; turn += 1) {
      const waiting = this.#waiters.length;
      if (waiting <= before || waiting >= company) return;
      before = waiting;
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
  }

  async #flush(chunk: Chunk): Promise<void> {
    const file = await this.#opened(chunk.file);
    const bytes = linesOf(chunk);
    // Nothing before it waits for the disk: the write can be its own sync.
    const isOneCall = this.#durableSeq === this.#writtenSeq && this.#isAwaited(chunk.lastSeq);
    // A full disk harms nothing: the whole write is repeated once there is room.
    if (isOneCall) await this.#trusting(() => file.writeDurably(bytes, chunk.offset), isFull);
    else await file.write(bytes, chunk.offset);
    this.#writtenSeq = chunk.lastSeq;
    const { slab, firstSeq, lastSeq } = chunk;
    if (lastSeq >= firstSeq)
      this.#events.written(firstSeq, lastSeq, { slab, bytes: bytes.subarray(chunk.headBytes) });
    else slab.release();
    if (isOneCall) this.#settle(chunk.lastSeq);
  }

  async #opened(path: string): Promise<LogFile> {
    const former = this.#file;
    if (former?.path === path) return former;
    if (former !== undefined) {
      // Later records must never be durable before earlier ones.
      await this.#sync();
      // Even where that fails its descriptors are gone, and may be somebody else's by now.
      this.#file = undefined;
      await former.close();
    }
    this.#file = await LogFile.open(path);
    return this.#file;
  }

  async #sync(): Promise<void> {
    const upTo = this.#writtenSeq;
    await this.#trusting(() => this.#file?.datasync() ?? Promise.resolve());
    this.#settle(upTo);
  }

  /** The kernel may have dropped the pages that failed and will say "fine" next time (fsyncgate): never trust this file again. */
  async #trusting(
    work: () => Promise<void>,
    isHarmless: (error: unknown) => boolean = () => false,
  ): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#broken ||= !isHarmless(error);
      throw error;
    }
  }

  #isAwaited(seq: number): boolean {
    const [first] = this.#waiters;
    return first !== undefined && first.seq <= seq;
  }

  /** Everything up to this number is on the disk. */
  #settle(upTo: number): void {
    this.#durableSeq = Math.max(this.#durableSeq, upTo);
    const waiting = this.#waiters.findIndex((waiter) => waiter.seq > upTo);
    const served = this.#waiters.splice(0, waiting < 0 ? this.#waiters.length : waiting);
    for (const waiter of served) waiter.resolve();
  }

  #unschedule(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#timer = undefined;
    this.#immediate = undefined;
  }

  #rejectWaiters(error: ProxyError): void {
    this.#settleWaiters((waiter) => waiter.reject(error));
  }

  #settleWaiters(settle: (waiter: Waiter) => void): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) settle(waiter);
  }
}

function linesOf({ slab, from, bytes }: Chunk): Buffer {
  return slab.bytes.subarray(from, from + bytes);
}

function isFull(error: unknown): boolean {
  return (
    error instanceof Error &&
    "code" in error &&
    (error.code === "ENOSPC" || error.code === "EDQUOT")
  );
}

export function unavailable(cause: Error | undefined): ProxyError {
  const code =
    cause !== undefined && "code" in cause && typeof cause.code === "string"
      ? ` (${cause.code})`
      : "";
  return new ProxyError(
    "RecordingUnavailable",
    `The recording cannot be written${code}, so nothing may go ahead; try again when the proxy's spool has room.`,
    { cause },
  );
}
