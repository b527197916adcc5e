// Which relations a name in a statement may mean, and which names are CTEs.
//
// Whether a relation name is a CTE is decided exactly, by PostgreSQL's rules. Which relation a column belongs to is
// over-approximated: a reference is given to every relation it could mean in this query or any query around it, never
// to the nearest only, so that no shadowing trick can hide a column. Aliases hidden by a join alias stay visible here for
// the same reason. More relations than PostgreSQL would choose means more must be allowed, never less.
import type { StatementKind } from "../operation.ts";
import type { Consequence } from "./consequences.ts";
import { asBody, asText, bodyOf, strings, type Body } from "./ast.ts";

/** One relation used by one statement, in one role; identity matters, not contents. */
export interface RelationUse {
  readonly statement: StatementKind;
  readonly schema: string;
  readonly name: string;
  /** Only on update and delete. */
  readonly hasWhere?: boolean;
  readonly only?: true;
  readonly leadsTo?: Consequence;
  readonly cascades?: true;
}

/** Something in FROM, or the target of a write, by the name the query calls it. */
export interface RangeItem {
  readonly alias: string;
  /** Set when the item has no alias and its schema may be written in front of it. */
  readonly schema?: string;
  /** The base relations behind it: one, several for a join with an alias, none for CTEs, functions and sub-selects. */
  readonly relations: readonly RelationUse[];
  /** Columns have other names here than in the relation (`AS c(a, b)`). */
  readonly renamed: boolean;
}

export interface Scope {
  readonly parent: Scope | undefined;
  readonly items: RangeItem[];
  /** Names of CTEs this level adds. */
  readonly ctes: ReadonlySet<string>;
}

const none: ReadonlySet<string> = new Set();

export function childScope(parent: Scope | undefined, ctes: ReadonlySet<string> = none): Scope {
  return { parent, items: [], ctes };
}

export function isCte(scope: Scope | undefined, name: string): boolean {
  for (let level = scope; level !== undefined; level = level.parent)
    if (level.ctes.has(name)) return true;
  return false;
}

/** Levels, items and the relations behind them that a name could be about. */
export function relationsInReach(scope: Scope): number {
  let count = 0;
  for (let level: Scope | undefined = scope; level !== undefined; level = level.parent) {
    count += 1;
    for (const { relations } of level.items) count += 1 + relations.length;
  }
  return count;
}

function visibleItems(scope: Scope): RangeItem[] {
  const items: RangeItem[] = [];
  for (let level: Scope | undefined = scope; level !== undefined; level = level.parent)
    items.push(...level.items);
  return items;
}

/** Items that `alias.` or `schema.table.` in front of a column may mean. */
function itemsNamed(scope: Scope, qualifier: readonly string[]): RangeItem[] {
  const alias = qualifier[qualifier.length - 1];
  const schema = qualifier.length > 1 ? qualifier[qualifier.length - 2] : undefined;
  return visibleItems(scope).filter(
    (item) => item.alias === alias && (schema === undefined || item.schema === schema),
  );
}

/** Every item a column reference may be about. */
export function meantBy(reference: {
  readonly path: readonly string[];
  readonly star: boolean;
  readonly scope: Scope;
}): readonly RangeItem[] {
  const { path, star, scope } = reference;
  const qualifier = star ? path : path.slice(0, -1);
  if (qualifier.length === 0) return star ? scope.items : visibleItems(scope);
  const named = itemsNamed(scope, qualifier);
  // A qualifier nobody here is called by (NEW in a rule, say) may be anyone.
  return named.length > 0 ? named : visibleItems(scope);
}

export function aliasOf(body: Body): { name: string | undefined; renamed: boolean } {
  const alias = asBody(body["alias"]);
  if (alias === undefined) return { name: undefined, renamed: false };
  const inner = bodyOf(alias, "Alias") ?? alias;
  const name = asText(inner["aliasname"]);
  return { name: name === "" ? undefined : name, renamed: strings(inner["colnames"]).length > 0 };
}
