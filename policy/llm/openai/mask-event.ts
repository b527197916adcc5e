// Masks the events of a streamed chat completion or response: what the deltas of one text spell together is masked as if it came
// whole, and what was held back goes out as a delta of its own before the text is said to be over.
import type { Counts, StreamMasker } from "../../mask/stream.ts";
import { isObject, maxDepth, type JsonObject } from "../json.ts";
import { RunningTexts } from "../mask-texts.ts";
import { tooDeep, ValueMasker } from "../mask-value.ts";
import type { EventMasker, NamedEvent } from "../provider.ts";
import { OllamaLines } from "./mask-lines.ts";
import { openAiShape } from "./mask-shape.ts";

/** A member, or an item of a list with what tells it from the others: its index, or its id. */
type Step = string | JsonObject;

/** Lists in a delta whose items come whole, each in a list of its own. */
const wholeLists: ReadonlySet<string> = new Set(["annotations", "citations"]);

export class OpenAiEvents implements EventMasker {
  readonly #values: ValueMasker;
  readonly #texts: RunningTexts<JsonObject>;
  readonly #lines: OllamaLines;
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
    const { choices, ...rest } = event;
    const shown: Record<string, unknown> = this.#values.members(rest, []);
    if (!Array.isArray(choices)) return [shown];
    const { usage: _usage, ...head } = shown;
    const over: string[] = [];
    shown["choices"] = choices.map((choice: unknown, position) => {
      if (!isObject(choice)) return this.#values.value(choice, ["choices"]);
      const index = typeof choice["index"] === "number" ? choice["index"] : position;
      if (typeof choice["finish_reason"] === "string") over.push(`choice ${index}`);
      return this.#choice(choice, index, head);
    });
    if (over.length === 0) return [shown];
    return [...this.#flush((part) => over.includes(part)), shown];
  }

  #choice(choice: JsonObject, index: number, head: JsonObject): JsonObject {
    const result: Record<string, unknown> = {};
    const carry = (steps: readonly Step[], rest: string): JsonObject => ({
      ...head,
      choices: [{ index, finish_reason: null, ...nested(steps, rest) }],
    });
    const isLast = typeof choice["finish_reason"] === "string";
    for (const [name, value] of Object.entries(choice)) {
      // `text` is what the older completions call it.
      result[name] =
        name === "delta" || name === "text"
          ? this.#delta(value, [name], { part: `choice ${index}`, isLast, carry })
          : this.#values.value(value, ["choices", name]);
    }
    return result;
  }

  /** Every string in a delta goes on with what the same place said before. */
  #delta(
    value: unknown,
    steps: readonly Step[],
    to: {
      part: string;
      isLast: boolean;
      carry: (steps: readonly Step[], rest: string) => JsonObject;
    },
  ): unknown {
    if (steps.length > maxDepth) throw tooDeep();
    const path = steps.filter((step) => typeof step === "string");
    if (typeof value === "string") {
      const carry = (rest: string): JsonObject => to.carry(steps, rest);
      const of = { key: `${to.part} ${JSON.stringify(steps)}`, part: to.part, carry };
      return to.isLast ? this.#texts.last(value, path, of) : this.#texts.piece(value, path, of);
    }
    if (Array.isArray(value) && wholeLists.has(path.at(-1) ?? ""))
      return this.#values.value(value, path);
    if (Array.isArray(value))
      return value.map((one: unknown, position) => {
        return this.#delta(one, [...steps, itemOf(one, position)], to);
      });
    if (!isObject(value)) return this.#values.value(value, path);
    if (openAiShape(path) === "drop") return null;
    return Object.fromEntries(
      Object.entries(value).map(([name, one]) => [name, this.#delta(one, [...steps, name], to)]),
    );
  }

  #responseEvent(event: JsonObject, type: string): readonly JsonObject[] {
    const { delta, ...rest } = event;
    const base = type.replace(/\.(?:delta|done)$/, "");
    const key = `${base} ${partOf(event)}`;
    const shown = this.#values.members(rest, []);
    if (type.endsWith(".delta") && typeof delta === "string") {
      const carry = (held: string): JsonObject => ({ ...shown, delta: held });
      const said = this.#texts.piece(delta, pathOf(base), { key, part: key, carry });
      return [this.#number({ ...shown, delta: said })];
    }
    const isLast = ends.has(type);
    const before = this.#flush((part) => isLast || (part === key && type.endsWith(".done")));
    if (delta !== undefined) {
      const carry = (steps: readonly Step[], rest: string): JsonObject => ({
        ...shown,
        ...nested(steps, rest),
      });
      shown["delta"] = this.#delta(delta, ["delta"], { part: key, isLast, carry });
    }
    return [...before, this.#number(shown)];
  }

  #number(event: Record<string, unknown>): JsonObject {
    const number = event["sequence_number"];
    if (typeof number !== "number") return event;
    this.#last = number + this.#added;
    return { ...event, sequence_number: this.#last };
  }

  #flush(isOver: (part: string) => boolean): readonly JsonObject[] {
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

function nested(steps: readonly Step[], value: unknown): JsonObject {
  const inner = steps.reduceRight<unknown>(
    (below, step) =>
      typeof step === "string" ? { [step]: below } : [{ ...step, ...(isObject(below) && below) }],
    value,
  );
  return isObject(inner) ? inner : {};
}

/** Servers that give whole calls at once leave their index away; each has its id. */
function itemOf(item: unknown, position: number): JsonObject {
  if (!isObject(item)) return { index: position };
  if (typeof item["index"] === "number") return { index: item["index"] };
  return typeof item["id"] === "string" ? { id: item["id"] } : { index: position };
}
