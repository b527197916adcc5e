// The name PostgreSQL gives an output column without an alias (FigureColname in parse_target.c).
import {
  asBody,
  asList,
  asText,
  bodyOf,
  strings,
  tagged,
  type Body,
  type Tagged,
} from "../../sql/ast.ts";

/** `weak`: a cast or CASE may give a better one. */
interface Name {
  readonly name: string;
  readonly weak?: boolean;
}

const noName = "?column?";

/** Undefined where the name is not known for sure. */
export function columnName(value: unknown): string | undefined {
  return nameOf(value)?.name;
}

type Naming = (body: Body) => Name | undefined;

function nameOf(value: unknown): Name | undefined {
  const node = tagged(value);
  return node === undefined ? undefined : namings[node.tag]?.(node.body);
}

const always =
  (name: string): Naming =>
  () => ({ name });
const unnamed: Naming = () => ({ name: noName, weak: true });

const namings: Readonly<Record<string, Naming>> = {
  A_ArrayExpr: always("array"),
  A_Const: unnamed,
  A_Expr: (body) =>
    body["kind"] === "AEXPR_NULLIF" ? { name: "nullif" } : { name: noName, weak: true },
  A_Indirection: (body) => last(body["indirection"]) ?? nameOf(body["arg"]),
  BoolExpr: unnamed,
  BooleanTest: unnamed,
  CaseExpr: (body) => orWeaker(body["defresult"], "case"),
  CoalesceExpr: always("coalesce"),
  CollateClause: (body) => nameOf(body["arg"]),
  ColumnRef: (body) => last(body["fields"]),
  FuncCall: (body) => last(body["funcname"]),
  GroupingFunc: always("grouping"),
  JsonArrayAgg: always("json_arrayagg"),
  JsonArrayConstructor: always("json_array"),
  JsonArrayQueryConstructor: always("json_array"),
  JsonObjectAgg: always("json_objectagg"),
  JsonObjectConstructor: always("json_object"),
  MergeSupportFunc: always("merge_action"),
  MinMaxExpr: (body) => ({ name: body["op"] === "IS_LEAST" ? "least" : "greatest" }),
  NullTest: unnamed,
  ParamRef: unnamed,
  RowExpr: always("row"),
  SubLink: subLink,
  TypeCast: (body) =>
    orWeaker(body["arg"], strings(asBody(body["typeName"])?.["names"]).at(-1) ?? noName),
};

function last(fields: unknown): Name | undefined {
  const name = strings(fields).at(-1);
  return name === undefined ? undefined : { name };
}

function orWeaker(value: unknown, name: string): Name | undefined {
  if (value === undefined) return { name, weak: true };
  const inner = nameOf(value);
  return inner === undefined || inner.weak !== true ? inner : { name, weak: true };
}

function subLink(body: Body): Name | undefined {
  switch (asText(body["subLinkType"])) {
    case "EXISTS_SUBLINK":
      return { name: "exists" };
    case "ARRAY_SUBLINK":
      return { name: "array" };
    case "EXPR_SUBLINK":
      return firstColumn(tagged(body["subselect"]));
    default:
      return { name: noName, weak: true };
  }
}

/** The one column of a scalar sub-query; of a set operation, its first part's. */
function firstColumn(query: Tagged | undefined): Name | undefined {
  if (query?.tag !== "SelectStmt") return undefined;
  const left = asBody(query.body["larg"]);
  if (left !== undefined) return firstColumn({ tag: "SelectStmt", body: left });
  if (asList(query.body["valuesLists"]).length > 0) return { name: "column1" };
  const target = bodyOf(asList(query.body["targetList"])[0], "ResTarget");
  const alias = asText(target?.["name"]);
  if (alias !== "") return { name: alias };
  const starred = asList(bodyOf(target?.["val"], "ColumnRef")?.["fields"]).some(
    (field) => bodyOf(field, "A_Star") !== undefined,
  );
  const name = starred ? undefined : columnName(target?.["val"]);
  return name === undefined ? undefined : { name };
}
