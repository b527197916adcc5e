// Words that this grammar reads by themselves and an older server as names: `json_value(a, 'x')` calls public.json_value before PostgreSQL 17, and
// `system_user` is a column before 16. Both readings count.
import { asText, strings, type Tagged } from "./ast.ts";

/** The name that a server which does not know the word would call. */
const callOf: Readonly<Record<string, string>> = {
  // PostgreSQL 16.
  JsonArrayAgg: "json_arrayagg",
  JsonArrayConstructor: "json_array",
  JsonArrayQueryConstructor: "json_array",
  JsonObjectAgg: "json_objectagg",
  JsonObjectConstructor: "json_object",
  // PostgreSQL 17.
  JsonParseExpr: "json",
  JsonScalarExpr: "json_scalar",
  JsonSerializeExpr: "json_serialize",
  MergeSupportFunc: "merge_action",
};

/** PostgreSQL 17. */
const callOfJson: Readonly<Record<string, string>> = {
  JSON_EXISTS_OP: "json_exists",
  JSON_QUERY_OP: "json_query",
  JSON_VALUE_OP: "json_value",
};

/** As PostgreSQL's own they compute from their arguments. */
export const newerFunctionWords: readonly string[] = [
  ...new Set([...Object.values(callOf), ...Object.values(callOfJson)]),
];

/** The function that an older server would call here. */
export function olderCall({ tag, body }: Tagged): string | undefined {
  return tag === "JsonFuncExpr" ? callOfJson[asText(body["op"])] : callOf[tag];
}

/** The column that an older server would read here. */
export function olderColumn({ tag, body }: Tagged): string | undefined {
  const isWord = tag === "FuncCall" && body["funcformat"] === "COERCE_SQL_SYNTAX";
  const name = isWord ? strings(body["funcname"]).at(-1) : undefined;
  return name === "system_user" ? name : undefined;
}
