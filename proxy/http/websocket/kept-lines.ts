// What was said in one direction of a WebSocket, kept for the record: a line for each message, as far as recordings go.
import { maxContentBytes } from "../../pipeline.ts";
import type { Content } from "../../pipeline.ts";
import { Gathered } from "../gathered.ts";

export class KeptLines {
  readonly #part: "request" | "response";
  readonly #kept = new Gathered();
  #bytes = 0;

  constructor(part: "request" | "response") {
    this.#part = part;
  }

  /** A message, or a piece of one. */
  add(bytes: Buffer, isLast: boolean): void {
    const line = isLast ? Buffer.concat([bytes, Buffer.from("\n")]) : bytes;
    const room = maxContentBytes - this.#bytes;
    this.#bytes += line.length;
    if (room > 0) this.#kept.add(line.subarray(0, room));
  }

  content(): Content | undefined {
    if (this.#bytes === 0) return undefined;
    const text = this.#kept.whole().toString("utf8");
    const isCut = this.#bytes > maxContentBytes;
    return { part: this.#part, text, ...(isCut && { truncated: true }) };
  }
}
