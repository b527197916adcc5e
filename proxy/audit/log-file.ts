// One file of the spool, open for writing: plain writes, and writes that are durable when they return. No promise API: a hop to
// the thread pool is paid for every write, so nothing else should be.
import { close, constants, fdatasync, fsync, open, write } from "node:fs";
import { dirname } from "node:path";

/**
 * A file with two descriptors: the second was opened with O_DSYNC (open(2)), so that a write and its fdatasync are one call.
 * Windows has no such flag; there every write through it is followed by an fdatasync.
 */
export class LogFile {
  readonly path: string;
  readonly #plain: number;
  readonly #durable: number | undefined;

  private constructor(path: string, plain: number, durable: number | undefined) {
    this.path = path;
    this.#plain = plain;
    this.#durable = durable;
  }

  /** Creates the file where it is missing, with its name durable in the directory. */
  static async open(path: string): Promise<LogFile> {
    const plain = await opened(path, constants.O_RDWR | constants.O_CREAT);
    const isOneCall = typeof constants.O_DSYNC === "number";
    const durable = isOneCall
      ? await opened(path, constants.O_WRONLY | constants.O_DSYNC)
      : undefined;
    await syncDirectory(dirname(path));
    return new LogFile(path, plain, durable);
  }

  /** Positional, so that one that failed halfway can be repeated. */
  write(bytes: Buffer, offset: number): Promise<void> {
    return writeAll(this.#plain, bytes, offset);
  }

  /** The same, and what was written is on the disk when it resolves; what was written before by `write` need not be. */
  async writeDurably(bytes: Buffer, offset: number): Promise<void> {
    await writeAll(this.#durable ?? this.#plain, bytes, offset);
    if (this.#durable === undefined) await this.datasync();
  }

  /** Everything that was written is on the disk when it resolves. */
  datasync(): Promise<void> {
    return call((done) => fdatasync(this.#plain, done));
  }

  async close(): Promise<void> {
    const fds = [this.#plain, this.#durable].filter((fd) => fd !== undefined);
    // Both, whatever becomes of the first.
    await Promise.all(fds.map((fd) => call((done) => close(fd, done))));
  }
}

function call(start: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error === null || error === undefined ? resolve() : reject(error)));
  });
}

function opened(path: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    open(path, flags, 0o600, (error, fd) => (error === null ? resolve(fd) : reject(error)));
  });
}

function writeAll(fd: number, bytes: Buffer, offset: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let written = 0;
    const more = (): void =>
      write(fd, bytes, written, bytes.length - written, offset + written, (error, count) => {
        if (error !== null) {
          reject(error);
          return;
        }
        written += count;
        if (written < bytes.length) more();
        else resolve();
      });
    more();
  });
}

/** Without it a new file's name may be lost although its bytes are not. */
async function syncDirectory(path: string): Promise<void> {
  const fd = await opened(path, constants.O_RDONLY);
  try {
    await call((done) => fsync(fd, done));
  } finally {
    await call((done) => close(fd, done));
  }
}
