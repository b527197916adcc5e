// What drivers and tools set and this session cannot have as asked, given as the nearest thing that it can: the text that runs in its place.
//
// Zero switches a timeout off, and no session here may run for ever: it gets the longest there is. A path of `public` alone
// lets temporary objects come first: it gets the path that names were resolved by. Only for a text that is one SET.
import { asList, asText, constantText, tagged } from "./ast.ts";
import { isTimeout, maxTimeout } from "./settings.ts";

/** The text to decide, record and send instead; undefined when the text stands as it is. */
export function substituteFor(statements: readonly unknown[]): string | undefined {
  const node = statements.length === 1 ? tagged(statements[0]) : undefined;
  if (node?.tag !== "VariableSetStmt" || asText(node.body["kind"]) !== "VAR_SET_VALUE")
    return undefined;
  const name = asText(node.body["name"]).toLowerCase();
  const values = asList(node.body["args"]).map(constantText);
  const value = substituteValue(name, values);
  if (value === undefined) return undefined;
  const scope = node.body["is_local"] === true ? "SET LOCAL" : "SET";
  return `${scope} ${name} = ${value}`;
}

function substituteValue(
  name: string,
  values: readonly (string | undefined)[],
): string | undefined {
  if (name === "search_path") return isPublicPath(values) ? "public, pg_temp" : undefined;
  const [value, ...more] = values;
  if (!isTimeout(name) || value === undefined || more.length > 0) return undefined;
  return switchesOff(value) ? `'${maxTimeout}'` : undefined;
}

/** Whether this value of a timeout means none. */
export function switchesOff(value: string): boolean {
  return /^[+-]?0+(?:\.0*)?\s*(?:us|ms|s|min|h|d)?$/.test(value.trim());
}

/** `"$user"` is nobody's schema here: who the session logs in as is not the client's to know. */
function isPublicPath(values: readonly (string | undefined)[]): boolean {
  const path = values.filter((schema) => schema !== "$user");
  return path.length === 1 && path[0] === "public";
}
