// What a language model has answered so far, within its bounds: texts, thinking, tool calls, usage. Readers of every provider fill it.
import { isObject } from "./json.ts";
import type { JsonObject } from "./json.ts";

/** Characters of text and arguments kept of one answer; recordings are read by people. */
export const maxAnswerLength = 1024 * 1024;
/** Choices and tool calls kept of one answer. */
const maxParts = 256;

export interface ToolCall {
  readonly name: string;
  readonly arguments: string;
}

/** As the provider counted them. */
export interface Usage {
  /** All of the prompt, what came from a cache included. */
  readonly input: number;
  /** Thinking included. */
  readonly output: number;
  /** Of the input: read from the provider's cache, and written to it. */
  readonly cacheRead?: number;
  readonly cacheWrite?: number;
}

export interface Answer {
  /** The text of all choices or output items, in their order, parted by an empty line. */
  readonly text: string;
  /** What the model showed of its thinking. */
  readonly thinking?: string;
  readonly toolCalls: readonly ToolCall[];
  readonly usage?: Usage;
  /** The provider's own error message. */
  readonly error?: string;
  /** Some of the answer is not in here: too long, or not understood. */
  readonly truncated: boolean;
}

export class Gathering {
  /** So far; providers that stream correct it from event to event. */
  usage: Usage | undefined;
  /** Characters that the model produced so far, text, thinking and arguments alike: what is counted before it says its usage. */
  generated = 0;
  /** Parts of the answers before this one, where a body holds several. */
  parts = 0;
  #error: string | undefined;
  #truncated = false;
  #left = maxAnswerLength;
  readonly #texts = new Map<number, string[]>();
  readonly #thoughts = new Map<number, string[]>();
  readonly #calls = new Map<string, { name: string; readonly pieces: string[] }>();

  /** Calls of tools so far. */
  get calls(): number {
    return this.#calls.size;
  }

  truncate(): void {
    this.#truncated = true;
  }

  fail(message: string): void {
    this.#error = this.#take(message);
  }

  addText(part: number, text: unknown): void {
    if (typeof text !== "string" || text === "") return;
    this.generated += text.length;
    this.#entry(this.#texts, part, () => [])?.push(this.#take(text));
  }

  addThinking(part: number, text: unknown): void {
    if (typeof text !== "string" || text === "") return;
    this.generated += text.length;
    this.#entry(this.#thoughts, part, () => [])?.push(this.#take(text));
  }

  nameCall(key: string, name: unknown): void {
    if (typeof name !== "string" || name === "") return;
    const call = this.#call(key);
    if (call) call.name = this.#take(name);
  }

  addArguments(key: string, text: unknown): void {
    if (typeof text !== "string" || text === "") return;
    this.generated += text.length;
    this.#call(key)?.pieces.push(this.#take(text));
  }

  answer(): Answer {
    const thinking = joined(this.#thoughts);
    return {
      text: joined(this.#texts),
      ...(thinking !== "" && { thinking }),
      toolCalls: [...this.#calls.values()].map(({ name, pieces }) => ({
        name,
        arguments: pieces.join(""),
      })),
      ...(this.usage && { usage: this.usage }),
      ...(this.#error !== undefined && { error: this.#error }),
      truncated: this.#truncated,
    };
  }

  #call(key: string): { name: string; readonly pieces: string[] } | undefined {
    return this.#entry(this.#calls, key, () => ({ name: "", pieces: [] }));
  }

  #entry<K, V>(map: Map<K, V>, key: K, make: () => V): V | undefined {
    const known = map.get(key);
    if (known !== undefined) return known;
    if (map.size >= maxParts) {
      this.#truncated = true;
      return undefined;
    }
    const made = make();
    map.set(key, made);
    return made;
  }

  #take(text: string): string {
    if (text.length <= this.#left) {
      this.#left -= text.length;
      return text;
    }
    this.#truncated = true;
    const kept = text.slice(0, this.#left);
    this.#left = 0;
    return kept;
  }
}

function joined(parts: ReadonlyMap<number, readonly string[]>): string {
  return [...parts]
    .toSorted(([a], [b]) => a - b)
    .map(([, pieces]) => pieces.join(""))
    .join("\n\n");
}

/** The objects of a list; anything else has none. */
export function objects(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

export function numberOf(value: unknown, otherwise: number): number {
  return typeof value === "number" ? value : otherwise;
}
