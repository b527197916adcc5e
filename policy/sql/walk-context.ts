// What a walk over a statement reports, and the place it is in while it reports.
import type { Consequence } from "./consequences.ts";
import type { SessionEffects, StatementKind } from "../operation.ts";
import type { Tagged } from "./ast.ts";
import type { QualifiedName, CatalogNames } from "./catalog-names.ts";
import { relationsInReach, type RangeItem, type RelationUse, type Scope } from "./scope.ts";

/** Where in a statement an expression stands, in words for messages. */
export type Place =
  | "the output"
  | "an expression"
  | "WHERE"
  | "a join condition"
  | "GROUP BY"
  | "HAVING"
  | "ORDER BY"
  | "DISTINCT"
  | "LIMIT"
  | "a window"
  | "FROM"
  | "SET"
  | "VALUES"
  | "ON CONFLICT"
  | "RETURNING"
  | "MERGE"
  | "COPY"
  | "a definition";

export interface ColumnUse {
  /** Identifiers as written, without the star: `["c", "ssn"]`. */
  readonly path: readonly string[];
  readonly star: boolean;
  readonly scope: Scope;
  readonly statement: StatementKind;
  readonly place: Place;
  /** A bare reference that is itself an output column of the outermost SELECT, nothing done to it. */
  readonly plain: boolean;
  /** `EXISTS (SELECT * …)`: the star is never evaluated. */
  readonly ignored: boolean;
}

export interface StatementNote {
  readonly opaque?: boolean;
  readonly basic?: boolean;
  readonly session?: SessionEffects;
}

/** Receives everything a statement touches, in the order of the text. */
export interface Sink {
  readonly relation: (use: RelationUse) => void;
  readonly column: (use: ColumnUse) => void;
  /** Columns written, or named in a column list; "all" when none is named. */
  readonly listed: (use: RelationUse, columns: readonly string[] | "all", written: boolean) => void;
  readonly join: (using: readonly string[] | "natural", items: readonly RangeItem[]) => void;
  /** @param bare written without a schema: a function of the user's own may be the better match. */
  readonly call: (name: QualifiedName, statement: StatementKind, bare: boolean) => void;
  /** An operator or a type that is not PostgreSQL's own: it runs a function that cannot be seen from the text. */
  readonly operator: (name: QualifiedName, statement: StatementKind, bare: boolean) => void;
  readonly cast: (name: QualifiedName, statement: StatementKind) => void;
  /** `(expression).name`: a field, or a function called on a row. */
  readonly attribute: (name: string, statement: StatementKind) => void;
  readonly statement: (kind: StatementKind, note: StatementNote) => void;
  /** The statement is refused whatever the rules say, with this sentence. */
  readonly refuse: (sentence: string) => void;
  /** Runs a statement inside another one (EXPLAIN, COPY, PREPARE, a cursor, a view's query). */
  readonly within: (wrapper: StatementKind, run: () => void) => void;
}

/**
 * A query with more FROM items than this is refused: every column is compared with every item in reach, and 64 KiB of text
 * could hold 16,000 of each.
 */
export const maxRangeItems = 512;

/**
 * Columns times relations in reach, of one statement: each is compared with each. A report of 500 columns over 100 tables needs
 * 100 thousand; what is counted takes some ten milliseconds.
 */
export const maxComparisons = 250_000;

/** What one statement has used up; shared by all its parts. */
export interface Budget {
  items: number;
  comparisons: number;
}

/** Whether another column may be compared with everything in reach; the statement is refused where it may not. */
export function affordsColumn({ budget, scope, sink }: Context): boolean {
  if (budget.comparisons > maxComparisons) return false;
  budget.comparisons += relationsInReach(scope);
  if (budget.comparisons <= maxComparisons) return true;
  sink.refuse(
    `the statement compares columns with relations more than ${maxComparisons} times; split it into smaller ones`,
  );
  return false;
}

export interface Context {
  readonly sink: Sink;
  /** Walks a query inside an expression or FROM; handed down, because queries hold expressions and those hold queries. */
  readonly query: (node: Tagged, context: Context, exists: boolean) => void;
  readonly budget: Budget;
  readonly names: CatalogNames;
  readonly scope: Scope;
  readonly statement: StatementKind;
  readonly place: Place;
  /** What a bare `name` is in this output list: see `onlySettingOf`. */
  readonly settingName?: string | undefined;
  /** Direct output of the outermost SELECT of a statement whose rows go to the agent. */
  readonly top: boolean;
  /** What relations named here will be reached for by other names. */
  readonly leadsTo?: Consequence | undefined;
  /** The same of the other relation of an ALTER TABLE. */
  readonly otherLeadsTo?: Consequence | undefined;
  /** CASCADE reaches relations that are not named here. */
  readonly cascades?: boolean;
}

export function inPlace(context: Context, place: Place, scope: Scope = context.scope): Context {
  return { ...context, place, scope, settingName: undefined, top: false };
}
