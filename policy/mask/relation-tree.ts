// What belongs to a relation by the catalog: above and below it by partitions and inheritance, beneath it by what a view reads.
import type { Followed } from "../followed.ts";
import type { Relative } from "../operation.ts";
import { dotted } from "../sql/catalog-names.ts";
import { relationKey, type CatalogRelation, type MaskCatalog } from "./catalog.ts";

/** Of a view, by its columns, the columns of tables that rules name and each is made of; undefined where that is not known. */
export type ViewColumns = (view: string) => ReadonlyMap<string, readonly Source[]> | undefined;

export interface Source {
  /** `schema.name` */
  readonly relation: string;
  readonly column: string;
}

/** How far down a statement goes: to all children, to partitions alone (rows never come into other children by their parent), or nowhere. */
export type Reach = "all" | "partitions" | "only";

/** How an object that is a schema is named (named-object.ts). */
export const wholeSchema = `.${dotted("*")}`;

export interface RelationTree {
  readonly catalog: MaskCatalog;
  above(relation: string): ReadonlySet<string>;
  below(relation: string, partitionsOnly: boolean): ReadonlySet<string>;
  /** What a view reads, views among it, however deep. */
  readBy(view: string): ReadonlySet<string>;
  inSchema(pattern: string): readonly Relative[];
}

export function createTree(catalog: MaskCatalog): RelationTree {
  const { relations } = catalog;
  const children = new Map<string, string[]>();
  for (const [key, { parents }] of relations)
    for (const parent of parents) {
      const under = children.get(parent);
      if (under === undefined) children.set(parent, [key]);
      else under.push(key);
    }
  const reached = (from: string, next: (key: string) => readonly string[]): Set<string> => {
    const found = new Set<string>();
    for (const todo = [from]; ;) {
      const key = todo.pop();
      if (key === undefined) return found;
      for (const other of next(key)) {
        if (other === from || found.has(other)) continue;
        found.add(other);
        todo.push(other);
      }
    }
  };
  const none: readonly string[] = [];
  return {
    catalog,
    above: (relation) => reached(relation, (key) => relations.get(key)?.parents ?? none),
    below: (relation, partitionsOnly) =>
      reached(relation, (key) =>
        partitionsOnly && relations.get(key)?.partitioned !== true
          ? none
          : (children.get(key) ?? none),
      ),
    readBy: (view) =>
      reached(view, (key) => {
        const here = relations.get(key);
        return here?.kind === "view" ? here.reads : none;
      }),
    inSchema: (pattern) => {
      const prefix = pattern.slice(0, 1 - wholeSchema.length);
      const found: Relative[] = [];
      for (const relation of relations.keys())
        if (relation.startsWith(prefix)) found.push({ relation, as: "part", columns: "all" });
      return found;
    },
  };
}

/** Behind each table below are also others above it, where it has several parents. */
function lineOf(tree: RelationTree, relation: string, reach: Reach): Map<string, "whole" | "part"> {
  const below = reach === "only" ? [] : [...tree.below(relation, reach === "partitions")];
  const line = new Map<string, "whole" | "part">(below.map((key) => [key, "part"]));
  for (const key of [relation, ...below])
    for (const parent of tree.above(key))
      if (parent !== relation && !line.has(parent)) line.set(parent, "whole");
  return line;
}

export function tableRelatives(
  tree: RelationTree,
  here: CatalogRelation,
  reach: Reach,
  followed: Followed,
): Relative[] {
  const relation = relationKey(here);
  const line = lineOf(tree, relation, reach);
  const found = Array.from(line, ([key, as]): Relative => ({ relation: key, as, columns: "same" }));
  const computed = here.columns.filter(({ generatedFrom }) => generatedFrom.length > 0);
  if (computed.length === 0 || followed.columns.length === 0) return found;
  for (const key of [relation, ...line.keys()]) {
    const sources = computed.map(
      ({ name, generatedFrom }) =>
        [dotted(name), generatedFrom.map((column) => nameOf(key, column))] as const,
    );
    found.push({ relation: key, as: "computed", columns: new Map(sources) });
  }
  return found;
}

export function viewRelatives(
  tree: RelationTree,
  view: string,
  columns: ReadonlyMap<string, readonly Source[]> | undefined,
): Relative[] {
  const found = new Map<string, Relative>();
  for (const base of tree.readBy(view)) {
    const line = lineOf(tree, base, "all");
    for (const relation of [base, ...line.keys()])
      found.set(relation, { relation, as: "read", columns: shownOf(tree, relation, columns) });
  }
  return [...found.values()];
}

/** Of one table the columns that the view's are made of, by whichever name of its line they were found. */
function shownOf(
  tree: RelationTree,
  relation: string,
  columns: ReadonlyMap<string, readonly Source[]> | undefined,
): Relative["columns"] {
  if (columns === undefined) return "all";
  const line = lineOf(tree, relation, "all");
  const shown = new Map<string, readonly string[]>();
  for (const [name, sources] of columns) {
    const own = sources.filter(
      (source) => source.relation === relation || line.has(source.relation),
    );
    const names = own.flatMap((source) =>
      withSources(tree.catalog, source).map((column) => nameOf(relation, column)),
    );
    if (names.length > 0) shown.set(dotted(name), names);
  }
  return shown;
}

/** A generated column shows what it is computed from. */
function withSources(catalog: MaskCatalog, { relation, column }: Source): readonly string[] {
  const found = catalog.relations.get(relation)?.columns.find(({ name }) => name === column);
  return [column, ...(found?.generatedFrom ?? [])];
}

function nameOf(relation: string, column: string): string {
  return `${relation}.${dotted(column)}`;
}
