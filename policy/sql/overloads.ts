// Functions and operators of `public` that a text may run under a name of PostgreSQL's own, where the database has such.
//
// `lower(x)` means pg_catalog's, unless `public` has a `lower` whose arguments fit better; `t.f` calls a function f of rows
// where t has no column f, or has lost it when the text runs; `a + b` likewise. Which one is meant depends on types that the text does not say, so where there is such
// a function a text that may mean it needs a rule for it (`functions: [public.lower]`), besides what it needs anyway.
// Functions of extensions and those written in C, which superusers alone can make, are taken as what they are called.
import type { FunctionAccess, StatementKind } from "../operation.ts";
import { asText, bodyOf, strings, tagged } from "./ast.ts";
import { dotted, type CatalogNames } from "./catalog-names.ts";
import type { SqlGrammar } from "./grammar.ts";
import type { Sink } from "./walk-context.ts";
import { walkStatement } from "./walk-statement.ts";

export interface Overloads {
  /** Functions of `public` by name. */
  readonly functions: ReadonlySet<string>;
  /** Those of them that take one row, whether or not it has a column called like them: it may lose that before a text runs. */
  readonly rowFunctions: ReadonlySet<string>;
  readonly operators: ReadonlySet<string>;
}

const ownCode = `(p.prokind OPERATOR(pg_catalog.=) 'a' OR NOT EXISTS (
    SELECT FROM pg_catalog.pg_language l WHERE l.oid OPERATOR(pg_catalog.=) p.prolang AND l.lanname IN ('c', 'internal')))
  AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d
     WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
       AND d.objid OPERATOR(pg_catalog.=) p.oid AND d.deptype OPERATOR(pg_catalog.=) 'e')`;

/** One row a name: what it is (f, r, o) and the name. */
export const overloadsQuery = `
SELECT DISTINCT 'f', p.proname
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
 WHERE n.nspname OPERATOR(pg_catalog.=) 'public' AND ${ownCode}
UNION ALL
SELECT DISTINCT 'r', p.proname
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
  JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) p.proargtypes[0]
 WHERE n.nspname OPERATOR(pg_catalog.=) 'public' AND t.typtype IN ('c', 'p', 'd')
   AND p.pronargs OPERATOR(pg_catalog.-) p.pronargdefaults OPERATOR(pg_catalog.<=) 1 AND ${ownCode}
UNION ALL
SELECT DISTINCT 'o', o.oprname
  FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace
  JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) o.oprcode
 WHERE n.nspname OPERATOR(pg_catalog.=) 'public' AND ${ownCode}`;

export function overloadsFromRows(rows: readonly (readonly (string | null)[])[]): Overloads {
  const named = (kind: string): ReadonlySet<string> =>
    new Set(
      rows.flatMap(([what, name]) => (what === kind && typeof name === "string" ? [name] : [])),
    );
  return { functions: named("f"), rowFunctions: named("r"), operators: named("o") };
}

/** These compare without an operator in the text; each means the bare one of its name. */
const comparing = /\b(?:between|case|in|using|natural)\b/i;
const comparisons: readonly string[] = ["=", "<>", "<", ">", "<=", ">="];

const functionTypes: ReadonlySet<string> = new Set([
  "OBJECT_FUNCTION",
  "OBJECT_PROCEDURE",
  "OBJECT_ROUTINE",
  "OBJECT_AGGREGATE",
]);

/** What a statement may give a name in `public` to, as far as its name is to be read there. */
function madeBy(node: unknown): { readonly operator: boolean; readonly name: string } | undefined {
  const { tag, body = {} } = tagged(node) ?? { tag: "" };
  const last = (names: unknown): string => strings(names).at(-1) ?? "";
  switch (tag) {
    case "CreateFunctionStmt":
      return { operator: false, name: last(body["funcname"]) };
    case "DefineStmt":
      if (body["kind"] === "OBJECT_AGGREGATE")
        return { operator: false, name: last(body["defnames"]) };
      return body["kind"] === "OBJECT_OPERATOR"
        ? { operator: true, name: last(body["defnames"]) }
        : undefined;
    case "RenameStmt":
      return functionTypes.has(asText(body["renameType"]))
        ? { operator: false, name: asText(body["newname"]) }
        : undefined;
    case "AlterObjectSchemaStmt": {
      const type = asText(body["objectType"]);
      const name = last(bodyOf(body["object"], "ObjectWithArgs")?.["objname"]);
      return functionTypes.has(type) || type === "OBJECT_OPERATOR"
        ? { operator: type === "OBJECT_OPERATOR", name }
        : undefined;
    }
    default:
      return undefined;
  }
}

/** With those that the text itself makes, of which nobody asks whether they take a row. */
function withMade(
  overloads: Overloads,
  statements: readonly { readonly node: unknown }[],
): Overloads {
  const made = statements.flatMap(({ node }) => madeBy(node) ?? []);
  if (made.length === 0) return overloads;
  const functions = made.flatMap(({ operator, name }) => (operator ? [] : [name]));
  const operators = made.flatMap(({ operator, name }) => (operator ? [name] : []));
  return {
    functions: new Set([...overloads.functions, ...functions]),
    rowFunctions: new Set([...overloads.rowFunctions, ...functions]),
    operators: new Set([...overloads.operators, ...operators]),
  };
}

/** What this text may run besides what its own accesses say; nothing for a text that is not understood. */
export function overloadedCalls(
  text: string,
  grammar: SqlGrammar,
  names: CatalogNames,
  known: Overloads,
): readonly FunctionAccess[] {
  const parsed = grammar.parse(text);
  if (!parsed.ok) return [];
  const overloads = withMade(known, parsed.statements);
  const calls = new Map<string, FunctionAccess>();
  const add = (name: string, statement: StatementKind): void => {
    const called = dotted("public", name);
    calls.set(`${statement} ${called}`, {
      kind: "function",
      statement,
      function: called,
      safe: false,
    });
  };
  const sink: Sink = {
    relation: () => undefined,
    column: ({ path, star, ignored, statement }) => {
      const last = path.at(-1) ?? "";
      if (!star && !ignored && path.length > 1 && overloads.rowFunctions.has(last))
        add(last, statement);
    },
    listed: () => undefined,
    join: () => undefined,
    call: ({ schema, name }, statement, bare) => {
      if (bare && schema !== "public" && overloads.functions.has(name)) add(name, statement);
    },
    operator: ({ schema, name }, statement, bare) => {
      if (bare && schema !== "public" && overloads.operators.has(name)) add(name, statement);
    },
    cast: () => undefined,
    attribute: (name, statement) => {
      if (overloads.rowFunctions.has(name)) add(name, statement);
    },
    statement: () => undefined,
    refuse: () => undefined,
    within: (_wrapper, run) => run(),
  };
  for (const { node } of parsed.statements) walkStatement(node, sink, names);
  if (comparing.test(text))
    for (const name of comparisons) if (overloads.operators.has(name)) add(name, "select");
  return [...calls.values()];
}
