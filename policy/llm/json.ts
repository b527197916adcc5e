// JSON that every reader reads alike: UTF-8, no duplicate names, bounded depth. Parsers differ on the rest, so it is refused.

/** Deepest nesting looked at; tool schemas stay far below. */
export const maxDepth = 100;

export type StrictJson = { readonly value: unknown } | { readonly problem: string };

export function parseStrict(body: Uint8Array | string): StrictJson {
  const text = typeof body === "string" ? body : decodeUtf8(body);
  if (text === undefined) return { problem: "the body is no UTF-8" };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { problem: "the body is no JSON" };
  }
  const problem = ambiguity(text);
  return problem === undefined ? { value } : { problem };
}

function decodeUtf8(body: Uint8Array): string | undefined {
  try {
    // A byte order mark stays in the text, where JSON.parse refuses it.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
  } catch {
    return undefined;
  }
}

/** One level of nesting: the names seen in an object, or null for an array. */
type Level = Set<string> | null;

/** Walks text that is known to be JSON. JSON.parse keeps the last of two equal names, other parsers the first. */
function ambiguity(text: string): string | undefined {
  const levels: Level[] = [];
  let expectsName = false;
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case "{":
        levels.push(new Set());
        expectsName = true;
        break;
      case "[":
        levels.push(null);
        expectsName = false;
        break;
      case "}":
      case "]":
        levels.pop();
        expectsName = false;
        break;
      case ",":
        expectsName = levels.at(-1) instanceof Set;
        break;
      case '"': {
        const end = endOfString(text, at);
        if (expectsName) {
          const name = readName(text.slice(at, end + 1));
          const names = levels.at(-1);
          if (names?.has(name))
            return `the body names ${JSON.stringify(name.slice(0, 64))} twice in one object`;
          names?.add(name);
          expectsName = false;
        }
        at = end;
        break;
      }
    }
    if (levels.length > maxDepth) return `the body is nested deeper than ${maxDepth} levels`;
  }
  return undefined;
}

/** Index of the closing quote. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === '"') return at;
  }
  return text.length;
}

/** `"mod\u0065l"` is the name `model`. */
function readName(quoted: string): string {
  if (!quoted.includes("\\")) return quoted.slice(1, -1);
  const name: unknown = JSON.parse(quoted);
  return typeof name === "string" ? name : quoted;
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
