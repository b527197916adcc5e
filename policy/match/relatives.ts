// Whether a rule's `sql` block speaks about what an access touches by another name. Only Denies and RequireApprovals ask: a permission opens
// what it names, a Deny is about the rows.
import type { Relative, RelationAccess } from "../operation.ts";
import { matches, matchesAny, mayMatchBelow } from "../pattern.ts";
import type { Pattern } from "../pattern.ts";
import type { SqlMatcher } from "./sql.ts";

type Fields = Pick<SqlMatcher, "relations" | "columns">;

/** Whether what the block says of relations and columns is about this relative. A block that says nothing of either spoke about the access itself. */
export function aboutRelative(
  { relations, columns }: Fields,
  access: RelationAccess,
  relative: Relative,
): boolean {
  if (relations === undefined && columns === undefined) return false;
  if (relations !== undefined && !matchesAny(relations, relative.relation)) return false;
  return columns === undefined || columnsTouched(columns, access, relative);
}

function columnsTouched(
  patterns: readonly Pattern[],
  access: RelationAccess,
  { relation, columns }: Relative,
): boolean {
  const table = `${relation}.`;
  if (!patterns.some((pattern) => mayMatchBelow(pattern, table))) return false;
  if (columns === "all") return true;
  const named = access.columns.map((column) => column.slice(access.relation.length + 1));
  if (columns === "same")
    return (
      access.allColumns ||
      named.some((name) => patterns.some((pattern) => matches(pattern, table + name)))
    );
  for (const name of access.allColumns ? columns.keys() : named)
    for (const column of columns.get(name) ?? [])
      if (patterns.some((pattern) => matches(pattern, column))) return true;
  return false;
}

/** Whether a permission that opens the access by its name would open the relative as well: then it did not tell the two apart. */
export function opensRelative({ relations, columns }: Fields, { relation }: Relative): boolean {
  if (relations !== undefined && !matchesAny(relations, relation)) return false;
  return columns === undefined || columns.some((pattern) => mayMatchBelow(pattern, `${relation}.`));
}
