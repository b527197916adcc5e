// What a COPY carried, for `recording.detail: Full`: size and digest of the data of all its CopyData messages, as the client sent it or got it (masked).
import { createHash } from "node:crypto";
import type { EventOutcome } from "../../contract/event.ts";
import { headerBytes } from "./framer.ts";

export class CopyDigest {
  readonly #hash = createHash("sha256");
  #bytes = 0;

  /** @param begins these bytes begin with the header of their message; false for a further piece of one */
  add(buffer: Buffer, start: number, end: number, begins: boolean): void {
    const data = begins ? start + headerBytes : start;
    this.#hash.update(buffer.subarray(data, end));
    this.#bytes += end - data;
  }

  /** Undefined where nothing was carried. Only once. */
  outcome(): EventOutcome["copied"] {
    return this.#bytes === 0
      ? undefined
      : { sha256: `sha256-${this.#hash.digest("base64url")}`, bytes: this.#bytes };
  }
}
