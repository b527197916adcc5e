// Where a connection's bytes are read into: one buffer for all its reads. Without it Node makes 64 KiB for each, and the garbage
// collector runs four times a second for nothing.
import type { OnReadOpts } from "node:net";

/** An answer of usual size in one read. */
const bytesPerRead = 32 * 1024;

export class ReadBuffer {
  /** For `net.connect`. */
  readonly onread: OnReadOpts;
  #deliver: (chunk: Buffer) => void = () => {};

  constructor() {
    const buffer = Buffer.allocUnsafeSlow(bytesPerRead);
    this.onread = {
      buffer,
      callback: (length) => {
        this.#deliver(buffer.subarray(0, length));
        return true;
      },
    };
  }

  /** @param deliver gets what was read; valid only while it is called */
  start(deliver: (chunk: Buffer) => void): void {
    this.#deliver = deliver;
  }
}
