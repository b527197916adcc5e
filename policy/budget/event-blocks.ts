// The events of a stream one by one, each as it was written, so that it can be ended between two of them: server-sent events, or JSON lines.
import { maxEventLength } from "../llm/framing/sse.ts";

export interface EventBlock {
  /** With the blank line, or the end of the line, that ends it. */
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
const blankLine = /(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))/g;

const lineEnd = /\n/g;

export class EventBlocks {
  readonly #isLines: boolean;
  readonly #decoder = new TextDecoder("utf-8");
  #rest = "";

  constructor(framing: "events" | "lines") {
    this.#isLines = framing === "lines";
  }

  /** Throws EventTooLong. */
  push(chunk: Uint8Array): readonly EventBlock[] {
    const from = Math.max(0, this.#rest.length - 4);
    const text = this.#rest + this.#decoder.decode(chunk, { stream: true });
    const blocks: EventBlock[] = [];
    let at = 0;
    const end = this.#isLines ? lineEnd : blankLine;
    end.lastIndex = from;
    while (end.exec(text) !== null) {
      const raw = text.slice(at, end.lastIndex);
      at = end.lastIndex;
      blocks.push({ raw, data: this.#isLines ? raw.trim() : dataOf(raw) });
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
