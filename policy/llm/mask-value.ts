// Masks the values of one provider's JSON that are there whole, each string by what the provider's shape says it is.
import { everything, JsonStream, maskJson, NotMaskable, type Shape } from "../mask/stream-json.ts";
import { isOpaque } from "../mask/stream-json-string.ts";
import { namedContext, type Counts, type StreamMasker, type TextStream } from "../mask/stream.ts";
import { isObject, maxDepth, type JsonObject } from "./json.ts";

/** Names that are known to stay as they are; providers use fewer than a hundred. */
const maxNames = 512;
/** No built-in detector finds anything in numbers of fewer digits. */
const smallestFinding = 1e8;

export class ValueMasker {
  readonly shape: Shape;
  readonly #masker: StreamMasker;
  readonly #counts: Counts;
  readonly #quietNames = new Set<string>();

  constructor(masker: StreamMasker, counts: Counts, shape: Shape) {
    this.#masker = masker;
    this.#counts = counts;
    this.shape = shape;
  }

  /**
   * Each member, its name too; lists add nothing to a path. The object itself where nothing in it changes. Throws NotMaskable.
   *
   * @param own what becomes of members with this name, whose name stays, too
   */
  members(
    object: JsonObject,
    path: readonly string[],
    depth: number = path.length,
    own?: { readonly name: string; readonly masked: (value: unknown) => unknown },
  ): JsonObject {
    if (depth > maxDepth) throw tooDeep();
    const below = [...path, ""];
    return rewritten(
      object,
      (name, value) => {
        if (name === own?.name) return own.masked(value);
        below[path.length] = name;
        return this.value(value, below, depth + 1);
      },
      (name) => (name === own?.name ? name : this.#name(name)),
    );
  }

  #name(name: string): string {
    if (this.#quietNames.has(name)) return name;
    const shown = this.#masker.whole(name, this.#counts);
    if (shown === name && this.#quietNames.size < maxNames) this.#quietNames.add(name);
    return shown;
  }

  /** @param depth levels that it stands below, lists too */
  value(value: unknown, path: readonly string[], depth: number = path.length): unknown {
    if (typeof value === "string") return this.#string(value, path);
    if (typeof value === "number") return this.#isQuiet(value) ? value : null;
    if (value === null || typeof value !== "object") return value;
    if (this.shape(path) === "drop") return Array.isArray(value) ? [] : null;
    if (Array.isArray(value)) {
      if (depth > maxDepth) throw tooDeep();
      return rewrittenList(value, (one) => this.value(one, path, depth + 1));
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

  #isQuiet(value: number): boolean {
    const isShort = Number.isInteger(value) && Math.abs(value) < smallestFinding;
    if (isShort && this.#masker.parts.seesFindings) return true;
    const text = String(value);
    return this.#masker.whole(text, this.#counts) === text;
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

/** With what each member becomes; the object itself where nothing changes. Members are asked for in their order, each once. */
export function rewritten(
  object: JsonObject,
  member: (name: string, value: unknown) => unknown,
  renamed: (name: string) => string = (name) => name,
): JsonObject {
  const names = Object.keys(object);
  let entries: [string, unknown][] | undefined;
  for (const [index, name] of names.entries()) {
    const value = object[name];
    const shownName = renamed(name);
    const shown = member(name, value);
    if (entries === undefined) {
      if (shown === value && shownName === name) continue;
      entries = names.slice(0, index).map((before) => [before, object[before]]);
    }
    entries.push([shownName, shown]);
  }
  return entries === undefined ? object : Object.fromEntries(entries);
}

/** The same of a list. */
export function rewrittenList(
  list: readonly unknown[],
  item: (value: unknown, index: number) => unknown,
): readonly unknown[] {
  const shown = list.map(item);
  return shown.every((value, index) => value === list[index]) ? list : shown;
}

export function tooDeep(): NotMaskable {
  return new NotMaskable(`an event is nested deeper than ${maxDepth} levels`);
}
