// Masks the values of one provider's JSON that are there whole, each string by what the provider's shape says it is.
import { everything, JsonStream, maskJson, NotMaskable, type Shape } from "../mask/stream-json.ts";
import { isOpaque } from "../mask/stream-json-string.ts";
import { namedContext, type Counts, type StreamMasker, type TextStream } from "../mask/stream.ts";
import { isObject, maxDepth, type JsonObject } from "./json.ts";

export class ValueMasker {
  readonly shape: Shape;
  readonly #masker: StreamMasker;
  readonly #counts: Counts;

  constructor(masker: StreamMasker, counts: Counts, shape: Shape) {
    this.#masker = masker;
    this.#counts = counts;
    this.shape = shape;
  }

  /** Each member, its name too; lists add nothing to a path. Throws NotMaskable. */
  members(
    object: JsonObject,
    path: readonly string[],
    depth: number = path.length,
  ): Record<string, unknown> {
    if (depth > maxDepth) throw tooDeep();
    return Object.fromEntries(
      Object.entries(object).map(([name, value]) => [
        this.#masker.whole(name, this.#counts),
        this.value(value, [...path, name], depth + 1),
      ]),
    );
  }

  /** @param depth levels that it stands below, lists too */
  value(value: unknown, path: readonly string[], depth: number = path.length): unknown {
    if (typeof value === "string") return this.#string(value, path);
    if (typeof value === "number")
      return this.#masker.whole(String(value), this.#counts) === String(value) ? value : null;
    if (value === null || typeof value !== "object") return value;
    if (this.shape(path) === "drop") return Array.isArray(value) ? [] : null;
    if (Array.isArray(value)) {
      if (depth > maxDepth) throw tooDeep();
      return value.map((one: unknown) => this.value(one, path, depth + 1));
    }
    return isObject(value) ? this.members(value, path, depth) : value;
  }

  /** A text that stands here and comes in pieces; undefined where such a text is left alone. */
  open(path: readonly string[]): TextStream | undefined {
    const treatment = this.shape(path);
    if (treatment === "keep") return undefined;
    if (treatment === "json") return new JsonStream(this.#inner());
    return this.#masker.open(this.#counts, namedContext(path.at(-1) ?? ""));
  }

  #string(value: string, path: readonly string[]): string {
    switch (this.shape(path)) {
      case "keep":
        return value;
      case "json":
        return maskJson(this.#inner(), value);
      case "opaque":
        if (isOpaque(value)) return value;
        break;
    }
    return this.#masker.whole(value, this.#counts, namedContext(path.at(-1) ?? ""));
  }

  #inner() {
    return {
      masker: this.#masker,
      counts: this.#counts,
      shape: everything,
      otherwise: "text",
    } as const;
  }
}

export function tooDeep(): NotMaskable {
  return new NotMaskable(`an event is nested deeper than ${maxDepth} levels`);
}
