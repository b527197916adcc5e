// What has to be known of a database before its rules can be read: the relations and columns that a Deny or RequireApproval names, by whatever
// name their rows are reached.
import type { Bundle } from "./bundle.ts";
import { compileList, compilePattern } from "./pattern.ts";
import type { Pattern, PatternList } from "./pattern.ts";

/** What rules that say no, or ask, name of a database. */
export interface Followed {
  readonly relations: PatternList;
  readonly columns: readonly Pattern[];
  /** As rules write them. */
  readonly columnNames: readonly string[];
}

/** Undefined where no Deny and no RequireApproval names any but all: then nothing has to be known of the database. */
export function followedBy({ rules }: Pick<Bundle, "rules">): Followed | undefined {
  const saying = rules.filter(({ action }) => action !== "Allow");
  const named = (field: "relations" | "columns"): string[] =>
    saying.flatMap(({ sql }) => sql?.[field] ?? []).filter((name) => !everything.test(name));
  const relations = named("relations");
  const columns = named("columns");
  if (relations.length + columns.length === 0) return undefined;
  return {
    relations: compileList(relations),
    columns: columns.map(compilePattern),
    columnNames: [...new Set(columns)],
  };
}

const everything = /^\*(?:\.\*)*$/;
