// The events of a stream that is text one by one, each as it was written: server-sent events, or JSON lines.
import { maxEventLength } from "../llm/framing/sse.ts";
import { UnreadableStream, type LastEvent, type StreamBlocks } from "./stream-blocks.ts";

interface EventBlock {
  /** With the blank line, or the end of the line, that ends it. */
  readonly raw: string;
  /** Its data lines, joined. */
  readonly data: string;
}

/** An end of a line, and the empty line after it (HTML standard, section 9.2.5). */
const blankLine = /(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))/g;

const lineEnd = /\n/g;

export class EventBlocks implements StreamBlocks {
  readonly #isLines: boolean;
  readonly #decoder = new TextDecoder("utf-8");
  #rest = "";

  constructor(framing: "events" | "lines") {
    this.#isLines = framing === "lines";
  }

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
    if (this.#rest.length > maxEventLength)
      throw new UnreadableStream(
        `an event of the answer is longer than ${maxEventLength} characters`,
      );
    return blocks;
  }

  /** What came behind the last event. */
  end(): string {
    const rest = this.#rest + this.#decoder.decode();
    this.#rest = "";
    return rest;
  }

  written(events: readonly LastEvent[]): string {
    return events.map((event) => (this.#isLines ? lineOf(event) : eventOf(event))).join("");
  }
}

function lineOf({ data }: LastEvent): string {
  return data === "[DONE]" ? "" : `${JSON.stringify(data)}\n`;
}

function eventOf({ name, data }: LastEvent): string {
  const text = data === "[DONE]" ? data : JSON.stringify(data);
  return `${name === undefined ? "" : `event: ${name}\n`}data: ${text}\n\n`;
}

function dataOf(raw: string): string {
  return raw
    .split(/\r\n|\n|\r/)
    .flatMap((line) =>
      line.startsWith("data:") ? [line.slice(line.startsWith("data: ") ? 6 : 5)] : [],
    )
    .join("\n");
}
