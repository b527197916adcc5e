// Output lists for the lineage engine: SELECT and RETURNING, stars expanded in the catalog's order.
import { asList, asText, bodyOf, strings } from "../../sql/ast.ts";
import { unionOf, unknownColumns, wholeOf, type Rows } from "./columns.ts";
import { columnName } from "./column-name.ts";
import { flow } from "./expression.ts";
import { reach, starItems, type Level } from "./level.ts";
import type { Trace } from "./trace.ts";

/** @param star what a bare `*` brings */
export function targetColumns(
  targets: readonly unknown[],
  star: Rows,
  level: Level,
  trace: Trace,
): Rows {
  const parts = targets.map((target) => targetRows(target, star, level, trace));
  return {
    columns: parts.flatMap(({ columns }) => columns),
    shifty: parts.some(({ shifty }) => shifty),
  };
}

function targetRows(target: unknown, star: Rows, level: Level, trace: Trace): Rows {
  trace.step();
  const body = bodyOf(target, "ResTarget");
  const value = body?.["val"];
  const reference = asList(bodyOf(value, "ColumnRef")?.["fields"]);
  if (reference.some(isStar)) {
    const path = strings(reference);
    const brought = path.length === 0 ? star : starColumns(path, level);
    trace.step(brought.columns.length);
    return brought;
  }
  if (asList(bodyOf(value, "A_Indirection")?.["indirection"]).some(isStar))
    return { columns: [unknownColumns(flow(value, level, trace).taint)], shifty: false };
  const { taint, identity } = flow(value, level, trace);
  const alias = asText(body?.["name"]);
  const name = alias === "" ? columnName(value) : alias;
  return { columns: [{ name, taint, identity }], shifty: false };
}

function isStar(field: unknown): boolean {
  return bodyOf(field, "A_Star") !== undefined;
}

/** `c.*` */
function starColumns(qualifier: readonly string[], level: Level): Rows {
  const items = starItems(qualifier, level);
  const [only] = items ?? [];
  if (items !== undefined && items.length === 1 && only !== undefined) return only.rows;
  const taint =
    items === undefined ? reach(level) : unionOf(items.map(({ rows }) => wholeOf(rows.columns)));
  return { columns: [unknownColumns(taint)], shifty: false };
}
