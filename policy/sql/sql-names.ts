// PREPARE, EXECUTE and DEALLOCATE: what a text does to the names of prepared statements, so that a session can say what an EXECUTE runs.
import { asBody, asList, asText, bodyOf, constantText, tagged, type Body } from "./ast.ts";
import type { SqlGrammar } from "./grammar.ts";
import type { Token } from "./nesting.ts";

export type SqlNameUse =
  | {
      readonly kind: "prepare";
      readonly name: string;
      /** The statement behind AS, by itself. */
      readonly query: string;
    }
  | {
      readonly kind: "execute";
      readonly name: string;
      /** The arguments: literals, null for NULL. */
      readonly values: readonly (string | null)[];
    }
  /** All of them where there is no name. */
  | { readonly kind: "deallocate"; readonly name: string | undefined };

/** The use a text makes of one name; undefined for any other text, and where it cannot be read off the text alone. */
export function sqlNameUse(
  text: string,
  statements: readonly unknown[],
  grammar: SqlGrammar,
): SqlNameUse | undefined {
  const node = statements.length === 1 ? tagged(statements[0]) : undefined;
  switch (node?.tag) {
    case "PrepareStmt":
      return prepareUse(text, node.body, grammar);
    case "ExecuteStmt":
      return executeUse(node.body);
    case "DeallocateStmt": {
      const name = asText(node.body["name"]);
      return { kind: "deallocate", name: name === "" ? undefined : name };
    }
    default:
      return undefined;
  }
}

function prepareUse(text: string, body: Body, grammar: SqlGrammar): SqlNameUse | undefined {
  const query = behindAs(text, grammar.scan(text));
  if (query === undefined) return undefined;
  // The same tree, or it is not the text that was prepared.
  const parsed = grammar.parse(query);
  if (!parsed.ok || parsed.statements.length !== 1) return undefined;
  if (withoutPlaces(parsed.statements[0]?.node) !== withoutPlaces(body["query"])) return undefined;
  return { kind: "prepare", name: asText(body["name"]), query };
}

/** What follows the first AS outside parentheses: `PREPARE name (types) AS query`. */
function behindAs(text: string, tokens: readonly Token[]): string | undefined {
  let position = 0;
  let depth = 0;
  for (const token of tokens) {
    position = text.indexOf(token.text, position) + token.text.length;
    if (token.text === "(") depth += 1;
    else if (token.text === ")") depth -= 1;
    else if (depth === 0 && token.text.toLowerCase() === "as") return text.slice(position).trim();
  }
  return undefined;
}

/** Fields that say where in a text a node stood. */
const places = /^(?:location|\w+_location|(?:rexpr_)?list_(?:start|end))$/;

function withoutPlaces(node: unknown): string {
  return JSON.stringify(node, (key, value: unknown) => (places.test(key) ? undefined : value));
}

/** Only bare literals: anything else would be decided without knowing its value. */
function executeUse(body: Body): SqlNameUse | undefined {
  const values: (string | null)[] = [];
  for (const argument of asList(body["params"])) {
    const literal = bodyOf(argument, "A_Const");
    if (literal === undefined) return undefined;
    const value = literal["isnull"] === true ? null : constantText({ A_Const: asBody(literal) });
    if (value === undefined) return undefined;
    values.push(value);
  }
  return { kind: "execute", name: asText(body["name"]), values };
}
