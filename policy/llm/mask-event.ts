// Masks the events of a streamed chat completion or response: what the deltas of one text spell together is masked as if it came
// whole, and what was held back goes out as a delta of its own before the text is said to be over.
import { isObject, maxDepth, type JsonObject } from "./json.ts";
import {
  JsonStream,
  maskJson,
  NotMaskable,
  type JsonMasking,
  type Shape,
} from "../mask/stream-json.ts";
import { namedContext, type Counts, type StreamMasker, type TextStream } from "../mask/stream.ts";
import { openAiShape } from "./mask-shape.ts";

/** Texts of one stream that are put together at a time: choices, content parts, tool calls. */
const maxTexts = 1_024;

export interface EventMasker {
  /** The events to send in the place of this one. Throws NotMaskable. */
  event(event: JsonObject): readonly JsonObject[];
  /** The stream ends: what was held back. */
  end(): readonly JsonObject[];
}

/** One text that comes in deltas. */
interface Running {
  readonly stream: TextStream;
  /** Of the choice, or the output item. */
  readonly part: string;
  /** An event that carries what is held back. */
  carry(rest: string): JsonObject;
}

type Step = string | { readonly index: number };

export class OpenAiEvents implements EventMasker {
  readonly #masker: StreamMasker;
  readonly #counts: Counts;
  readonly #running = new Map<string, Running>();
  /** Events of ours so far, and the number of the last event that went out: `sequence_number` counts ours, too. */
  #added = 0;
  #last = 0;

  constructor(masker: StreamMasker, counts: Counts) {
    this.#masker = masker;
    this.#counts = counts;
  }

  event(event: JsonObject): readonly JsonObject[] {
    if (typeof event["type"] === "string" && !Array.isArray(event["choices"]))
      return this.#responseEvent(event, event["type"]);
    return this.#chatEvent(event);
  }

  end(): readonly JsonObject[] {
    return this.#flush(() => true);
  }

  #chatEvent(event: JsonObject): readonly JsonObject[] {
    const { choices, ...rest } = event;
    const shown: Record<string, unknown> = this.#members(rest, []);
    if (!Array.isArray(choices)) return [shown];
    const { usage: _usage, ...head } = shown;
    const over: string[] = [];
    shown["choices"] = choices.map((choice: unknown, position) => {
      if (!isObject(choice)) return this.#value(choice, ["choices"]);
      const index = typeof choice["index"] === "number" ? choice["index"] : position;
      if (typeof choice["finish_reason"] === "string") over.push(`choice ${index}`);
      return this.#choice(choice, index, head);
    });
    if (over.length === 0) return [shown];
    return [...this.#flush(({ part }) => over.includes(part)), shown];
  }

  #choice(choice: JsonObject, index: number, head: JsonObject): JsonObject {
    const result: Record<string, unknown> = {};
    const carry = (steps: readonly Step[], rest: string): JsonObject => ({
      ...head,
      choices: [{ index, finish_reason: null, ...nested(steps, rest) }],
    });
    for (const [name, value] of Object.entries(choice)) {
      // `text` is what the older completions call it.
      result[name] =
        name === "delta" || name === "text"
          ? this.#delta(value, [name], { part: `choice ${index}`, carry })
          : this.#value(value, ["choices", name]);
    }
    return result;
  }

  /** Every string in a delta goes on with what the same place said before. */
  #delta(
    value: unknown,
    steps: readonly Step[],
    to: { part: string; carry: (steps: readonly Step[], rest: string) => JsonObject },
  ): unknown {
    if (steps.length > maxDepth) throw tooDeep();
    const path = steps.filter((step) => typeof step === "string");
    if (typeof value === "string") {
      const carry = (rest: string): JsonObject => to.carry(steps, rest);
      return this.#piece(value, path, {
        key: `${to.part} ${JSON.stringify(steps)}`,
        part: to.part,
        carry,
      });
    }
    if (Array.isArray(value))
      return value.map((one: unknown, position) => {
        const index = isObject(one) && typeof one["index"] === "number" ? one["index"] : position;
        return this.#delta(one, [...steps, { index }], to);
      });
    if (!isObject(value)) return this.#value(value, path);
    if (openAiShape(path) === "drop") return null;
    return Object.fromEntries(
      Object.entries(value).map(([name, one]) => [name, this.#delta(one, [...steps, name], to)]),
    );
  }

  #responseEvent(event: JsonObject, type: string): readonly JsonObject[] {
    const { delta, ...rest } = event;
    const base = type.replace(/\.(?:delta|done)$/, "");
    const key = `${base} ${partOf(event)}`;
    const shown = this.#members(rest, []);
    if (type.endsWith(".delta") && typeof delta === "string") {
      const carry = (held: string): JsonObject => ({ ...shown, delta: held });
      const said = this.#piece(delta, pathOf(base), { key, part: key, carry });
      return [this.#number({ ...shown, delta: said })];
    }
    const isLast = ends.has(type);
    const before = this.#flush(({ part }) => isLast || (part === key && type.endsWith(".done")));
    if (delta !== undefined) shown["delta"] = this.#value(delta, ["delta"]);
    return [...before, this.#number(shown)];
  }

  #number(event: Record<string, unknown>): JsonObject {
    const number = event["sequence_number"];
    if (typeof number !== "number") return event;
    this.#last = number + this.#added;
    return { ...event, sequence_number: this.#last };
  }

  #piece(
    value: string,
    path: readonly string[],
    { key, part, carry }: { key: string; part: string; carry: (rest: string) => JsonObject },
  ): string {
    const treatment = openAiShape(path);
    if (treatment === "keep" || (treatment === "opaque" && /^[\w+/=-]*$/.test(value))) return value;
    const known = this.#running.get(key);
    if (known === undefined && this.#running.size >= maxTexts)
      throw new NotMaskable(`the stream carries more than ${maxTexts} texts at a time`);
    const stream =
      known?.stream ??
      (treatment === "json"
        ? new JsonStream(this.#options(inArguments, "text"))
        : this.#masker.open(this.#counts, namedContext(path.at(-1) ?? "")));
    this.#running.set(key, { stream, part, carry });
    return stream.push(value);
  }

  #flush(isOver: (running: Running) => boolean): readonly JsonObject[] {
    const events: JsonObject[] = [];
    for (const [key, running] of this.#running) {
      if (!isOver(running)) continue;
      this.#running.delete(key);
      const rest = running.stream.end();
      if (rest === "") continue;
      const event = running.carry(rest);
      if (typeof event["sequence_number"] !== "number") events.push(event);
      else {
        this.#added += 1;
        this.#last += 1;
        events.push({ ...event, sequence_number: this.#last });
      }
    }
    return events;
  }

  #members(object: JsonObject, path: readonly string[]): Record<string, unknown> {
    if (path.length > maxDepth) throw tooDeep();
    return Object.fromEntries(
      Object.entries(object).map(([name, value]) => [
        this.#masker.whole(name, this.#counts),
        this.#value(value, [...path, name]),
      ]),
    );
  }

  /** A value that is there whole. */
  #value(value: unknown, path: readonly string[]): unknown {
    if (typeof value === "string") return this.#string(value, path);
    if (typeof value === "number")
      return this.#masker.whole(String(value), this.#counts) === String(value) ? value : null;
    if (value === null || typeof value !== "object") return value;
    if (openAiShape(path) === "drop") return Array.isArray(value) ? [] : null;
    if (Array.isArray(value)) {
      if (path.length > maxDepth) throw tooDeep();
      return value.map((one: unknown) => this.#value(one, path));
    }
    return isObject(value) ? this.#members(value, path) : value;
  }

  #string(value: string, path: readonly string[]): string {
    switch (openAiShape(path)) {
      case "keep":
        return value;
      case "json":
        return maskJson(this.#options(inArguments, "text"), value);
      case "opaque":
        if (/^[\w+/=-]*$/.test(value)) return value;
        break;
    }
    return this.#masker.whole(value, this.#counts, namedContext(path.at(-1) ?? ""));
  }

  #options(shape: Shape, otherwise: JsonMasking["otherwise"]): JsonMasking {
    return { masker: this.#masker, counts: this.#counts, shape, otherwise };
  }
}

const inArguments: Shape = () => "text";

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
      typeof step === "string"
        ? { [step]: below }
        : [{ index: step.index, ...(isObject(below) && below) }],
    value,
  );
  return isObject(inner) ? inner : {};
}

function tooDeep(): NotMaskable {
  return new NotMaskable(`an event is nested deeper than ${maxDepth} levels`);
}
