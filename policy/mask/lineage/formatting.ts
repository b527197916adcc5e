// Functions that put values together or cut them without ever failing, giving rows or taking their time depending on them.
import { asBody, asList, bodyOf, constantText, strings, type Body } from "../../sql/ast.ts";
import type { CatalogNames } from "../../sql/catalog-names.ts";
import { splitName } from "../../sql/relation-use.ts";

/** Every overload takes any value of its types: none parses its argument, divides or allocates by it. */
const total: ReadonlySet<string> = new Set(
  [
    // Aggregates and window functions.
    // No sum or avg: beside a chosen number near the end of its type's range, whether a sum fails tells the other number.
    "count min max any_value lag lead first_value last_value",
    "array_agg string_agg json_agg jsonb_agg json_object_agg jsonb_object_agg",
    // Builders.
    "to_json to_jsonb row_to_json array_to_json concat concat_ws",
    "json_build_object jsonb_build_object json_build_array jsonb_build_array",
    "jsonb_strip_nulls json_strip_nulls",
    // Text.
    "lower upper initcap btrim ltrim rtrim reverse md5 quote_literal quote_nullable quote_ident",
    "char_length character_length octet_length bit_length",
  ].flatMap((line) => line.split(" ")),
);
/** These fail or work by their other arguments, so those must stand in the text. `substring` by a pattern is none of them. */
const totalByConstants: ReadonlySet<string> = new Set([
  "left",
  "lpad",
  "right",
  "rpad",
  "split_part",
  "substr",
  "substring",
]);

export function formats(name: string, args: readonly unknown[]): boolean {
  // Counting characters of bytes fails where they are no text.
  if (name === "length") return args.length === 1;
  if (total.has(name)) return true;
  if (!totalByConstants.has(name)) return false;
  const others = args.slice(1);
  return others.every((arg) =>
    name.startsWith("sub") ? isInteger(arg) : constantText(arg) !== undefined,
  );
}

function isInteger(arg: unknown): boolean {
  const constant = bodyOf(arg, "A_Const");
  return constant !== undefined && "ival" in constant;
}

const objectBuilders: ReadonlySet<string> = new Set(["json_build_object", "jsonb_build_object"]);
const objectAggregates: ReadonlySet<string> = new Set(["json_object_agg", "jsonb_object_agg"]);

/** The arguments whose being NULL makes the call fail: keys of objects. An array of them (VARIADIC) fails by its length, too. */
export function keysOf(name: string, call: Body): readonly unknown[] {
  const args = asList(call["args"]);
  if (objectAggregates.has(name)) return args.slice(0, 1);
  return objectBuilders.has(name) ? args.filter((_, index) => index % 2 === 0) : [];
}

/** The argument of a window function that says which row is meant: where there is no such row, the default is evaluated. */
export function offsetOf(name: string, call: Body): unknown {
  return name === "lag" || name === "lead" ? asList(call["args"])[1] : undefined;
}

const texts: ReadonlySet<string> = new Set(["text", "varchar"]);

/**
 * A value that is there before the statement runs: nothing is evaluated where it is needed, so nothing can fail or take time.
 * A type of the user's own may be a domain, whose check runs with the statement, and so does the conversion of a parameter.
 */
export function isGiven(value: unknown, names: Pick<CatalogNames, "resolveType">): boolean {
  const cast = bodyOf(value, "TypeCast");
  const inner = cast?.["arg"] ?? value;
  const isConstant = bodyOf(inner, "A_Const") !== undefined;
  if (!isConstant && bodyOf(inner, "ParamRef") === undefined) return false;
  if (cast === undefined) return true;
  const type = names.resolveType(...splitName(strings(asBody(cast["typeName"])?.["names"])));
  return type.schema === "pg_catalog" && (isConstant || texts.has(type.name));
}

/** `[…]` and `.f` after a value: what stands in the brackets is not evaluated where there is no value to look into. */
export function givenSubscripts(
  indirection: unknown,
  names: Pick<CatalogNames, "resolveType">,
): boolean {
  return asList(indirection).every((part) => {
    const { lidx, uidx } = bodyOf(part, "A_Indices") ?? {};
    return [lidx, uidx].every((index) => index === undefined || isGiven(index, names));
  });
}
