// Reports an object that a statement names by type and identifiers (DROP, COMMENT, ALTER … OWNER), relation or not.
import { asList, bodyOf, strings, tagged } from "./ast.ts";
import { reachOf, refuseTemporary, splitName } from "./relation-use.ts";
import type { Context } from "./walk-context.ts";

const relationTypes = new Set([
  "OBJECT_TABLE",
  "OBJECT_VIEW",
  "OBJECT_MATVIEW",
  "OBJECT_INDEX",
  "OBJECT_SEQUENCE",
  "OBJECT_FOREIGN_TABLE",
]);
export function isRelationType(type: string): boolean {
  return relationTypes.has(type);
}

/** Their names are the table's with one more part. */
const partTypes = new Set([
  "OBJECT_COLUMN",
  "OBJECT_TRIGGER",
  "OBJECT_RULE",
  "OBJECT_POLICY",
  "OBJECT_TABCONSTRAINT",
]);
const codeTypes = new Set([
  "OBJECT_FUNCTION",
  "OBJECT_PROCEDURE",
  "OBJECT_ROUTINE",
  "OBJECT_AGGREGATE",
]);
const inSchemas = new Set([
  "OBJECT_TYPE",
  "OBJECT_DOMAIN",
  "OBJECT_OPERATOR",
  "OBJECT_COLLATION",
  "OBJECT_CONVERSION",
  "OBJECT_STATISTIC_EXT",
  "OBJECT_TSCONFIGURATION",
  "OBJECT_TSDICTIONARY",
  "OBJECT_TSPARSER",
  "OBJECT_TSTEMPLATE",
]);

export function objectUse(type: string, object: unknown, context: Context): void {
  const { sink, names, statement } = context;
  const parts = identifiers(object);
  const [schema, name] = splitName(partTypes.has(type) ? parts.slice(0, -1) : parts);
  if (name === "") {
    sink.statement(statement, { opaque: true });
    return;
  }
  if (relationTypes.has(type) || partTypes.has(type)) {
    const use = { statement, ...names.resolveRelation(schema, name) };
    refuseTemporary(use.schema, context);
    sink.relation(use);
    sink.listed(use, type === "OBJECT_COLUMN" ? parts.slice(-1) : "all", true);
  } else if (codeTypes.has(type))
    sink.relation({ statement, ...names.resolveFunction(schema, name), ...reachOf(context) });
  else if (inSchemas.has(type))
    sink.relation({ statement, ...names.resolveType(schema, name), ...reachOf(context) });
  else if (type === "OBJECT_SCHEMA") {
    // Everything in it: no rule that names single relations covers that.
    refuseTemporary(name, context);
    sink.relation({ statement, schema: name, name: "*", ...reachOf(context) });
    if (statement !== "create") sink.statement(statement, { opaque: true });
  } else sink.statement(statement, { opaque: true });
}

/** Operator classes and families carry their access method first; they, casts and the like are left opaque. */
function identifiers(object: unknown): readonly string[] {
  const node = tagged(object);
  switch (node?.tag) {
    case "String":
      return strings([object]);
    case "List":
      return asList(node.body["items"]).every((item) => bodyOf(item, "String") !== undefined)
        ? strings(node.body["items"])
        : [];
    case "ObjectWithArgs":
      return strings(node.body["objname"]);
    case "TypeName":
      return strings(node.body["names"]);
    default:
      return [];
  }
}
