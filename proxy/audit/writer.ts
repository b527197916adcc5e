// Group commit: one writer in flight, lines gathered while it works, one fdatasync for everyone who waits for one.
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { ProxyError } from "../errors.ts";

/** Lines wait this long for company before they are written: a write costs some 20 µs, however short. */
export const flushDelayMs = 4;
/** Unwritten bytes that start a write at once. */
const flushBytes = 64 * 1024;
/** Unwritten bytes kept while the disk does not take them; above, `append` refuses. */
export const maxPendingBytes = 8 * 1024 * 1024;
/** A failed write (disk full, I/O error) is tried again after this. */
const retryMs = 250;
/** Who waits for durability is refused after this: a disk that hangs must not hang the agent. */
export const durableTimeoutMs = 5_000;
/** Callers waiting for one sync at a time; above, `append` refuses. */
const maxWaiters = 10_000;

interface Chunk {
  readonly file: string;
  readonly offset: number;
  readonly lines: string[];
  bytes: number;
  lastSeq: number;
}

interface Waiter {
  readonly seq: number;
  readonly resolve: () => void;
  readonly reject: (error: ProxyError) => void;
  readonly timer: NodeJS.Timeout;
}

export class GroupWriter {
  #chunks: Chunk[] = [];
  #waiters: Waiter[] = [];
  #pendingBytes = 0;
  #durableSeq: number;
  #writtenSeq: number;
  #handle: { readonly file: string; readonly io: FileHandle } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #running: Promise<void> | undefined;
  #failure: Error | undefined;
  #broken = false;

  readonly #progressed: () => void;

  /** @param durableSeq the last number that is on disk already */
  constructor(durableSeq: number, progressed: () => void) {
    this.#progressed = progressed;
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

  /** Takes a line for `file` at `offset`. Offsets are the caller's: they make a write that failed halfway repeatable. */
  push(file: string, offset: number, line: string, bytes: number, seq: number): void {
    const last = this.#chunks.at(-1);
    if (last !== undefined && last.file === file) {
      last.lines.push(line);
      last.bytes += bytes;
      last.lastSeq = seq;
    } else {
      this.#chunks.push({ file, offset, lines: [line], bytes, lastSeq: seq });
    }
    this.#pendingBytes += bytes;
    if (this.#running !== undefined || this.#broken) return;
    if (this.#pendingBytes >= flushBytes && this.#failure === undefined) this.#start();
    else
      this.#timer ??= setTimeout(this.#start, this.#failure === undefined ? flushDelayMs : retryMs);
  }

  /** Resolves once everything up to `seq` is on the disk; rejects with RecordingUnavailable. */
  sync(seq: number): Promise<void> {
    if (seq <= this.#durableSeq) return Promise.resolve();
    if (this.#failure !== undefined || this.#waiters.length >= maxWaiters)
      return Promise.reject(unavailable(this.#failure));
    // Not at once: callers of the same turn share the write.
    if (this.#running === undefined) this.#immediate ??= setImmediate(this.#start);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters = this.#waiters.filter((waiter) => waiter.timer !== timer);
        reject(unavailable(new Error(`the disk did not answer within ${durableTimeoutMs} ms`)));
      }, durableTimeoutMs);
      this.#waiters.push({ seq, resolve, reject, timer });
    });
  }

  /** Closes without writing: everything pending has been made durable in other files, so those who wait are served. */
  async abandon(): Promise<void> {
    this.#broken = true;
    this.#chunks = [];
    this.#unschedule();
    this.#settleWaiters((waiter) => waiter.resolve());
    await this.#running;
    await this.#handle?.io.close();
    this.#handle = undefined;
  }

  /** Closes the file. Sync first: what is pending then is not written. */
  async close(): Promise<void> {
    this.#broken = true;
    this.#unschedule();
    await this.#running;
    this.#rejectWaiters(
      new ProxyError("ShuttingDown", "The recording is closed; the proxy is ending."),
    );
    await this.#handle?.io.close();
    this.#handle = undefined;
  }

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
    if (failure === undefined) this.#progressed();
    else this.#rejectWaiters(unavailable(failure));
    if (this.#broken || (this.#chunks.length === 0 && this.#waiters.length === 0)) return;
    if (failure === undefined) this.#start();
    else this.#timer ??= setTimeout(this.#start, retryMs);
  }

  async #drain(): Promise<void> {
    for (;;) {
      // Between any two writes, or a steady stream of lines would keep everyone waiting who asked for durability.
      if (this.#waiters.some((waiter) => waiter.seq <= this.#writtenSeq)) await this.#sync();
      const chunk = this.#chunks.shift();
      if (chunk === undefined) return;
      try {
        await this.#write(chunk);
      } catch (error) {
        this.#chunks.unshift(chunk);
        throw error;
      }
      this.#pendingBytes -= chunk.bytes;
      this.#writtenSeq = chunk.lastSeq;
    }
  }

  async #write(chunk: Chunk): Promise<void> {
    const io = await this.#opened(chunk.file);
    const bytes = Buffer.from(chunk.lines.join(""));
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await io.write(
        bytes,
        done,
        bytes.length - done,
        chunk.offset + done,
      );
      done += bytesWritten;
    }
  }

  async #opened(file: string): Promise<FileHandle> {
    if (this.#handle?.file === file) return this.#handle.io;
    if (this.#handle !== undefined) {
      // Later records must never be durable before earlier ones.
      await this.#sync();
      await this.#handle.io.close();
      this.#handle = undefined;
    }
    const io = await openForWriting(file);
    this.#handle = { file, io };
    const directory = await open(dirname(file), "r");
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
    return io;
  }

  async #sync(): Promise<void> {
    const upTo = this.#writtenSeq;
    try {
      await this.#handle?.io.datasync();
    } catch (error) {
      // The kernel may have dropped the pages that failed and will say "fine" next time (fsyncgate): never trust this file again.
      this.#broken = true;
      throw error;
    }
    this.#durableSeq = Math.max(this.#durableSeq, upTo);
    const served = this.#waiters.filter((waiter) => waiter.seq <= upTo);
    if (served.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => waiter.seq > upTo);
    for (const waiter of served) {
      clearTimeout(waiter.timer);
      waiter.resolve();
    }
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
    for (const waiter of waiters) {
      clearTimeout(waiter.timer);
      settle(waiter);
    }
  }
}

/** Positional writes need a file that exists and is not opened for appending. */
async function openForWriting(file: string): Promise<FileHandle> {
  try {
    return await open(file, "r+", 0o600);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT")
      return open(file, "wx", 0o600);
    throw error;
  }
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
