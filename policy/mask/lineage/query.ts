// SELECT for the lineage engine: what each output column may hold, and which masked columns decide in between.
import { asBody, asList, asText, bodyOf, strings, type Body } from "../../sql/ast.ts";
import { byPlace, merged, noRows, union, wholeOf, type Column, type Rows } from "./columns.ts";
import { decide, flow } from "./expression.ts";
import { fromClause } from "./from.ts";
import { levelIn, type Level } from "./level.ts";
import { withClause } from "./common-table.ts";
import { targetColumns } from "./targets.ts";
import { decides, stores, type Trace } from "./trace.ts";

/** The rows of a SELECT; `level` is the one around it. */
export function selectRows(body: Body, outer: Level, trace: Trace): Rows {
  trace.step();
  const around = withClause(asBody(body["withClause"]), outer, trace);
  const rows = isSetOperation(body)
    ? setOperation(body, around, trace)
    : asList(body["valuesLists"]).length > 0
      ? values(body, around, trace)
      : plainSelect(body, around, trace);
  trace.step(rows.columns.length);
  if (body["intoClause"] !== undefined) stores(wholeOf(rows.columns), "SELECT INTO", trace);
  return rows;
}

function isSetOperation(body: Body): boolean {
  return asText(body["op"]) !== "SETOP_NONE" && asText(body["op"]) !== "";
}

const setWords: Readonly<Record<string, string>> = {
  SETOP_UNION: "UNION without ALL",
  SETOP_INTERSECT: "INTERSECT",
  SETOP_EXCEPT: "EXCEPT",
};

function setOperation(body: Body, level: Level, trace: Trace): Rows {
  const [left, right] = ["larg", "rarg"].map((side) => {
    const arm = asBody(body[side]);
    return arm === undefined ? noRows : selectRows(arm, level, trace);
  });
  const rows = merged(left ?? noRows, right ?? noRows);
  const op = asText(body["op"]);
  if (op !== "SETOP_UNION" || body["all"] !== true)
    decides(wholeOf(rows.columns), setWords[op] ?? "a set operation", trace);
  const inner = levelIn(level);
  sortKeys(body["sortClause"], rows, "ORDER BY", inner, trace);
  limits(body, inner, trace);
  return rows;
}

function values(body: Body, outer: Level, trace: Trace): Rows {
  const level = levelIn(outer);
  const lists = asList(body["valuesLists"]).map((list) => asList(bodyOf(list, "List")?.["items"]));
  const columns = (lists[0] ?? []).map((_, index): Column => ({
    name: `column${index + 1}`,
    taint: union(...lists.map((list) => flow(list[index], level, trace).taint)),
  }));
  const rows: Rows = { columns, shifty: false };
  sortKeys(body["sortClause"], rows, "ORDER BY", level, trace);
  limits(body, level, trace);
  return rows;
}

function plainSelect(body: Body, outer: Level, trace: Trace): Rows {
  const level = levelIn(outer);
  const star = fromClause(body["fromClause"], level, trace);
  const rows = targetColumns(asList(body["targetList"]), star, level, trace);
  decide(body["whereClause"], "WHERE", level, trace);
  decide(body["havingClause"], "HAVING", level, trace);
  for (const item of asList(body["windowClause"]))
    flow({ WindowDef: bodyOf(item, "WindowDef") ?? asBody(item) }, level, trace);
  sortKeys(body["groupClause"], rows, "GROUP BY", level, trace);
  sortKeys(body["sortClause"], rows, "ORDER BY", level, trace);
  distinct(body["distinctClause"], rows, level, trace);
  limits(body, level, trace);
  return rows;
}

/** `[{}]` is DISTINCT, anything in it DISTINCT ON. */
function distinct(clause: unknown, rows: Rows, level: Level, trace: Trace): void {
  const keys = asList(clause);
  if (keys.length === 0) return;
  const on = keys.filter((key) => Object.keys(asBody(key) ?? {}).length > 0);
  if (on.length === 0) decides(wholeOf(rows.columns), "DISTINCT", trace);
  else sortKeys(on, rows, "DISTINCT ON", level, trace);
}

/** Keys are expressions, or name an output column by position or by name. */
function sortKeys(list: unknown, rows: Rows, place: string, level: Level, trace: Trace): void {
  for (const item of asList(list)) {
    trace.step(rows.columns.length);
    const sort = bodyOf(item, "SortBy");
    const key = sort === undefined ? item : sort["node"];
    decides(outputNamed(key, rows).taint, place, trace);
    decide(key, place, level, trace);
    const sets = bodyOf(key, "GroupingSet");
    if (sets !== undefined) sortKeys(sets["content"], rows, place, level, trace);
    const row = bodyOf(key, "RowExpr");
    if (row !== undefined) sortKeys(row["args"], rows, place, level, trace);
  }
}

function outputNamed(key: unknown, rows: Rows): { readonly taint: Column["taint"] } {
  const integer = asBody(bodyOf(key, "A_Const")?.["ival"]);
  if (integer !== undefined) {
    const columns = byPlace(rows);
    // Where places are uncertain every column has the same taint.
    const at = columns.some(({ many }) => many === true) ? 0 : Number(integer["ival"] ?? 0) - 1;
    return { taint: columns[at]?.taint ?? union() };
  }
  const [name, ...more] = strings(bodyOf(key, "ColumnRef")?.["fields"]);
  if (name === undefined || more.length > 0) return { taint: union() };
  return {
    taint: union(
      ...rows.columns
        .filter((column) => column.name === name || column.name === undefined)
        .map(({ taint }) => taint),
    ),
  };
}

function limits(body: Body, level: Level, trace: Trace): void {
  decide(body["limitCount"], "LIMIT", level, trace);
  decide(body["limitOffset"], "LIMIT", level, trace);
}
