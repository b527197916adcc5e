// Walks statements that define, change, lock or drop objects: a table says what each kind is, one descent finds the rest.
//
// Every relation named is reported under the statement's kind, whole. An object that is no relation is reported as if it
// were one (`schema.name`), so that a Deny on a schema sees it; one that holds code nobody can see into is opaque besides.
import type { StatementKind } from "../operation.ts";
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
} from "./ast.ts";
import { consequencesOf, ofParent } from "./consequences.ts";
import { isRelationType, objectUse } from "./named-object.ts";
import { refuseTemporary, relationUse, splitName } from "./relation-use.ts";
import { childScope } from "./scope.ts";
import type { Context } from "./walk-context.ts";
import { walkExpression } from "./walk-expression.ts";

interface Definition {
  readonly kind: StatementKind;
  readonly opaque?: boolean;
  /** The field that holds the object's name as a list of identifiers. */
  readonly name?: string;
  /** What the descent cannot know by itself. */
  readonly also?: (body: Body, context: Context) => void;
}

export const definitions: ReadonlyMap<string, Definition> = new Map<string, Definition>([
  // Relations.
  ["CreateStmt", { kind: "create", also: parents }],
  [
    "CreateForeignTableStmt",
    { kind: "create", also: (body, context) => parents(asBody(body["base"]) ?? {}, context) },
  ],
  ["IndexStmt", { kind: "create" }],
  ["ViewStmt", { kind: "create" }],
  ["CreateSeqStmt", { kind: "create" }],
  ["CreateStatsStmt", { kind: "create" }],
  ["CompositeTypeStmt", { kind: "create" }],
  ["AlterTableStmt", { kind: "alter" }],
  ["AlterSeqStmt", { kind: "alter" }],
  ["CreatePolicyStmt", { kind: "alter" }],
  ["AlterPolicyStmt", { kind: "alter" }],
  ["RenameStmt", { kind: "alter", also: renamed }],
  ["AlterObjectSchemaStmt", { kind: "alter", also: moved }],
  [
    "AlterOwnerStmt",
    { kind: "alter", also: (body, context) => named("objectType", body, context) },
  ],
  [
    "AlterObjectDependsStmt",
    { kind: "alter", also: (body, context) => named("objectType", body, context) },
  ],
  ["AlterTableMoveAllStmt", { kind: "alter", opaque: true }],
  ["DropStmt", { kind: "drop", also: dropped }],
  ["TruncateStmt", { kind: "truncate" }],
  // Code: what it does when it runs cannot be seen here.
  ["CreateFunctionStmt", { kind: "create", opaque: true, name: "funcname" }],
  ["AlterFunctionStmt", { kind: "alter", opaque: true, also: alteredFunction }],
  ["CreateTrigStmt", { kind: "create", opaque: true, also: trigger }],
  ["CreateEventTrigStmt", { kind: "create", opaque: true }],
  ["AlterEventTrigStmt", { kind: "alter", opaque: true }],
  ["RuleStmt", { kind: "create", opaque: true }],
  ["DefineStmt", { kind: "create", opaque: true, name: "defnames" }],
  ["CreateCastStmt", { kind: "create", opaque: true }],
  ["CreateTransformStmt", { kind: "create", opaque: true }],
  ["CreateConversionStmt", { kind: "create", opaque: true, name: "conversion_name" }],
  ["CreateOpClassStmt", { kind: "create", opaque: true, name: "opclassname" }],
  ["CreateOpFamilyStmt", { kind: "create", opaque: true, name: "opfamilyname" }],
  ["AlterOpFamilyStmt", { kind: "alter", opaque: true, name: "opfamilyname" }],
  ["AlterOperatorStmt", { kind: "alter", opaque: true }],
  ["CreatePLangStmt", { kind: "create", opaque: true }],
  ["CreateAmStmt", { kind: "create", opaque: true }],
  ["CreateExtensionStmt", { kind: "create", opaque: true }],
  ["AlterExtensionStmt", { kind: "alter", opaque: true }],
  [
    "AlterExtensionContentsStmt",
    { kind: "alter", opaque: true, also: (body, context) => named("objtype", body, context) },
  ],
  // Types.
  ["CreateDomainStmt", { kind: "create", opaque: true, name: "domainname" }],
  ["AlterDomainStmt", { kind: "alter", opaque: true, name: "typeName" }],
  ["CreateEnumStmt", { kind: "create", name: "typeName" }],
  ["AlterEnumStmt", { kind: "alter", name: "typeName" }],
  ["CreateRangeStmt", { kind: "create", opaque: true, name: "typeName" }],
  ["AlterTypeStmt", { kind: "alter", opaque: true, name: "typeName" }],
  ["AlterCollationStmt", { kind: "alter", name: "collname" }],
  ["AlterStatsStmt", { kind: "alter", name: "defnames" }],
  ["AlterTSDictionaryStmt", { kind: "alter", opaque: true, name: "dictname" }],
  ["AlterTSConfigurationStmt", { kind: "alter", opaque: true, name: "cfgname" }],
  // Schemas, databases, roles, the world outside.
  ["CreateSchemaStmt", { kind: "create", also: createSchema }],
  ["CreatedbStmt", { kind: "create", opaque: true }],
  ["AlterDatabaseStmt", { kind: "alter", opaque: true }],
  ["AlterDatabaseRefreshCollStmt", { kind: "alter", opaque: true }],
  ["DropdbStmt", { kind: "drop", opaque: true }],
  ["CreateTableSpaceStmt", { kind: "create", opaque: true }],
  ["AlterTableSpaceOptionsStmt", { kind: "alter", opaque: true }],
  ["DropTableSpaceStmt", { kind: "drop", opaque: true }],
  ["CreateRoleStmt", { kind: "create", opaque: true }],
  ["AlterRoleStmt", { kind: "alter", opaque: true }],
  ["DropRoleStmt", { kind: "drop", opaque: true }],
  ["DropOwnedStmt", { kind: "drop", opaque: true }],
  ["ReassignOwnedStmt", { kind: "alter", opaque: true }],
  ["CreateFdwStmt", { kind: "create", opaque: true }],
  ["AlterFdwStmt", { kind: "alter", opaque: true }],
  ["CreateForeignServerStmt", { kind: "create", opaque: true }],
  ["AlterForeignServerStmt", { kind: "alter", opaque: true }],
  ["CreateUserMappingStmt", { kind: "create", opaque: true }],
  ["AlterUserMappingStmt", { kind: "alter", opaque: true }],
  ["DropUserMappingStmt", { kind: "drop", opaque: true }],
  ["ImportForeignSchemaStmt", { kind: "create", opaque: true }],
  ["CreatePublicationStmt", { kind: "create", opaque: true }],
  ["AlterPublicationStmt", { kind: "alter", opaque: true }],
  ["CreateSubscriptionStmt", { kind: "create", opaque: true }],
  ["AlterSubscriptionStmt", { kind: "alter", opaque: true }],
  ["DropSubscriptionStmt", { kind: "drop", opaque: true }],
  // Privileges.
  ["GrantStmt", { kind: "grant", also: grant }],
  ["GrantRoleStmt", { kind: "grant", opaque: true }],
  ["AlterDefaultPrivilegesStmt", { kind: "grant", opaque: true }],
  // Upkeep.
  ["ClusterStmt", { kind: "utility", also: everywhere }],
  ["CommentStmt", { kind: "utility", also: (body, context) => named("objtype", body, context) }],
  ["LockStmt", { kind: "utility" }],
  ["RefreshMatViewStmt", { kind: "utility" }],
  ["ReindexStmt", { kind: "utility", also: everywhere }],
  [
    "SecLabelStmt",
    { kind: "utility", opaque: true, also: (body, context) => named("objtype", body, context) },
  ],
  ["VacuumStmt", { kind: "utility", also: everywhere }],
]);

export function definition(node: Tagged, outer: Context): void {
  const entry = definitions.get(node.tag);
  if (entry === undefined) return;
  const { body } = node;
  const kind = privilegeKind(node) ?? entry.kind;
  const consequences = consequencesOf(node);
  const context: Context = {
    ...outer,
    statement: kind,
    place: "a definition",
    scope: childScope(undefined),
    top: false,
    leadsTo: consequences.own,
    otherLeadsTo: consequences.other,
    cascades: cascades(node),
  };
  context.sink.within(kind, () => {
    if (entry.opaque === true) context.sink.statement(kind, { opaque: true });
    if (entry.name !== undefined) {
      const [schema, name] = splitName(strings(body[entry.name]));
      if (schema !== undefined) refuseTemporary(schema, context);
      if (name !== "") context.sink.relation({ statement: kind, schema: schema ?? "public", name });
    }
    entry.also?.(body, context);
    descend(node, context);
  });
}

/** TRUNCATE empties what has foreign keys to its tables; DROP of a type takes its columns. What goes with a table is no row of another. */
function cascades({ tag, body }: Tagged): boolean {
  if (body["behavior"] !== "DROP_CASCADE") return false;
  return (
    tag === "TruncateStmt" || (tag === "DropStmt" && !isRelationType(asText(body["removeType"])))
  );
}

/** GRANT and REVOKE share their nodes. */
function privilegeKind({ tag, body }: Tagged): StatementKind | undefined {
  const grantBody = tag === "AlterDefaultPrivilegesStmt" ? (asBody(body["action"]) ?? {}) : body;
  const isPrivilege =
    tag === "GrantStmt" || tag === "GrantRoleStmt" || tag === "AlterDefaultPrivilegesStmt";
  return isPrivilege && grantBody["is_grant"] !== true ? "revoke" : undefined;
}

/** Nodes of a definition that are not expressions; everything else is walked as one. */
const structural: ReadonlySet<string> = new Set([
  "",
  "AccessPriv",
  "AlterTableCmd",
  "ColumnDef",
  "Constraint",
  "CreateStmt",
  "DefElem",
  "FunctionParameter",
  "IndexElem",
  "List",
  "ObjectWithArgs",
  "PartitionBoundSpec",
  "PartitionCmd",
  "PartitionElem",
  "PartitionSpec",
  "PublicationObjSpec",
  "PublicationTable",
  "RoleSpec",
  "String",
  "TriggerTransition",
  "VacuumRelation",
  "TableLikeClause",
  "VariableSetStmt",
  "CreateOpClassItem",
]);

/** @param converts a type named here is one that stored values are cast to (ALTER COLUMN … TYPE). */
function descend(node: Tagged, context: Context, converts = false): void {
  // Parents are reported by `parents`: they are altered, not created.
  const body = Object.entries(node.body).filter(([field]) => field !== "inhRelations");
  forEachChild(Object.fromEntries(body), (child) => {
    if (child.tag === "TypeName") {
      if (converts) walkExpression({ TypeName: child.body }, context);
    } else if (child.tag === "RangeVar") relationInDefinition(node, child.body, context);
    else if (structural.has(child.tag)) {
      descend(
        child,
        context,
        converts ||
          (child.tag === "AlterTableCmd" && child.body["subtype"] === "AT_AlterColumnType"),
      );
    } else if (child.tag === "SelectStmt") context.query(child, context, false);
    else walkExpression({ [child.tag]: child.body }, context);
  });
}

function relationInDefinition(holder: Tagged, rangeVar: Body, context: Context): void {
  // A foreign key and LIKE read the other relation; everything else acts on it.
  const reads = holder.tag === "Constraint" || holder.tag === "TableLikeClause";
  const isOther = holder.tag === "PartitionCmd" || holder.tag === "AlterTableCmd";
  const here = isOther ? { ...context, leadsTo: context.otherLeadsTo } : context;
  const use = relationUse(rangeVar, here, reads ? "select" : context.statement);
  if (holder.tag === "Constraint")
    context.sink.listed(use, strings(holder.body["pk_attrs"]), false);
  else if (holder.tag !== "GrantStmt") context.sink.listed(use, "all", !reads);
}

/** INHERITS and PARTITION OF change what reading the parent yields. */
function parents(body: Body, context: Context): void {
  for (const item of asList(body["inhRelations"])) {
    const parent = bodyOf(item, "RangeVar");
    if (parent !== undefined)
      context.sink.listed(
        relationUse(parent, { ...context, leadsTo: ofParent }, "alter"),
        "all",
        true,
      );
  }
}

/** Without a relation these reach every one of the schema or the database. */
function everywhere(body: Body, context: Context): void {
  if (body["relation"] === undefined && asList(body["rels"]).length === 0) {
    context.sink.statement(context.statement, { opaque: true });
  }
}

function named(typeField: string, body: Body, context: Context): void {
  if (body["object"] !== undefined) objectUse(asText(body[typeField]), body["object"], context);
}

function renamed(body: Body, context: Context): void {
  const type = asText(body["renameType"]);
  named("renameType", body, context);
  const relation = asBody(body["relation"]);
  const newName = asText(body["newname"]);
  if (relation === undefined) {
    if (type === "OBJECT_SCHEMA") {
      for (const schema of [asText(body["subname"]), newName])
        objectUse(type, { String: { sval: schema } }, context);
    } else if (body["object"] === undefined) context.sink.statement("alter", { opaque: true });
  } else if (
    type !== "OBJECT_COLUMN" &&
    type !== "OBJECT_TABCONSTRAINT" &&
    type !== "OBJECT_TRIGGER" &&
    type !== "OBJECT_POLICY" &&
    type !== "OBJECT_RULE"
  ) {
    // The name it gets may be one that rules speak about.
    context.sink.listed(
      relationUse({ ...relation, relname: newName }, context, "alter"),
      "all",
      true,
    );
  }
}

function moved(body: Body, context: Context): void {
  named("objectType", body, context);
  const relation = asBody(body["relation"]);
  const schemaname = asText(body["newschema"]);
  if (relation !== undefined)
    context.sink.listed(relationUse({ ...relation, schemaname }, context, "alter"), "all", true);
  else objectUse("OBJECT_SCHEMA", { String: { sval: schemaname } }, context);
}

function dropped(body: Body, context: Context): void {
  for (const object of asList(body["objects"]))
    objectUse(asText(body["removeType"]), object, context);
}

function alteredFunction(body: Body, context: Context): void {
  objectUse(asText(body["objtype"]), { ObjectWithArgs: asBody(body["func"]) ?? {} }, context);
}

function trigger(body: Body, context: Context): void {
  const [schema, name] = splitName(strings(body["funcname"]));
  context.sink.call(context.names.resolveFunction(schema, name), "create", schema === undefined);
}

function createSchema(body: Body, context: Context): void {
  objectUse("OBJECT_SCHEMA", { String: { sval: asText(body["schemaname"]) } }, context);
  // Inside it unqualified names mean the new schema first, unlike anywhere else.
  if (asList(body["schemaElts"]).length > 0)
    context.sink.refuse("CREATE SCHEMA with objects in it is refused; send one statement for each");
}

function grant(body: Body, context: Context): void {
  const privileges = asList(body["privileges"]).map((item) =>
    strings(bodyOf(item, "AccessPriv")?.["cols"]),
  );
  const columns =
    privileges.length > 0 && privileges.every((list) => list.length > 0)
      ? privileges.flat()
      : "all";
  const everyIn = asText(body["targtype"]) === "ACL_TARGET_ALL_IN_SCHEMA";
  for (const object of asList(body["objects"])) {
    const rangeVar = tagged(object);
    if (rangeVar?.tag === "RangeVar")
      context.sink.listed(relationUse(rangeVar.body, context, context.statement), columns, false);
    else objectUse(everyIn ? "OBJECT_SCHEMA" : asText(body["objtype"]), object, context);
  }
}
