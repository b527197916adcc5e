// INSERT, UPDATE, DELETE and MERGE for the lineage engine: what they would store, what decides, and what RETURNING shows.
import {
  asBody,
  asList,
  asText,
  bodiesOf,
  bodyOf,
  tagged,
  type Body,
  type Tagged,
} from "../../sql/ast.ts";
import { withClause } from "./common-table.ts";
import { clean, noRows, unionOf, unknownColumns, wholeOf, type Rows } from "./columns.ts";
import { decide, flow } from "./expression.ts";
import { fromClause, itemOf } from "./from.ts";
import { levelIn, type Item, type Level } from "./level.ts";
import { selectRows } from "./query.ts";
import { targetColumns } from "./targets.ts";
import { decides, stores, Untraceable, type Trace } from "./trace.ts";

/** The rows of any query; `level` is the one around it. */
export function queryRows({ tag, body }: Tagged, level: Level, trace: Trace): Rows {
  switch (tag) {
    case "SelectStmt":
      return selectRows(body, level, trace);
    case "InsertStmt":
      return insert(body, level, trace);
    case "UpdateStmt":
      return update(body, level, trace);
    case "DeleteStmt":
      return remove(body, level, trace);
    case "MergeStmt":
      return merge(body, level, trace);
    default:
      throw new Untraceable(
        `${tag === "" ? "a part of the statement" : tag} cannot be traced, so masked columns could be hidden in it`,
      );
  }
}

/** The level in which a write runs, its target in it. */
function writing(body: Body, outer: Level, trace: Trace): { level: Level; target: Item } {
  trace.step();
  const around = withClause(asBody(body["withClause"]), outer, trace);
  const level = levelIn(around);
  const target = itemOf(asBody(body["relation"]) ?? {}, levelIn(undefined), trace);
  level.items.push(target);
  return { level, target };
}

function insert(body: Body, outer: Level, trace: Trace): Rows {
  const { level, target } = writing(body, outer, trace);
  const query = tagged(body["selectStmt"]);
  if (query !== undefined)
    stores(wholeOf(queryRows(query, level.parent ?? outer, trace).columns), "INSERT", trace);
  onConflict(asBody(body["onConflictClause"]), level, target, trace);
  return returning(body, level, target, trace);
}

function onConflict(clause: Body | undefined, level: Level, target: Item, trace: Trace): void {
  if (clause === undefined) return;
  const infer = asBody(clause["infer"]);
  for (const element of bodiesOf(infer?.["indexElems"], "IndexElem")) {
    const name = asText(element["name"]);
    const column = target.rows.columns.filter((one) => one.name === name);
    decides(wholeOf(column), "ON CONFLICT", trace);
    decide(element["expr"], "ON CONFLICT", level, trace);
  }
  decide(infer?.["whereClause"], "ON CONFLICT", level, trace);
  // Which columns a constraint is about, its name does not say.
  if (asText(infer?.["conname"]) !== "")
    decides(wholeOf(target.rows.columns), "ON CONFLICT ON CONSTRAINT", trace);
  const inner = levelIn(level);
  // What the agent itself wanted to insert.
  const given = target.rows.columns.map(({ name }) => ({ name, taint: clean }));
  inner.items.push({ alias: "excluded", rows: { columns: given, shifty: false } });
  assignments(clause["targetList"], target, inner, trace, "ON CONFLICT DO UPDATE");
  decide(clause["whereClause"], "WHERE", inner, trace);
}

function update(body: Body, outer: Level, trace: Trace): Rows {
  const { level, target } = writing(body, outer, trace);
  fromClause(body["fromClause"], level, trace);
  assignments(body["targetList"], target, level, trace, "UPDATE");
  decide(body["whereClause"], "WHERE", level, trace);
  return returning(body, level, target, trace);
}

function remove(body: Body, outer: Level, trace: Trace): Rows {
  const { level, target } = writing(body, outer, trace);
  fromClause(body["usingClause"], level, trace);
  decide(body["whereClause"], "WHERE", level, trace);
  return returning(body, level, target, trace);
}

function merge(body: Body, outer: Level, trace: Trace): Rows {
  const { level, target } = writing(body, outer, trace);
  fromClause([body["sourceRelation"]], level, trace);
  decide(body["joinCondition"], "a join condition", level, trace);
  for (const clause of bodiesOf(body["mergeWhenClauses"], "MergeWhenClause")) {
    decide(clause["condition"], "MERGE", level, trace);
    assignments(clause["targetList"], target, level, trace, "MERGE");
    stores(flow(clause["values"], level, trace).taint, "MERGE", trace);
  }
  return returning(body, level, target, trace);
}

function assignments(list: unknown, into: Item, level: Level, trace: Trace, how: string): void {
  for (const target of bodiesOf(list, "ResTarget")) {
    stores(flow(target["val"], level, trace).taint, how, trace);
    decide(target["indirection"], "SET", level, trace);
    // A part of a value is put into the value that is there, which may not have such a part.
    if (bodiesOf(target["indirection"], "A_Indices").length === 0) continue;
    const name = asText(target["name"]);
    const old = into.rows.columns.filter((one) => one.name === name || one.name === undefined);
    decides(wholeOf(old), "SET of a part of it", trace);
  }
}

/** RETURNING may call the old and the new row by names of its own (PostgreSQL 18). */
function returning(body: Body, level: Level, target: Item, trace: Trace): Rows {
  const clause = asBody(body["returningClause"]);
  if (clause === undefined) return noRows;
  const given = asList(clause["options"]).map((item) =>
    asText(bodyOf(item, "ReturningOption")?.["value"]),
  );
  const inner = levelIn(level.parent);
  inner.items.push(...level.items);
  for (const alias of ["old", "new", ...given]) inner.items.push({ alias, rows: target.rows });
  return targetColumns(asList(clause["exprs"]), star(level, target), inner, trace);
}

/** With other relations beside the target their order is the server's affair: each column may be any. */
function star(level: Level, target: Item): Rows {
  if (level.items.length === 1) return target.rows;
  const taint = unionOf(level.items.map(({ rows }) => wholeOf(rows.columns)));
  return { columns: [unknownColumns(taint)], shifty: false };
}

/** Traces one query from the outside; throws `Untraceable`. */
export function traceQuery(node: Tagged, trace: Omit<Trace, "query" | "place">): Rows {
  return queryRows(node, levelIn(undefined), { ...trace, query: queryRows, place: undefined });
}
