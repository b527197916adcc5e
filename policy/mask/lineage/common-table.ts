// WITH for the lineage engine. Recursive queries are looked at until their columns no longer change.
import { asBody, asText, bodiesOf, bodyOf, strings, tagged, type Body } from "../../sql/ast.ts";
import { clean, noRows, renamed, sameRows, unknownColumns, wholeOf, type Rows } from "./columns.ts";
import { levelIn, type Level } from "./level.ts";
import { decides, tooComplex, Untraceable, type Trace } from "./trace.ts";

/** Each round that changes anything adds a masked column to some column; real queries need two or three. */
const maxRounds = 64;

/** The level in which the rest of the query runs. */
export function withClause(clause: Body | undefined, outer: Level, trace: Trace): Level {
  if (clause === undefined) return outer;
  const tables = bodiesOf(clause["ctes"], "CommonTableExpr");
  return clause["recursive"] === true
    ? recursive(tables, outer, trace)
    : tables.reduce(
        (level, table) =>
          levelIn(level, new Map([[asText(table["ctename"]), rowsOf(table, level, trace)]])),
        outer,
      );
}

/** Every name is visible in every query of the list. */
function recursive(tables: readonly Body[], outer: Level, trace: Trace): Level {
  let known = new Map<string, Rows>(
    tables.map((table) => [
      asText(table["ctename"]),
      { columns: [unknownColumns(clean)], shifty: false },
    ]),
  );
  for (let round = 0; round < maxRounds; round += 1) {
    const level = levelIn(outer, known);
    const next = new Map(
      tables.map((table): [string, Rows] => {
        // The first part of a recursive query does not read itself and says what columns there are.
        const start =
          round === 0 ? asBody(bodyOf(table["ctequery"], "SelectStmt")?.["larg"]) : undefined;
        const query = start === undefined ? table["ctequery"] : { SelectStmt: start };
        return [
          asText(table["ctename"]),
          withoutOrigins(rowsOf({ ...table, ctequery: query }, level, trace)),
        ];
      }),
    );
    for (const { columns } of next.values())
      for (const { taint } of columns) trace.step(1 + taint.size);
    const settled =
      round > 0 && [...next].every(([name, rows]) => sameRows(rows, known.get(name) ?? noRows));
    known = next;
    if (settled) return levelIn(outer, known);
  }
  throw new Untraceable(tooComplex);
}

/** RowDescription does not say where a column of a recursive query comes from. */
function withoutOrigins(rows: Rows): Rows {
  return { ...rows, columns: rows.columns.map(({ origin: _origin, ...column }) => column) };
}

function rowsOf(table: Body, level: Level, trace: Trace): Rows {
  const query = tagged(table["ctequery"]);
  const inner =
    query === undefined ? noRows : trace.query(query, level, { ...trace, place: undefined });
  const rows = renamed(inner, strings(table["aliascolnames"]));
  const whole = wholeOf(rows.columns);
  const search = asBody(table["search_clause"]);
  const cycle = asBody(table["cycle_clause"]);
  // Both keep the rows seen so far; CYCLE ends by comparing them, SEARCH is there to sort by.
  if (cycle !== undefined) decides(whole, "CYCLE", trace);
  const added = [
    search?.["search_seq_column"],
    cycle?.["cycle_mark_column"],
    cycle?.["cycle_path_column"],
  ]
    .map(asText)
    .filter((name) => name !== "");
  return {
    columns: [...rows.columns, ...added.map((name) => ({ name, taint: whole }))],
    shifty: rows.shifty,
  };
}
