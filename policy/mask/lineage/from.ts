// FROM for the lineage engine: every item with its columns, joins with theirs in the order of a star.
import {
  asBody,
  asList,
  asText,
  bodyOf,
  forEachChild,
  strings,
  tagged,
  type Body,
  type Tagged,
} from "../../sql/ast.ts";
import { aliasOf } from "../../sql/scope.ts";
import {
  clean,
  noRows,
  renamed,
  union,
  unionOf,
  unknownColumns,
  wholeOf,
  type Column,
  type Rows,
  type Taint,
} from "./columns.ts";
import { decide, flow } from "./expression.ts";
import { cteNamed, type Item, type Level } from "./level.ts";
import { decides, relationOf, relationRows, tells, type Trace } from "./trace.ts";

/** Adds the items of a FROM list to the level; returns what `*` brings, in its order. */
export function fromClause(list: unknown, level: Level, trace: Trace): Rows {
  return sideBySide(asList(list).map((item) => fromItem(item, level, trace)));
}

function sideBySide(parts: readonly Rows[]): Rows {
  return {
    columns: parts.flatMap(({ columns }) => columns),
    shifty: parts.some(({ shifty }) => shifty),
  };
}

export function fromItem(value: unknown, level: Level, trace: Trace): Rows {
  const node = tagged(value);
  if (node === undefined) return noRows;
  trace.step();
  const rows = itemRows(node, level, trace);
  trace.step(rows.columns.length);
  return rows;
}

function itemRows(node: Tagged, level: Level, trace: Trace): Rows {
  const { tag, body } = node;
  switch (tag) {
    case "RangeVar":
      return rangeVar(body, level, trace);
    case "JoinExpr":
      return join(body, level, trace);
    case "RangeTableSample": {
      decide([body["args"], body["repeatable"]], "TABLESAMPLE", level, trace);
      return fromItem(body["relation"], level, trace);
    }
    case "RangeSubselect": {
      // Only LATERAL sees its neighbours.
      const outer = body["lateral"] === true ? level : (level.parent ?? level);
      const query = tagged(body["subquery"]);
      const rows = query === undefined ? noRows : trace.query(query, outer, trace);
      return add(body, aliased(rows, body), level);
    }
    case "RangeFunction":
      return add(body, functions(body, level, trace), level);
    default:
      return add(body, table(node, level, trace), level);
  }
}

function add(body: Body, rows: Rows, level: Level): Rows {
  level.items.push({ alias: aliasOf(body).name ?? "", rows });
  return rows;
}

function columnNames(body: Body): readonly string[] {
  const alias = asBody(body["alias"]);
  return alias === undefined ? [] : strings((bodyOf(alias, "Alias") ?? alias)["colnames"]);
}

function aliased(rows: Rows, body: Body): Rows {
  return renamed(rows, columnNames(body));
}

function rangeVar(body: Body, level: Level, trace: Trace): Rows {
  const item = itemOf(body, level, trace);
  level.items.push(item);
  return item.rows;
}

/** A table, view or CTE under its alias or its own name. */
export function itemOf(body: Body, level: Level, trace: Trace): Item {
  const { name } = aliasOf(body);
  const relname = asText(body["relname"]);
  const cte = asText(body["schemaname"]) === "" ? cteNamed(level, relname) : undefined;
  if (cte !== undefined) return { alias: name ?? relname, rows: aliased(cte, body) };
  const rows = aliased(relationRows(body, trace), body);
  return name === undefined
    ? { alias: relname, schema: relationOf(body, trace).schema, rows }
    : { alias: name, rows };
}

function join(body: Body, level: Level, trace: Trace): Rows {
  const before = level.items.length;
  const left = fromItem(body["larg"], level, trace);
  const right = fromItem(body["rarg"], level, trace);
  const natural = body["isNatural"] === true;
  if (natural) {
    // What the sides share by the time the statement runs may be more than what they share now.
    decides(union(wholeOf(left.columns), wholeOf(right.columns)), "NATURAL JOIN", trace);
  }
  const shared = natural ? sharedNames(left, right) : strings(body["usingClause"]);
  trace.step((1 + shared.length) * (left.columns.length + right.columns.length));
  const columns = withShared(shared, left, right);
  const merged = columns.slice(0, shared.length);
  decides(wholeOf(merged), "USING", trace);
  decide(body["quals"], "a join condition", level, trace);
  const rows: Rows = { columns, shifty: left.shifty || right.shifty };
  const usingAlias = asBody(body["join_using_alias"]);
  if (usingAlias !== undefined)
    level.items.push({
      alias: asText((bodyOf(usingAlias, "Alias") ?? usingAlias)["aliasname"]),
      rows: { columns: merged, shifty: false },
    });
  const { name } = aliasOf(body);
  if (name === undefined) return rows;
  const hidden = aliased(rows, body);
  // Through the alias of a join RowDescription may lose where a column came from.
  const known = { ...hidden, columns: hidden.columns.map(withoutOrigin) };
  level.items.splice(before, 0, { alias: name, rows: known });
  return known;
}

function withoutOrigin({ origin: _origin, ...column }: Column): Column {
  return column;
}

function sharedNames(left: Rows, right: Rows): string[] {
  const others = new Set(right.columns.map(({ name }) => name));
  return left.columns.flatMap(({ name }) => (name !== undefined && others.has(name) ? [name] : []));
}

/** The shared columns once and first, then what is left of each side. */
function withShared(shared: readonly string[], left: Rows, right: Rows): readonly Column[] {
  const merged = shared.map((name): Column => {
    const both = [...left.columns, ...right.columns].filter(
      (column) => column.name === name || column.name === undefined,
    );
    return { name, taint: wholeOf(both) };
  });
  const rest = [...left.columns, ...right.columns].filter(
    ({ name }) => name === undefined || !shared.includes(name),
  );
  return [...merged, ...rest];
}

/** Names that functions of several columns give them, as OUT parameters say. */
const outColumns: ReadonlyMap<string, readonly string[]> = new Map([
  ["json_each", ["key", "value"]],
  ["json_each_text", ["key", "value"]],
  ["jsonb_each", ["key", "value"]],
  ["jsonb_each_text", ["key", "value"]],
  ["json_array_elements", ["value"]],
  ["json_array_elements_text", ["value"]],
  ["jsonb_array_elements", ["value"]],
  ["jsonb_array_elements_text", ["value"]],
]);
/** Functions of one column, called like the alias or the function; `unnest` of rows has more. */
const oneColumn: ReadonlySet<string> = new Set([
  "generate_series",
  "generate_subscripts",
  "json_object_keys",
  "jsonb_object_keys",
  "jsonb_path_query",
  "regexp_matches",
  "regexp_split_to_table",
  "string_to_table",
]);

function functions(body: Body, level: Level, trace: Trace): Rows {
  const calls = asList(body["functions"]).map((item) => asList(bodyOf(item, "List")?.["items"]));
  const { taint } = flow(body["functions"], level, trace);
  tells(taint, "a function in FROM", trace);
  const [first] = calls;
  const single =
    calls.length === 1 && body["is_rowsfrom"] !== true && asList(body["coldeflist"]).length === 0;
  const names = single && first !== undefined ? columnsOf(first[0], aliasOf(body).name) : undefined;
  const columns =
    names === undefined
      ? [unknownColumns(taint)]
      : [
          ...names.map((name) => ({ name, taint })),
          ...(body["ordinality"] === true ? [{ name: "ordinality", taint: clean }] : []),
        ];
  return aliased({ columns, shifty: false }, body);
}

function columnsOf(call: unknown, alias: string | undefined): readonly string[] | undefined {
  const name = strings(bodyOf(call, "FuncCall")?.["funcname"]).at(-1) ?? "";
  return outColumns.get(name) ?? (oneColumn.has(name) ? [alias ?? name] : undefined);
}

/** JSON_TABLE, XMLTABLE, and whatever a later grammar adds. */
function table(node: Tagged, level: Level, trace: Trace): Rows {
  const taints: Taint[] = [];
  forEachChild(node.body, ({ tag, body }) => {
    taints.push(flow({ [tag]: body }, level, trace).taint);
  });
  const taint = unionOf(taints);
  tells(taint, "a table expression in FROM", trace);
  return aliased({ columns: [unknownColumns(taint)], shifty: false }, node.body);
}
