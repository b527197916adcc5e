// Which other relations a statement touches under the names it uses, as far as a Deny or RequireApproval may be about them.
//
// Rows of a partition or child are rows of every table above it, and reading or writing a table reaches all below it, unless it says
// ONLY. A view reaches what its query reads, however deep, with the columns that its own are made of (lineage/). Names of other
// sessions' making, and what a text of several statements makes for itself, are taken for as much as they could be.
import type { Followed } from "../followed.ts";
import type { Access, Relative, RelationAccess, StatementKind } from "../operation.ts";
import { matchesAny, mayMatchBelow } from "../pattern.ts";
import { isSystemSchema } from "../sql/catalog-relations.ts";
import type { MaskCatalog } from "./catalog.ts";
import { maxCatalogRelations } from "./catalog-query.ts";
import {
  createTree,
  tableRelatives,
  viewRelatives,
  wholeSchema,
  type Reach,
  type ViewColumns,
} from "./relation-tree.ts";

export interface Related {
  /** The same array where nothing else is touched. */
  readonly accesses: readonly Access[];
  /** A relation that the catalog does not have is read or written. */
  readonly unknown: string | undefined;
  /** Why it cannot be told what is touched. */
  readonly refused: string | undefined;
}

export interface Relatives {
  /** @param changes the text may change what its own names mean */
  of(accesses: readonly Access[], changes: boolean): Related;
}

/** A text that changes the schema and then uses it reaches no more than this by what it makes itself. */
const maxTogether = 256;

/** Kept of all relations together: a table has some, one of ten thousand partitions as many. */
const maxKept = 100_000;

/** Kinds that read or write rows: what they name must be known. */
const touchesRows: ReadonlySet<StatementKind> = new Set<StatementKind>([
  "select",
  "insert",
  "update",
  "delete",
  "merge",
  "copy",
  "truncate",
  "explain",
]);
/** A view is locked with its tables. */
const reachesThroughViews: ReadonlySet<StatementKind> = new Set<StatementKind>([
  ...touchesRows,
  "utility",
]);
const reshapes: ReadonlySet<StatementKind> = new Set<StatementKind>(["create", "alter", "drop"]);
/** Rows come into partitions by their table, into the children of a plain one never. */
const inserts: ReadonlySet<StatementKind> = new Set<StatementKind>(["insert", "copy"]);

const noRelatives: readonly Relative[] = [];

/** One per pair of catalog and rules. */
export function createRelatives(
  catalog: MaskCatalog,
  followed: Followed,
  viewColumns: ViewColumns,
): Relatives {
  const tree = createTree(catalog);
  const known = new Map<string, readonly Relative[]>();
  let kept = 0;
  const related = new WeakMap<readonly Access[], Related>();
  const isFull = catalog.relations.size >= maxCatalogRelations;

  const matters = ({ relation }: Relative): boolean =>
    matchesAny(followed.relations, relation) ||
    followed.columns.some((pattern) => mayMatchBelow(pattern, `${relation}.`));

  const find = (relation: string, reach: Reach, views: boolean): readonly Relative[] => {
    if (relation.endsWith(wholeSchema)) return tree.inSchema(relation);
    const here = catalog.relations.get(relation);
    if (here === undefined) return noRelatives;
    if (here.kind !== "view") return tableRelatives(tree, here, reach, followed);
    return views ? viewRelatives(tree, relation, viewColumns(relation)) : noRelatives;
  };
  /** Every one, whether or not a rule may be about it. */
  const all = (access: RelationAccess): readonly Relative[] =>
    find(access.relation, reachOf(access), reachesThrough(access));
  const relativesOf = (access: RelationAccess): readonly Relative[] => {
    const views = reachesThrough(access);
    const key = `${reachOf(access)} ${views} ${access.relation}`;
    const before = known.get(key);
    if (before !== undefined) return before;
    const found = all(access).filter(matters);
    if (kept + found.length > maxKept) {
      known.clear();
      kept = 0;
    }
    if (catalog.relations.has(access.relation)) {
      known.set(key, found);
      kept += found.length;
    }
    return found;
  };

  const unknownIn = (accesses: readonly RelationAccess[], made: ReadonlySet<string>) =>
    accesses.find(
      ({ statement, relation }) =>
        touchesRows.has(statement) && !made.has(relation) && isUnknown(relation),
    )?.relation;
  const isUnknown = (relation: string): boolean =>
    !catalog.relations.has(relation) && !isSystemSchema(relation.slice(0, relation.indexOf(".")));

  /** What the text makes may be made of anything that it names. */
  const together = (accesses: readonly RelationAccess[]): readonly Relative[] => {
    const found = new Map<string, Relative>();
    for (const access of accesses)
      for (const relation of namesOf(access))
        found.set(relation, { relation, as: "together", columns: "all" });
    return [...found.values()].filter(matters);
  };

  /** The catalog holds as much as it may: what it does not hold may be anything. */
  const beyondKnown = (
    accesses: readonly RelationAccess[],
    unknown: string | undefined,
  ): string | undefined => {
    const stray = unknown ?? accesses.flatMap(namesOf).find(isStray);
    return stray === undefined ? undefined : notAmongKnown(stray);
  };
  const namesOf = (access: RelationAccess): string[] =>
    [access, ...all(access)].map(({ relation }) => relation);
  const isStray = (relation: string): boolean => {
    const { strays, callsFunctions } = catalog.relations.get(relation) ?? {};
    // Of a view: a function, or a relation that was not loaded.
    return strays === true || callsFunctions === true;
  };

  const compute = (accesses: readonly Access[], changes: boolean): Related => {
    const named = accesses.filter((access) => access.kind === "relation");
    const made = new Set(
      changes
        ? named.flatMap(({ statement, relation }) => (reshapes.has(statement) ? [relation] : []))
        : [],
    );
    const unknown = unknownIn(named, made);
    const others = made.size === 0 ? noRelatives : together(named);
    if (others.length > maxTogether) return { accesses, unknown, refused: tooMuchTogether };
    const isChanged = (access: RelationAccess): boolean =>
      others.length > 0 &&
      (isUnknown(access.relation) || namesOf(access).some((relation) => made.has(relation)));
    let isPlain = true;
    const withRelatives = accesses.map((access): Access => {
      if (access.kind !== "relation") return access;
      const own = relativesOf(access);
      const relatives = isChanged(access) ? [...own, ...others] : own;
      if (relatives.length === 0 && access.relatives === undefined) return access;
      isPlain = false;
      return { ...access, relatives };
    });
    return {
      accesses: isPlain ? accesses : withRelatives,
      unknown,
      refused: isFull ? beyondKnown(named, unknown) : undefined,
    };
  };

  return {
    of: (accesses, changes) => {
      const found = related.get(accesses);
      if (found !== undefined) return found;
      const made = compute(accesses, changes);
      related.set(accesses, made);
      if (made.accesses !== accesses) related.set(made.accesses, made);
      return made;
    },
  };
}

const tooMuchTogether =
  "this text changes the schema and names too many relations for what it would touch to be known beforehand; send its statements one by one";

function notAmongKnown(relation: string): string {
  return `the database has more than ${maxCatalogRelations} relations, and ${relation} or what belongs to it is not among those that are known, so nobody can tell whether a rule is about its rows`;
}

/** Another view by the same name will be read and written as this one is. */
function reachesThrough({ statement, leadsTo }: RelationAccess): boolean {
  return leadsTo !== undefined || reachesThroughViews.has(statement);
}

function reachOf({ statement, only }: RelationAccess): Reach {
  if (only === true) return "only";
  return inserts.has(statement) ? "partitions" : "all";
}
