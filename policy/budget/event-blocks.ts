// Server-sent events one by one, each as it was written, so that a stream can be ended between two of them.
import { maxEventLength } from "../llm/sse.ts";

export interface EventBlock {
  /** With the blank line that ends it. */
  readonly raw: string;
  /** Its data lines, joined. */
  readonly data: string;
}

export class EventTooLong extends Error {
  constructor() {
    super(`an event of the answer is longer than ${maxEventLength} characters`);
    this.name = "EventTooLong";
  }
}

/** An end of a line, and the empty line after it (HTML standard, section 9.2.5). */
const blockEnd = /(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))/g;

export class EventBlocks {
  readonly #decoder = new TextDecoder("utf-8");
  #rest = "";

  /** Throws EventTooLong. */
  push(chunk: Uint8Array): readonly EventBlock[] {
    const from = Math.max(0, this.#rest.length - 4);
    const text = this.#rest + this.#decoder.decode(chunk, { stream: true });
    const blocks: EventBlock[] = [];
    let at = 0;
    blockEnd.lastIndex = from;
    for (let match = blockEnd.exec(text); match !== null; match = blockEnd.exec(text)) {
      const raw = text.slice(at, blockEnd.lastIndex);
      at = blockEnd.lastIndex;
      blocks.push({ raw, data: dataOf(raw) });
    }
    this.#rest = text.slice(at);
    if (this.#rest.length > maxEventLength) throw new EventTooLong();
    return blocks;
  }

  /** What came behind the last event. */
  end(): string {
    const rest = this.#rest + this.#decoder.decode();
    this.#rest = "";
    return rest;
  }
}

function dataOf(raw: string): string {
  return raw
    .split(/\r\n|\n|\r/)
    .flatMap((line) =>
      line.startsWith("data:") ? [line.slice(line.startsWith("data: ") ? 6 : 5)] : [],
    )
    .join("\n");
}
