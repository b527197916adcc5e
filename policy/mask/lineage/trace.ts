// What the parts of the lineage engine share while they trace one statement.
import { asText, type Body, type Tagged } from "../../sql/ast.ts";
import { dotted, type CatalogNames, type QualifiedName } from "../../sql/catalog-names.ts";
import type { MaskedColumn } from "../masked-columns.ts";
import type { Rows, Taint } from "./columns.ts";
import type { Level } from "./level.ts";

/**
 * Parts of one statement looked at, columns that a name is looked up among, columns made, masked columns carried along: some
 * hundred milliseconds. Queries of applications need some ten thousand; stars over stars and recursive queries multiply.
 */
export const maxSteps = 1_000_000;

export interface Trace {
  readonly names: CatalogNames;
  /** The columns of a table or view, `schema.name`. */
  readonly relation: (key: string) => Rows;
  /** Rows of a query inside an expression or FROM; handed down, because queries hold expressions and those hold queries. */
  readonly query: (node: Tagged, level: Level, trace: Trace) => Rows;
  /** Where the expression decides something, in words; undefined where it is shown. */
  readonly place: string | undefined;
  /** The statement is refused with this sentence. */
  readonly refuse: (sentence: string) => void;
  /** These values decide something, which their masks permit. */
  readonly decided: (taint: Taint) => void;
  /** Counts the work; throws `Untraceable`. */
  readonly step: (cost?: number) => void;
}

/** A statement that cannot be traced, as a sentence. */
export class Untraceable extends Error {
  override readonly name = "Untraceable";
}

export const tooComplex =
  "the statement is too complex to trace masked columns through it; split it into smaller ones";

/** The relation that a RangeVar names, when it is no CTE. */
export function relationOf(rangeVar: Body, trace: Pick<Trace, "names">): QualifiedName {
  const schema = asText(rangeVar["schemaname"]);
  return trace.names.resolveRelation(
    schema === "" ? undefined : schema,
    asText(rangeVar["relname"]),
  );
}

export function relationRows(rangeVar: Body, trace: Pick<Trace, "names" | "relation">): Rows {
  const { schema, name } = relationOf(rangeVar, trace);
  return trace.relation(dotted(schema, name));
}

function denied(taint: Taint): MaskedColumn | undefined {
  for (const masked of taint) if (masked.predicates === "Deny") return masked;
  return undefined;
}

const remedy = "use another column there, or set predicates: Allow on its masking entry";

/** These values choose rows, their order, number or grouping. */
export function decides(
  taint: Taint,
  place: string,
  trace: Pick<Trace, "refuse" | "decided">,
): void {
  const masked = denied(taint);
  if (masked !== undefined)
    trace.refuse(
      `column ${masked.column} is masked and may not decide anything in ${place}, which would tell its value; ${remedy}`,
    );
  else trace.decided(taint);
}

/** These values go into an operation that may fail, take long or give rows depending on them. */
export function tells(taint: Taint, operation: string, trace: Trace): void {
  if (trace.place !== undefined) {
    decides(taint, trace.place, trace);
    return;
  }
  const masked = denied(taint);
  if (masked !== undefined)
    trace.refuse(
      `column ${masked.column} is masked and may not be given to ${operation}, which can tell its value by failing, by its number of rows or by the time it takes; select the column itself, or set predicates: Allow on its masking entry`,
    );
  else trace.decided(taint);
}

export function stores(taint: Taint, where: string, trace: Pick<Trace, "refuse">): void {
  for (const { column } of taint) {
    trace.refuse(
      `column ${column} is masked, and ${where} would store its values where no mask covers them; write constants or parameters instead`,
    );
    return;
  }
}
