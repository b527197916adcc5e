// The texts of one streamed answer that come in pieces: what the pieces of one spell together is masked as if it came whole, and
// what was held back is carried by an event of its own before the text is said to be over.
import { NotMaskable } from "../mask/stream-json.ts";
import { goesOnOpaque } from "../mask/stream-json-string.ts";
import type { TextStream } from "../mask/stream.ts";
import type { ValueMasker } from "./mask-value.ts";

/** Texts of one stream that are put together at a time: choices, content parts, tool calls. */
const maxTexts = 1_024;

/** Where a piece belongs. */
export interface PieceOf<Event> {
  /** Tells one text from another. */
  readonly key: string;
  /** What its text is a part of, and ends with: the choice, the output item, the content block. */
  readonly part: string;
  /** An event that carries what is held back. */
  carry(rest: string): Event;
}

interface Running<Event> {
  readonly stream: TextStream;
  readonly part: string;
  /** Of the last piece. */
  carry: PieceOf<Event>["carry"];
}

export class RunningTexts<Event> {
  readonly #values: ValueMasker;
  readonly #running = new Map<string, Running<Event>>();

  constructor(values: ValueMasker) {
    this.#values = values;
  }

  /** What of this text may go out once this piece has come, too. Throws NotMaskable. */
  piece(value: string, path: readonly string[], { key, part, carry }: PieceOf<Event>): string {
    const treatment = this.#values.shape(path);
    if (treatment === "keep" || (treatment === "opaque" && goesOnOpaque(value))) return value;
    const known = this.#running.get(key);
    if (known === undefined && this.#running.size >= maxTexts)
      throw new NotMaskable(`the stream carries more than ${maxTexts} texts at a time`);
    if (known !== undefined) {
      known.carry = carry;
      return known.stream.push(value);
    }
    const stream = this.#values.open(path);
    if (stream === undefined) return value;
    this.#running.set(key, { stream, part, carry });
    return stream.push(value);
  }

  /** The last piece of a text: all that is left of it. Throws NotMaskable. */
  last(value: string, path: readonly string[], of: PieceOf<Event>): string {
    const shown = this.piece(value, path, of);
    const stream = this.#running.get(of.key)?.stream;
    this.#running.delete(of.key);
    return shown + (stream?.end() ?? "");
  }

  /** Ends the texts of these parts: the events that carry what was held back of them. */
  flush(isOver: (part: string) => boolean): Event[] {
    const events: Event[] = [];
    for (const [key, { stream, part, carry }] of this.#running) {
      if (!isOver(part)) continue;
      this.#running.delete(key);
      const rest = stream.end();
      if (rest !== "") events.push(carry(rest));
    }
    return events;
  }
}
