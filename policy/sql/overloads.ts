// Functions and operators of `public` that a text may run under a name of PostgreSQL's own, where the database has such.
//
// `lower(x)` means pg_catalog's, unless `public` has a `lower` whose arguments fit better; `t.f` calls a function f of rows
// where t has no column f; `a + b` likewise. Which one is meant depends on types that the text does not say, so where there is such
// a function a text that may mean it needs a rule for it (`functions: [public.lower]`), besides what it needs anyway.
// Functions of extensions and those written in C, which superusers alone can make, are taken as what they are called.
import type { FunctionAccess, StatementKind } from "../operation.ts";
import { dotted, type CatalogNames } from "./catalog-names.ts";
import type { SqlGrammar } from "./grammar.ts";
import type { Sink } from "./walk-context.ts";
import { walkStatement } from "./walk-statement.ts";

export interface Overloads {
  /** Functions of `public` by name. */
  readonly functions: ReadonlySet<string>;
  /** Those of them that take one row that has no column called like them. */
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
   AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_attribute a
     WHERE a.attrelid OPERATOR(pg_catalog.=) t.typrelid AND a.attname OPERATOR(pg_catalog.=) p.proname AND NOT a.attisdropped)
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

/** What this text may run besides what its own accesses say; nothing for a text that is not understood. */
export function overloadedCalls(
  text: string,
  grammar: SqlGrammar,
  names: CatalogNames,
  overloads: Overloads,
): readonly FunctionAccess[] {
  const parsed = grammar.parse(text);
  if (!parsed.ok) return [];
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
