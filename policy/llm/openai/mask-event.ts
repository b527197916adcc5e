// Masks the events of a streamed chat completion or response: what the deltas of one text spell together is masked as if it came
// whole, and what was held back goes out as a delta of its own before the text is said to be over.
import type { Counts, StreamMasker } from "../../mask/stream.ts";
import { isObject, type JsonObject } from "../json.ts";
import { RunningTexts } from "../mask-texts.ts";
import { rewritten, rewrittenList, ValueMasker } from "../mask-value.ts";
import type { EventMasker, NamedEvent } from "../provider.ts";
import { OllamaLines } from "./mask-lines.ts";
import { Places, type Head, type Place } from "./mask-places.ts";
import { openAiShape } from "./mask-shape.ts";

/** Lists in a delta whose items come whole, each in a list of its own. */
const wholeLists: ReadonlySet<string> = new Set(["annotations", "citations"]);

export class OpenAiEvents implements EventMasker {
  readonly #values: ValueMasker;
  readonly #texts: RunningTexts<JsonObject>;
  readonly #lines: OllamaLines;
  readonly #places = new Places();
  /** Events of ours so far, and the number of the last event that went out: `sequence_number` counts ours, too. */
  #added = 0;
  #last = 0;

  constructor(masker: StreamMasker, counts: Counts) {
    this.#values = new ValueMasker(masker, counts, openAiShape);
    this.#texts = new RunningTexts(this.#values);
    this.#lines = new OllamaLines(this.#values);
  }

  event(event: JsonObject): readonly NamedEvent[] {
    if (typeof event["done"] === "boolean") return [{ data: this.#lines.event(event) }];
    if (typeof event["type"] === "string" && !Array.isArray(event["choices"]))
      return this.#responseEvent(event, event["type"]).map(named);
    return this.#chatEvent(event).map(named);
  }

  end(): readonly NamedEvent[] {
    return [...this.#flush(() => true).map(named), ...this.#lines.end().map((data) => ({ data }))];
  }

  #chatEvent(event: JsonObject): readonly JsonObject[] {
    const over: string[] = [];
    const head: Head = { event };
    const shown = this.#values.members(event, [], 0, {
      name: "choices",
      masked: (choices) =>
        Array.isArray(choices)
          ? rewrittenList(choices, (choice, position) => this.#choice(choice, position, head, over))
          : this.#values.value(choices, ["choices"]),
    });
    head.event = shown;
    return over.length === 0 ? [shown] : [...this.#flush((part) => over.includes(part)), shown];
  }

  #choice(choice: unknown, position: number, head: Head, over: string[]): unknown {
    if (!isObject(choice)) return this.#values.value(choice, ["choices"]);
    const index = typeof choice["index"] === "number" ? choice["index"] : position;
    const part = `choice ${index}`;
    const isLast = typeof choice["finish_reason"] === "string";
    if (isLast) over.push(part);
    return rewritten(choice, (name, value) => {
      // `text` is what the older completions call it.
      if (name !== "delta" && name !== "text") return this.#values.value(value, ["choices", name]);
      const place = this.#places.of(part, name, (carried) => ({
        choices: [{ index, finish_reason: null, ...carried }],
      }));
      return this.#delta(value, place, { head, isLast });
    });
  }

  /** Every string in a delta goes on with what the same place said before. */
  #delta(value: unknown, place: Place, at: { head: Head; isLast: boolean }): unknown {
    const { path } = place;
    if (typeof value === "string") {
      const of = place.goesOn(at.head);
      return at.isLast ? this.#texts.last(value, path, of) : this.#texts.piece(value, path, of);
    }
    if (Array.isArray(value) && wholeLists.has(path.at(-1) ?? ""))
      return this.#values.value(value, path);
    if (Array.isArray(value))
      return rewrittenList(value, (one, position) =>
        this.#delta(one, place.item(itemOf(one, position)), at),
      );
    if (!isObject(value)) return this.#values.value(value, path);
    if (openAiShape(path) === "drop") return null;
    return rewritten(value, (name, one) => this.#delta(one, place.member(name), at));
  }

  #responseEvent(event: JsonObject, type: string): readonly JsonObject[] {
    const base = type.replace(/\.(?:delta|done)$/, "");
    const key = `${base} ${partOf(event)}`;
    const isDelta = type.endsWith(".delta") && typeof event["delta"] === "string";
    if (isDelta) return [this.#responseDelta(event, base, key)];
    const { delta, ...rest } = event;
    const shown = { ...this.#values.members(rest, []) };
    const isLast = ends.has(type);
    const before = this.#flush((part) => isLast || (part === key && type.endsWith(".done")));
    if (delta !== undefined) {
      const head: Head = { event: shown };
      const place = this.#places.of(key, "delta", (carried) => carried);
      shown["delta"] = this.#delta(delta, place, { head, isLast });
    }
    return [...before, this.#number(shown)];
  }

  #responseDelta(event: JsonObject, base: string, key: string): JsonObject {
    const head: Head = { event };
    const carry = (held: string): JsonObject => ({ ...head.event, delta: held });
    head.event = this.#values.members(event, [], 0, {
      name: "delta",
      masked: (delta) => this.#texts.piece(String(delta), pathOf(base), { key, part: key, carry }),
    });
    return this.#number(head.event);
  }

  #number(event: JsonObject): JsonObject {
    const number = event["sequence_number"];
    if (typeof number !== "number") return event;
    this.#last = number + this.#added;
    if (this.#added === 0) return event;
    return { ...event, sequence_number: this.#last };
  }

  #flush(isOver: (part: string) => boolean): readonly JsonObject[] {
    this.#places.leave(isOver);
    return this.#texts.flush(isOver).map((event) => {
      if (typeof event["sequence_number"] !== "number") return event;
      this.#added += 1;
      this.#last += 1;
      return { ...event, sequence_number: this.#last };
    });
  }
}

/** An event is named by its type where it has one. */
function named(data: JsonObject): NamedEvent {
  return { ...(typeof data["type"] === "string" && { name: data["type"] }), data };
}

const ends: ReadonlySet<string> = new Set([
  "response.completed",
  "response.incomplete",
  "response.failed",
  "error",
]);

/** What tells the texts of one kind apart. */
function partOf(event: JsonObject): string {
  return ["item_id", "output_index", "content_index", "summary_index"]
    .map((name) => JSON.stringify(event[name] ?? ""))
    .join(" ");
}

/** Where the text of such events stands in an answer that is not streamed. */
function pathOf(base: string): readonly string[] {
  if (base.endsWith("arguments")) return ["arguments"];
  return base.endsWith("audio") ? ["data"] : ["text"];
}

/** Servers that give whole calls at once leave their index away; each has its id. */
function itemOf(item: unknown, position: number): JsonObject {
  if (!isObject(item)) return { index: position };
  if (typeof item["index"] === "number") return { index: item["index"] };
  return typeof item["id"] === "string" ? { id: item["id"] } : { index: position };
}
