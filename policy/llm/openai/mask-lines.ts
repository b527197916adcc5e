// Masks the lines of a streamed answer of Ollama: what `message.content`, `message.thinking`, `response` and `thinking` spell together over
// the lines is masked as if it came whole. The last line, which says `done`, brings what was held back.
import { isObject, type JsonObject } from "../json.ts";
import { RunningTexts } from "../mask-texts.ts";
import type { ValueMasker } from "../mask-value.ts";

/** A text, and where it stands. */
interface Held {
  readonly place: string;
  readonly text: string;
}

const running: ReadonlySet<string> = new Set(["response", "thinking", "content"]);

export class OllamaLines {
  readonly #values: ValueMasker;
  readonly #texts: RunningTexts<Held>;
  /** What each line says of itself. */
  #head: JsonObject = {};

  constructor(values: ValueMasker) {
    this.#values = values;
    this.#texts = new RunningTexts(values);
  }

  /** Throws NotMaskable. */
  event(event: JsonObject): JsonObject {
    const { message, ...rest } = event;
    const shown: Record<string, unknown> = this.#members(rest, "");
    this.#head = { model: shown["model"], created_at: shown["created_at"] };
    if (isObject(message)) shown["message"] = this.#members(message, "message");
    else if (message !== undefined) shown["message"] = this.#values.value(message, ["message"]);
    return event["done"] === true ? this.#withRest(shown) : shown;
  }

  /** The stream ends before it is done. */
  end(): readonly JsonObject[] {
    const held = this.#texts.flush(() => true);
    if (held.length === 0) return [];
    return [put({ ...this.#head, done: false }, held)];
  }

  #withRest(shown: Record<string, unknown>): JsonObject {
    return put(
      shown,
      this.#texts.flush(() => true),
    );
  }

  #members(object: JsonObject, below: "" | "message"): Record<string, unknown> {
    const path = below === "" ? [] : [below];
    const texts = Object.entries(object).filter(
      (entry): entry is [string, string] => running.has(entry[0]) && typeof entry[1] === "string",
    );
    const others = Object.entries(object).filter(
      ([name, value]) => !running.has(name) || typeof value !== "string",
    );
    const shown = { ...this.#values.members(Object.fromEntries(others), path) };
    for (const [name, value] of texts) {
      const place = [...path, name].join(".");
      shown[name] = this.#texts.piece(value, [...path, name], {
        key: place,
        part: "all",
        carry: (text) => ({ place, text }),
      });
    }
    return shown;
  }
}

function put(shown: Record<string, unknown>, held: readonly Held[]): JsonObject {
  const result = { ...shown };
  for (const { place, text } of held) {
    const [first = "", second] = place.split(".");
    if (second === undefined) result[first] = joined(result[first], text);
    else {
      const inner = isObject(result[first]) ? result[first] : { role: "assistant" };
      result[first] = { ...inner, [second]: joined(inner[second], text) };
    }
  }
  return result;
}

function joined(before: unknown, text: string): string {
  return typeof before === "string" ? before + text : text;
}
