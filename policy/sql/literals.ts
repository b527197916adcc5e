// The values that stand in a text of SQL, as PostgreSQL's own parser reads them: E'' and U&'' strings, dollar quotes, strings that go on in the next line.
import { asBody, asList, asText, bodyOf, type Body } from "./ast.ts";
import type { Spoken } from "./findings.ts";
import type { SqlGrammar } from "./grammar.ts";
import { createTextCache } from "./text-cache.ts";

/** The text, every string and number in it, names too, and what joins constants (`'a' || 'b'`) joined. */
export type LiteralsOf = (text: string) => Spoken;

/** Texts whose values are remembered, and what they may take together. */
const maxTexts = 200;
const maxTextBytes = 2 * 1024 * 1024;

export function createLiterals(grammar: SqlGrammar): LiteralsOf {
  const known = createTextCache<Spoken>(maxTexts, maxTextBytes);
  return (text) => {
    const found = known.get(text);
    if (found !== undefined) return found;
    const read = literalsOf(text, grammar);
    known.set(
      text,
      read,
      read.texts.reduce((sum, one) => sum + 2 * one.length, 0),
    );
    return read;
  };
}

function literalsOf(text: string, grammar: SqlGrammar): Spoken {
  const parsed = grammar.parse(text);
  if (!parsed.ok) return { texts: [text], unread: "its text" };
  const texts = new Set([text]);
  let takesData = false;
  // Of what is joined already: a long chain is one text, not one a link.
  const inside = new Set<unknown>();
  // A list of its own, because the trees may be deeper than the stack.
  const left: unknown[] = parsed.statements.map(({ node }) => node);
  for (let value = left.pop(); left.length > 0 || value !== undefined; value = left.pop()) {
    if (typeof value === "string") texts.add(value);
    else if (typeof value === "number") texts.add(String(value));
    else if (Array.isArray(value)) left.push(...asList(value));
    else {
      const body = asBody(value);
      if (body === undefined) continue;
      takesData ||= takesRows(body);
      const joined = inside.has(body) ? undefined : joinedText(body);
      if (joined !== undefined) texts.add(joined);
      if (joined !== undefined || inside.has(body)) addSides(body, inside);
      left.push(...Object.values(body));
    }
  }
  return { texts: [...texts], unread: takesData ? "the data of COPY FROM STDIN" : undefined };
}

/** Its rows follow in messages of their own, when it runs already. */
function takesRows(body: Body): boolean {
  const copy = asBody(body["CopyStmt"]);
  return copy?.["is_from"] === true && asText(copy["filename"]) === "";
}

/** `'a' || 'b'` as the string that it is; undefined for other expressions. */
function joinedText(body: Body): string | undefined {
  return "A_Expr" in body ? constant(body, maxJoins) : undefined;
}

function addSides(body: Body, into: Set<unknown>): void {
  const joins = asBody(body["A_Expr"]);
  if (joins !== undefined) into.add(joins["lexpr"]).add(joins["rexpr"]);
}

/** How deep a chain of `||` is followed: one level each. */
const maxJoins = 200;

function constant(node: unknown, depth: number): string | undefined {
  if (depth === 0) return undefined;
  const cast = bodyOf(node, "TypeCast");
  if (cast !== undefined) return constant(cast["arg"], depth - 1);
  const value = bodyOf(node, "A_Const");
  if (value !== undefined) return constantText(value);
  const joins = bodyOf(node, "A_Expr");
  if (joins === undefined || !isJoin(joins)) return undefined;
  const left = constant(joins["lexpr"], depth - 1);
  const right = left === undefined ? undefined : constant(joins["rexpr"], depth - 1);
  return left === undefined || right === undefined ? undefined : left + right;
}

function isJoin(expression: Body): boolean {
  const name = asList(expression["name"]).at(-1);
  return asText(bodyOf(name, "String")?.["sval"]) === "||";
}

function constantText(value: Body): string {
  const text = asBody(value["sval"])?.["sval"] ?? asBody(value["fval"])?.["fval"];
  if (typeof text === "string") return text;
  const number = asBody(value["ival"])?.["ival"];
  return typeof number === "number" ? String(number) : "";
}
