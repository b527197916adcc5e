// Reads JSON texts that say nearly the same one after the other, as the events of a stream do: what they have in common is read once.
import { isObject } from "../json.ts";

/** Strings and numbers that differ from text to text: a delta, its number, what obscures its length. */
const maxHoles = 4;
/** Longer texts are no deltas. */
const longestText = 4_096;
/** Texts that are read as others in a row before something else is looked for. */
const maxMisses = 2;
/** Texts between two looks where nothing was found, at most. */
const longestPause = 64;

/** A JSON text with holes in it. */
interface Form {
  readonly holes: readonly Hole[];
  /** What stands behind the last hole. */
  readonly rest: string;
  readonly value: unknown;
}

interface Hole {
  /** What stands before it, and behind the hole before it. */
  readonly before: string;
  readonly isString: boolean;
  /** What it is a member or an item of, in `value`, and which. */
  readonly parent: Record<string, unknown>;
  readonly key: string;
  found: string | number;
}

export class SimilarJson {
  #form: Form | undefined;
  #last = "";
  #misses = 0;
  #pause = 1;
  #wait = 0;

  /** What JSON.parse makes of it, and throws. The value is valid until the next call: that may give the same with another text in it. */
  parse(text: string): unknown {
    if (this.#form !== undefined && fills(this.#form, text)) {
      this.#misses = 0;
      this.#pause = 1;
      return this.#form.value;
    }
    const value: unknown = JSON.parse(text);
    this.#learn(text);
    return value;
  }

  #learn(text: string): void {
    this.#misses += 1;
    this.#wait -= 1;
    const last = this.#last;
    this.#last = text.length > longestText ? "" : text;
    if (this.#last === "" || last === "" || this.#wait > 0) return;
    if (this.#form !== undefined && this.#misses <= maxMisses) return;
    this.#form = formOf(last, text);
    this.#misses = 0;
    this.#pause = Math.min(longestPause, this.#pause * 2);
    this.#wait = this.#pause;
  }
}

/** Controls, which JSON forbids in strings, and the backslash. */
const outsidePlain = /[^ -[\]-\uffff]/;
const digits = /(?:0|[1-9]\d{0,14})(?![\d.eE+-])/y;

/** Puts what stands in the holes of this text into the value; false where the text is another. */
function fills({ holes, rest }: Form, text: string): boolean {
  let at = 0;
  for (const hole of holes) {
    const from = at + hole.before.length;
    // Far faster than startsWith.
    if (text.slice(at, from) !== hole.before) return false;
    at = hole.isString ? text.indexOf('"', from) : endOfDigits(text, from);
    if (at < 0) return false;
    const found = text.slice(from, at);
    if (hole.isString && outsidePlain.test(found)) return false;
    hole.found = hole.isString ? found : Number(found);
  }
  if (text.slice(at) !== rest) return false;
  for (const { parent, key, found } of holes) parent[key] = found;
  return true;
}

function endOfDigits(text: string, from: number): number {
  digits.lastIndex = from;
  return digits.test(text) ? digits.lastIndex : -1;
}

interface Token {
  readonly start: number;
  readonly end: number;
}

/** Of a text that is JSON. */
function tokensOf(text: string): Token[] {
  return Array.from(text.matchAll(/"(?:[^"\\]|\\.)*"|[^\s"{}[\],:]+|[{}[\],:]/g), (match) => ({
    start: match.index,
    end: match.index + match[0].length,
  }));
}

/** What two texts have in common; undefined where they differ in more than a few strings and numbers. */
function formOf(last: string, text: string): Form | undefined {
  const before = tokensOf(last);
  const tokens = tokensOf(text);
  if (before.length !== tokens.length) return undefined;
  const differing = tokens.filter(
    (token, index) => wordOf(last, before[index]) !== wordOf(text, token),
  );
  if (differing.length === 0 || differing.length > maxHoles) return undefined;
  const kinds = differing.map((token) => kindOf(wordOf(text, token)));
  if (kinds.includes("other")) return undefined;
  const parts = partsOf(text, differing);
  // Something of its own in every hole, twice: where in the value both come out is what the hole is, and no other place can be taken for it.
  const first = filled(parts, kinds, "\u2026", 4_800_000);
  const second = filled(parts, kinds, "\u2027", 5_900_000);
  const holes: Hole[] = [];
  for (const [index, mark] of first.marks.entries()) {
    const [path, ...more] = pathsTo(first.value, mark, []);
    const key = path?.at(-1);
    if (path === undefined || key === undefined || more.length > 0) return undefined;
    const parent = valueAt(first.value, path.slice(0, -1));
    if (valueAt(second.value, path) !== second.marks[index] || !isContainer(parent))
      return undefined;
    holes.push({
      before: parts[index] ?? "",
      isString: kinds[index] === "string",
      parent,
      key,
      found: "",
    });
  }
  const form = { holes, rest: parts.at(-1) ?? "", value: first.value };
  return fills(form, text) ? form : undefined;
}

function filled(
  parts: readonly string[],
  kinds: readonly string[],
  word: string,
  number: number,
): { readonly value: unknown; readonly marks: readonly (string | number)[] } {
  const marks = kinds.map((kind, index) => (kind === "string" ? word + index : number + index));
  const text = parts.map((part, index) => part + String(marks[index] ?? "")).join("");
  return { value: JSON.parse(text), marks };
}

function wordOf(text: string, token: Token | undefined): string {
  return token === undefined ? "" : text.slice(token.start, token.end);
}

function kindOf(word: string): "string" | "number" | "other" {
  if (word.startsWith('"')) return "string";
  return endOfDigits(word, 0) === word.length ? "number" : "other";
}

/** Quotes belong to the parts. */
function partsOf(text: string, holes: readonly Token[]): string[] {
  const parts: string[] = [];
  let from = 0;
  for (const { start, end } of holes) {
    const quote = text[start] === '"' ? 1 : 0;
    parts.push(text.slice(from, start + quote));
    from = end - quote;
  }
  parts.push(text.slice(from));
  // Copies: a part of a text keeps all of it, and is compared more slowly.
  return parts.map((part) => String(JSON.parse(JSON.stringify(part))));
}

/** Where in a value this one stands. What is a name, or what another member of that name hides, stands nowhere. */
function pathsTo(value: unknown, mark: string | number, path: readonly string[]): string[][] {
  if (!isContainer(value)) return [];
  return Object.entries(value).flatMap(([key, one]) => {
    // It can be read as a member, and not be set as one.
    if (key === "__proto__") return [];
    return one === mark ? [[...path, key]] : pathsTo(one, mark, [...path, key]);
  });
}

function valueAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, key) => (isContainer(at) ? at[key] : undefined), value);
}

function isContainer(value: unknown): value is Record<string, unknown> {
  return isObject(value) || Array.isArray(value);
}
