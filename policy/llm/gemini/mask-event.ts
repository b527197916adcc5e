// Masks the answers that a streamed one of the Gemini API comes in: what the text parts of one candidate spell together is masked as if
// it came whole, and what was held back goes out as a part of its own before another kind of part, or before the candidate is over.
import type { Counts, StreamMasker } from "../../mask/stream.ts";
import { isObject, type JsonObject } from "../json.ts";
import { RunningTexts } from "../mask-texts.ts";
import { ValueMasker } from "../mask-value.ts";
import type { EventMasker, NamedEvent } from "../provider.ts";
import { geminiShape } from "./mask-shape.ts";

/** A part that carries what was held back, of the candidate with this index. */
interface Held {
  readonly index: number;
  readonly part: JsonObject;
}

export class GeminiEvents implements EventMasker {
  readonly #values: ValueMasker;
  readonly #texts: RunningTexts<Held>;

  constructor(masker: StreamMasker, counts: Counts) {
    this.#values = new ValueMasker(masker, counts, geminiShape);
    this.#texts = new RunningTexts(this.#values);
  }

  event(event: JsonObject): readonly NamedEvent[] {
    const { candidates, ...rest } = event;
    const shown = { ...this.#values.members(rest, []) };
    if (!Array.isArray(candidates)) return [{ data: shown }];
    shown["candidates"] = candidates.map((candidate: unknown, position) =>
      isObject(candidate)
        ? this.#candidate(candidate, position)
        : this.#values.value(candidate, ["candidates"]),
    );
    return [{ data: shown }];
  }

  end(): readonly NamedEvent[] {
    return this.#texts
      .flush(() => true)
      .map(({ index, part }) => ({
        data: { candidates: [{ index, content: { role: "model", parts: [part] } }] },
      }));
  }

  #candidate(candidate: JsonObject, position: number): JsonObject {
    const { content, ...rest } = candidate;
    const index = typeof candidate["index"] === "number" ? candidate["index"] : position;
    const parts = isObject(content)
      ? listOf(content["parts"]).flatMap((part) => this.#part(part, index))
      : [];
    if (typeof candidate["finishReason"] === "string") parts.push(...this.#rest(index, ""));
    const shown = { ...this.#values.members(rest, ["candidates"]) };
    if (!isObject(content))
      return parts.length === 0 ? shown : { ...shown, content: { role: "model", parts } };
    const { parts: came, ...about } = content;
    return {
      ...shown,
      content: {
        ...this.#values.members(about, ["candidates", "content"]),
        ...((came !== undefined || parts.length > 0) && { parts }),
      },
    };
  }

  /** The part, after what was held back of a text that it does not go on with. */
  #part(part: unknown, index: number): unknown[] {
    const path = ["candidates", "content", "parts"];
    if (!isObject(part) || typeof part["text"] !== "string")
      return [...this.#rest(index, ""), this.#values.value(part, path)];
    const { text, ...rest } = part;
    const kind = `candidate ${index} ${part["thought"] === true ? "thought" : "text"}`;
    const before = this.#rest(index, kind);
    const about = part["thought"] === true ? { thought: true } : {};
    const said = this.#texts.piece(text, [...path, "text"], {
      key: kind,
      part: kind,
      carry: (held) => ({ index, part: { text: held, ...about } }),
    });
    return [...before, { text: said, ...this.#values.members(rest, path) }];
  }

  /** Of every text of the candidate but this one. */
  #rest(index: number, but: string): JsonObject[] {
    return this.#texts
      .flush((part) => part !== but && part.startsWith(`candidate ${index} `))
      .map(({ part }) => part);
  }
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : value === undefined ? [] : [value];
}
