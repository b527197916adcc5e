// Sets members of a JSON object in its text, so that everything else of it stays as its author wrote it: numbers that JavaScript cannot
// hold, the order of names, blanks.
import { endOfString } from "./json.ts";

/**
 * @param text an object, as `parseStrict` let it pass
 * @param members by name: their values take the place of those that are there, or are added in front
 */
export function withMembers(text: string, members: Readonly<Record<string, unknown>>): string {
  const pieces: string[] = [];
  const missing = new Map(Object.entries(members));
  const begin = text.indexOf("{") + 1;
  let at = begin;
  for (const { name, start, end } of topMembers(text, begin)) {
    if (!missing.has(name)) continue;
    pieces.push(text.slice(at, start), JSON.stringify(missing.get(name)));
    missing.delete(name);
    at = end;
  }
  pieces.push(text.slice(at));
  const rest = pieces.join("");
  const added = [...missing].map(
    ([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`,
  );
  const isEmpty = /^\s*\}/.test(text.slice(begin));
  const comma = added.length > 0 && !isEmpty ? "," : "";
  return `${text.slice(0, begin)}${added.join(",")}${comma}${rest}`;
}

interface Member {
  readonly name: string;
  /** Of its value. */
  readonly start: number;
  readonly end: number;
}

/** Of the object that begins before `from`. */
function topMembers(text: string, from: number): Member[] {
  const members: Member[] = [];
  let depth = 1;
  let name: string | undefined;
  let start = from;
  for (let at = from; at < text.length; at++) {
    switch (text[at]) {
      case '"': {
        const end = endOfString(text, at);
        if (depth === 1 && name === undefined) name = String(JSON.parse(text.slice(at, end + 1)));
        at = end;
        break;
      }
      case ":":
        if (depth === 1) start = at + 1;
        break;
      case "{":
      case "[":
        depth += 1;
        break;
      case "}":
      case "]":
        depth -= 1;
        if (depth > 0) break;
        if (name !== undefined) members.push({ name, start, end: at });
        return members;
      case ",":
        if (depth > 1) break;
        if (name !== undefined) members.push({ name, start, end: at });
        name = undefined;
        break;
    }
  }
  return members;
}
