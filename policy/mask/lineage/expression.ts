// Which masked columns' values may be in the value of an expression: those of every column it names, of every query inside it.
//
// What it does not know it descends into, so a node type of a later grammar still gives up the columns in it. An
// expression of a masked column is shown as a constant, so all that could tell its value is whether it fails, how long it
// takes and how many rows it gives; what is known to do none of that (formatting) is told apart from the rest (`tells`).
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
import { clean, union, unionOf, wholeOf, type Column, type Taint } from "./columns.ts";
import { masksTextOf } from "../text-of.ts";
import { formats, givenSubscripts, isGiven, keysOf, offsetOf } from "./formatting.ts";
import { constructorCall } from "./json-constructor.ts";
import { columnsInReach, reach, resolve, starItems, type Level } from "./level.ts";
import { decides, relationRows, tells, type Trace } from "./trace.ts";

export type Flow = Pick<Column, "taint" | "identity">;

const cleanFlow: Flow = { taint: clean };

/** What may be in the value of an expression, or of all expressions of a list together. */
export function flow(value: unknown, level: Level, trace: Trace): Flow {
  if (Array.isArray(value))
    return { taint: unionOf(value.map((item) => flow(item, level, trace).taint)) };
  const node = tagged(value);
  return node === undefined ? cleanFlow : nodeFlow(node, level, trace);
}

/** An expression that chooses rows, their order, number or grouping. */
export function decide(value: unknown, place: string, level: Level, trace: Trace): void {
  if (value === undefined) return;
  decides(flow(value, level, { ...trace, place }).taint, place, trace);
}

type Handler = (body: Body, level: Level, trace: Trace) => Flow;

function nodeFlow(node: Tagged, level: Level, trace: Trace): Flow {
  trace.step();
  const handler = handlers[node.tag];
  if (handler !== undefined) {
    const found = handler(node.body, level, trace);
    trace.step(found.taint.size);
    return found;
  }
  const constructor = constructorCall(node);
  if (constructor !== undefined) return call(constructor, level, trace);
  const taint = children(node.body, level, trace);
  tells(taint, operations[node.tag] ?? "this kind of expression", trace);
  return { taint };
}

/** Words for the operations that may tell; what is in none of these tables may, too. */
const operations: Readonly<Record<string, string>> = {
  BoolExpr: "AND, OR or NOT",
  BooleanTest: "a truth test",
  XmlExpr: "an XML expression",
};

function children(body: Body, level: Level, trace: Trace): Taint {
  const taints: Taint[] = [];
  forEachChild(body, ({ tag, body: inner }) => {
    taints.push(nodeFlow({ tag, body: inner }, level, trace).taint);
  });
  return unionOf(taints);
}

/** Puts values together and lets them out whole. */
const formatting: Handler = (body, level, trace) => ({ taint: children(body, level, trace) });
const query =
  (tag: string): Handler =>
  (body, level, trace) => ({
    taint: wholeOf(trace.query({ tag, body }, level, { ...trace, place: undefined }).columns),
  });
const constant: Handler = () => cleanFlow;

const handlers: Readonly<Record<string, Handler>> = {
  A_Const: constant,
  ParamRef: constant,
  SetToDefault: constant,
  String: constant,
  TypeName: constant,
  // A field of nodes that have no tag of their own, and lists.
  "": formatting,
  List: formatting,
  ResTarget: formatting,
  NamedArgExpr: formatting,
  A_ArrayExpr: formatting,
  RowExpr: formatting,
  CollateClause: formatting,
  CoalesceExpr: coalesce,
  MinMaxExpr: formatting,
  MultiAssignRef: formatting,
  A_Indirection: indirection,
  A_Indices: subscript,
  SortBy: formatting,
  GroupingSet: formatting,
  GroupingFunc: constant,
  SelectStmt: query("SelectStmt"),
  InsertStmt: query("InsertStmt"),
  UpdateStmt: query("UpdateStmt"),
  DeleteStmt: query("DeleteStmt"),
  MergeStmt: query("MergeStmt"),
  ColumnRef: reference,
  RangeVar: relation,
  SubLink: subLink,
  FuncCall: call,
  A_Expr: operator,
  TypeCast: cast,
  NullTest: nullTest,
  CaseExpr: caseExpression,
  WindowDef: (body, level, trace) => {
    window(body, level, trace);
    return cleanFlow;
  },
};

function reference(body: Body, level: Level, trace: Trace): Flow {
  trace.step(columnsInReach(level));
  const fields = asList(body["fields"]);
  const path = strings(fields);
  if (!fields.some((field) => bodyOf(field, "A_Star") !== undefined)) return resolve(path, level);
  const items = starItems(path, level);
  return {
    taint:
      items === undefined ? reach(level) : unionOf(items.map(({ rows }) => wholeOf(rows.columns))),
  };
}

/** Outside FROM only a later grammar would have one. */
function relation(body: Body, _level: Level, trace: Trace): Flow {
  const taint = wholeOf(relationRows(body, trace).columns);
  tells(taint, "this kind of expression", trace);
  return { taint };
}

function subLink(body: Body, level: Level, trace: Trace): Flow {
  const node = tagged(body["subselect"]);
  const inner =
    node === undefined
      ? clean
      : wholeOf(trace.query(node, level, { ...trace, place: undefined }).columns);
  switch (asText(body["subLinkType"])) {
    case "EXISTS_SUBLINK":
      return cleanFlow;
    case "EXPR_SUBLINK":
    case "ARRAY_SUBLINK":
    case "MULTIEXPR_SUBLINK":
      return { taint: inner };
    default: {
      const taint = union(inner, flow(body["testexpr"], level, trace).taint);
      tells(taint, "a comparison", trace);
      return { taint };
    }
  }
}

function call(body: Body, level: Level, trace: Trace): Flow {
  const name = strings(body["funcname"]).at(-1) ?? "";
  const args = asList(body["args"]);
  const flows = args.map((arg) => flow(arg, level, trace));
  const distinct = body["agg_distinct"] === true;
  const taint = unionOf(flows.map((one) => one.taint));
  if (distinct) decides(taint, "DISTINCT", trace);
  decide(body["agg_filter"], "FILTER", level, trace);
  decide(body["agg_order"], "ORDER BY", level, trace);
  const over = asBody(body["over"]);
  if (over !== undefined) window(over, level, trace);
  // mode() WITHIN GROUP (ORDER BY x) is a value of x.
  const ordered =
    body["agg_within_group"] === true ? flow(body["agg_order"], level, trace).taint : clean;
  if (name === "count" && !distinct && flows.every(showsPresence)) return cleanFlow;
  if (!formats(name, args)) tells(taint, `${name}()`, trace);
  tells(flow(offsetOf(name, body), level, trace).taint, `${name}() as an offset`, trace);
  for (const key of keysOf(name, body)) {
    const value = flow(key, level, trace);
    if (body["func_variadic"] === true || !showsPresence(value))
      tells(value.taint, `${name}() as a key`, trace);
  }
  return { taint: union(taint, ordered) };
}

/** An element that is not there is NULL, and a slice has as many elements as there are: both tell what stood in the brackets. */
function subscript(body: Body, level: Level, trace: Trace): Flow {
  const taint = children(body, level, trace);
  tells(taint, "a subscript", trace);
  return { taint };
}

/** Whether the value is there decides whether subscripts are worked out; that of a field or an element may be a secret. */
function indirection(body: Body, level: Level, trace: Trace): Flow {
  const value = flow(body["arg"], level, trace);
  const parts = body["indirection"];
  const taint = union(value.taint, flow(parts, level, trace).taint);
  const secret = !showsPresence(value) || strings(parts).length > 0;
  if (secret && !givenSubscripts(parts, trace.names))
    tells(value.taint, "a subscript that is no constant or parameter", trace);
  return { taint };
}

/** What comes next is evaluated where what comes before is NULL, so it must be unable to fail unless that is no secret. */
function coalesce(body: Body, level: Level, trace: Trace): Flow {
  const args = asList(body["args"]);
  const flows = args.map((arg) => flow(arg, level, trace));
  const last = args.findLastIndex((arg) => !isGiven(arg, trace.names));
  const deciding = union(
    ...flows.slice(0, Math.max(0, last)).flatMap((one) => (showsPresence(one) ? [] : [one.taint])),
  );
  tells(deciding, "COALESCE before something else than a constant or parameter", trace);
  return { taint: unionOf(flows.map(({ taint }) => taint)) };
}

/** NULL is shown as NULL by every transform but one, so whether there is a value is no secret. */
function showsPresence({ taint, identity }: Flow): boolean {
  return taint.size === 0 || (identity !== undefined && identity.transform.kind !== "nullify");
}

function window(body: Body, level: Level, trace: Trace): void {
  for (const field of ["partitionClause", "orderClause", "startOffset", "endOffset"])
    decide(body[field], "a window", level, trace);
}

function operator(body: Body, level: Level, trace: Trace): Flow {
  const taint = union(
    flow(body["lexpr"], level, trace).taint,
    flow(body["rexpr"], level, trace).taint,
  );
  const name = strings(body["name"]).at(-1) ?? "";
  if (asText(body["kind"]) !== "AEXPR_OP" || name !== "||")
    tells(
      taint,
      `the operator ${asText(body["kind"]) === "AEXPR_NULLIF" ? "NULLIF" : name}`,
      trace,
    );
  return { taint };
}

const textTypes: ReadonlySet<string> = new Set(["text", "varchar", "bpchar", "name"]);

function cast(body: Body, level: Level, trace: Trace): Flow {
  const value = flow(body["arg"], level, trace);
  const type = asBody(body["typeName"]) ?? {};
  const names = strings(type["names"]);
  const name = names.at(-1) ?? "";
  const isText =
    textTypes.has(name) &&
    (names.length === 1 || names[0] === "pg_catalog") &&
    asList(type["arrayBounds"]).length === 0;
  if (!isText) tells(value.taint, `a cast to ${name}`, trace);
  const whole = name === "text" || (name === "varchar" && asList(type["typmods"]).length === 0);
  return isText && whole && masksText(value) ? value : { taint: value.taint };
}

/** Its transform hides as much of the value's text as of the value, however the session has values written. */
function masksText({ taint, identity }: Flow): boolean {
  return taint.size === 0 || (identity !== undefined && masksTextOf(identity));
}

function nullTest(body: Body, level: Level, trace: Trace): Flow {
  const value = flow(body["arg"], level, trace);
  if (showsPresence(value)) return cleanFlow;
  tells(value.taint, "a test for NULL", trace);
  return { taint: value.taint };
}

/** What a condition chooses carries the condition along. */
function caseExpression(body: Body, level: Level, trace: Trace): Flow {
  const whens = asList(body["args"]).map((when) => bodyOf(when, "CaseWhen") ?? {});
  const conditions = union(
    flow(body["arg"], level, trace).taint,
    ...whens.map((when) => flow(when["expr"], level, trace).taint),
  );
  tells(conditions, "a condition of CASE", trace);
  const results = [...whens.map((when) => when["result"]), body["defresult"]];
  return {
    taint: union(conditions, ...results.map((result) => flow(result, level, trace).taint)),
  };
}
