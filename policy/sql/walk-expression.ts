// Walks expressions: columns, functions, operators, types and sub-queries wherever they stand. What it does not know, it
// descends into, so a node type of a later grammar still gives up the relations and functions inside it.
import {
  asList,
  asText,
  bodyOf,
  forEachChild,
  strings,
  tagged,
  type Body,
  type Tagged,
} from "./ast.ts";
import { olderCall, olderColumn } from "./newer-words.ts";
import { refuseTemporary, relationUse, splitName } from "./relation-use.ts";
import { setConfigCall } from "./settings.ts";
import { affordsColumn, inPlace, type Context } from "./walk-context.ts";

export function walkExpression(value: unknown, context: Context): void {
  if (Array.isArray(value)) {
    for (const item of value) walkExpression(item, context);
    return;
  }
  const node = tagged(value);
  if (node !== undefined) walkNode(node, context);
}

function walkNode(node: Tagged, context: Context): void {
  const { tag, body } = node;
  asOlderServer(node, context);
  switch (tag) {
    case "SelectStmt":
    case "InsertStmt":
    case "UpdateStmt":
    case "DeleteStmt":
    case "MergeStmt":
      context.query(node, { ...context, top: false }, false);
      return;
    case "SubLink":
      walkSubLink(body, context);
      return;
    case "ColumnRef":
      columnReference(body, context, false);
      return;
    case "RangeVar":
      // A relation outside FROM (a later grammar's node): counted whole.
      context.sink.listed(relationUse(body, context, context.statement), "all", false);
      return;
    case "FuncCall":
      functionCall(body, context);
      return;
    case "A_Expr":
      operatorName(asList(body["name"]), asText(body["kind"]), context);
      break;
    case "SortBy":
      operatorName(asList(body["useOp"]), "AEXPR_OP", context);
      break;
    case "TypeName":
      typeName(body, context);
      break;
    case "A_Indirection":
      for (const name of strings(body["indirection"]))
        context.sink.attribute(name, context.statement);
      break;
    case "WithClause":
      // Only reached through a node this walker does not know: its names could not be scoped.
      context.sink.refuse("a WITH clause stands where it cannot be understood");
      return;
    default:
      break;
  }
  const inner = inPlace(context, context.place === "the output" ? "an expression" : context.place);
  forEachChild(body, (child) => walkNode(child, inner));
}

function asOlderServer(node: Tagged, context: Context): void {
  const called = olderCall(node);
  if (called !== undefined)
    context.sink.call({ schema: "pg_catalog", name: called }, context.statement, true);
  const column = olderColumn(node);
  if (column !== undefined)
    columnReference({ fields: [{ String: { sval: column } }] }, context, false);
}

function walkSubLink(body: Body, context: Context): void {
  operatorName(asList(body["operName"]), "AEXPR_OP", context);
  walkExpression(
    body["testexpr"],
    inPlace(context, context.place === "the output" ? "an expression" : context.place),
  );
  const query = tagged(body["subselect"]);
  if (query !== undefined)
    context.query(query, { ...context, top: false }, body["subLinkType"] === "EXISTS_SUBLINK");
}

/** One output column of a SELECT or RETURNING list. */
export function walkTarget(target: unknown, context: Context, ignored: boolean): void {
  const value = bodyOf(target, "ResTarget")?.["val"];
  const reference = bodyOf(value, "ColumnRef");
  if (reference === undefined) walkExpression(value, { ...context, top: false });
  else columnReference(reference, context, ignored);
}

function columnReference(body: Body, context: Context, ignored: boolean): void {
  const fields = asList(body["fields"]);
  const star = fields.some((field) => bodyOf(field, "A_Star") !== undefined);
  const path = strings(fields);
  if (!affordsColumn(context)) return;
  context.sink.column({
    path,
    star,
    scope: context.scope,
    statement: context.statement,
    place: context.place,
    plain: context.top,
    ignored: ignored && star,
  });
}

function functionCall(body: Body, context: Context): void {
  const [schema, name] = splitName(strings(body["funcname"]));
  const resolved = context.names.resolveFunction(schema, name);
  refuseTemporary(resolved.schema, context);
  const setting =
    resolved.schema === "pg_catalog" && name === "set_config"
      ? setConfigCall(asList(body["args"]), context.settingName)
      : undefined;
  if (setting === undefined) context.sink.call(resolved, context.statement, schema === undefined);
  else if (setting.ok) context.sink.statement("set", { ...setting, basic: true });
  else context.sink.refuse(setting.sentence);
  const inner = inPlace(context, context.place === "the output" ? "an expression" : context.place);
  forEachChild(body, (child) => {
    if (child.tag !== "String") walkNode(child, inner);
  });
}

/** Kinds whose name is a word of the grammar, not an operator. */
const wordKinds = new Set([
  "AEXPR_BETWEEN",
  "AEXPR_NOT_BETWEEN",
  "AEXPR_BETWEEN_SYM",
  "AEXPR_NOT_BETWEEN_SYM",
]);

function operatorName(name: readonly unknown[], kind: string, context: Context): void {
  const parts = strings(name);
  if (parts.length === 0 || wordKinds.has(kind)) return;
  const [schema, operator] = splitName(parts);
  const resolved = context.names.resolveOperator(schema, operator);
  refuseTemporary(resolved.schema, context);
  context.sink.operator(resolved, context.statement, schema === undefined);
}

function typeName(body: Body, context: Context): void {
  const [schema, name] = splitName(strings(body["names"]));
  if (name === "") return;
  const resolved = context.names.resolveType(schema, name);
  refuseTemporary(resolved.schema, context);
  context.sink.cast(resolved, context.statement);
}
