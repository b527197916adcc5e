// JSON_OBJECT, JSON_ARRAY, JSON_OBJECTAGG and JSON_ARRAYAGG of the SQL standard, read as the functions of PostgreSQL's own that do the same.
import { asBody, asList, asText, bodyOf, strings, type Body, type Tagged } from "../../sql/ast.ts";

/**
 * The call, as the grammar writes one. Undefined for everything else, and for constructors that may fail by their values: FORMAT JSON
 * reads texts as JSON, WITH UNIQUE compares keys, RETURNING may cut or convert.
 */
export function constructorCall({ tag, body }: Tagged): Body | undefined {
  switch (tag) {
    case "JsonObjectConstructor":
      return callOf("json_build_object", asList(body["exprs"]).map(pairOf), body, body);
    case "JsonArrayConstructor":
      return callOf("json_build_array", asList(body["exprs"]).map(itemOf), body, body);
    case "JsonObjectAgg":
      return aggregate("json_object_agg", pairOf({ JsonKeyValue: asBody(body["arg"]) }), body);
    case "JsonArrayAgg":
      return aggregate("json_agg", itemOf({ JsonValueExpr: asBody(body["arg"]) }), body);
    default:
      return undefined;
  }
}

type Arguments = readonly unknown[] | undefined;

function aggregate(name: string, args: Arguments, body: Body): Body | undefined {
  const inner = asBody(body["constructor"]) ?? {};
  const call = callOf(name, [args], body, inner);
  if (call === undefined) return undefined;
  const { agg_filter, agg_order, over } = inner;
  return { ...call, agg_filter, agg_order, over };
}

function callOf(
  name: string,
  parts: readonly Arguments[],
  { unique }: Body,
  { output }: Body,
): Body | undefined {
  const args = parts.flatMap((part) => part ?? []);
  if (unique === true || !returnsJson(output) || parts.includes(undefined)) return undefined;
  return { funcname: [{ String: { sval: name } }], args };
}

/** Key and value. */
function pairOf(node: unknown): Arguments {
  const pair = bodyOf(node, "JsonKeyValue") ?? {};
  const value = itemOf({ JsonValueExpr: asBody(pair["value"]) });
  return value === undefined || pair["key"] === undefined ? undefined : [pair["key"], ...value];
}

function itemOf(node: unknown): Arguments {
  const value = bodyOf(node, "JsonValueExpr") ?? {};
  const plain = value["raw_expr"] !== undefined && isDefault(value["format"]);
  return plain ? [value["raw_expr"]] : undefined;
}

function isDefault(format: unknown): boolean {
  return asText(asBody(format)?.["format_type"]) === "JS_FORMAT_DEFAULT";
}

function returnsJson(output: unknown): boolean {
  const clause = asBody(output);
  if (clause === undefined) return true;
  const type = asBody(clause["typeName"]) ?? {};
  const name = strings(type["names"]).at(-1) ?? "";
  const plain = asList(type["arrayBounds"]).length === 0 && asList(type["typmods"]).length === 0;
  return (
    plain && ["json", "jsonb"].includes(name) && isDefault(asBody(clause["returning"])?.["format"])
  );
}
