// The canonical form of what JSON.parse has just made. It is what contract/canonical.ts writes, found faster where the members stand in order already.
import { canonicalJson, maxJsonDepth } from "../../contract/canonical.ts";

/**
 * RFC 8785 form of parsed JSON. ECMAScript's own serialisation is that form but for the order of members (section 3.2.2
 * takes strings and numbers from it), and what a spool wrote is in order. Throws NotCanonical, as `canonicalJson` does.
 */
export function canonicalParsed(parsed: object): string {
  if (isOrdered(parsed, 0)) {
    const json = JSON.stringify(parsed);
    if (!json.includes(surrogateEscape)) return json;
  }
  return canonicalJson(parsed);
}

/** How JSON.stringify writes half of a surrogate pair, and a backslash before `ud`: the slow way tells them apart. */
const surrogateEscape = "\\ud";

/** Every object's members in the order of their UTF-16 code units, and no deeper than a canonical form may be. */
function isOrdered(value: object, depth: number): boolean {
  if (depth === maxJsonDepth) return false;
  if (Array.isArray(value)) return value.every((item) => isMemberOrdered(item, depth));
  const members = value as Readonly<Record<string, unknown>>;
  let before = "";
  for (const name in members) {
    if (name < before || !isMemberOrdered(members[name], depth)) return false;
    before = name;
  }
  return true;
}

function isMemberOrdered(member: unknown, depth: number): boolean {
  return typeof member !== "object" || member === null || isOrdered(member, depth + 1);
}
