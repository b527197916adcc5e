// Walks SELECT, INSERT, UPDATE, DELETE and MERGE with their scopes: WITH, FROM, joins, targets, RETURNING.
import type { StatementKind } from "../operation.ts";
import { asBody, asList, asText, bodiesOf, bodyOf, tagged, type Body, type Tagged } from "./ast.ts";
import { itemOf, relationUse } from "./relation-use.ts";
import { childScope, type RelationUse, type Scope } from "./scope.ts";
import { inPlace, type Context } from "./walk-context.ts";
import { walkExpression, walkTarget } from "./walk-expression.ts";
import { onlySettingOf } from "./settings.ts";
import { fromClause } from "./walk-from.ts";

/** @param exists the query's output is never evaluated (`EXISTS (…)`). */
export function walkQuery(node: Tagged, context: Context, exists = false): void {
  switch (node.tag) {
    case "SelectStmt":
      select(node.body, context, exists);
      return;
    case "InsertStmt":
      insert(node.body, context);
      return;
    case "UpdateStmt":
      update(node.body, context);
      return;
    case "DeleteStmt":
      remove(node.body, context);
      return;
    case "MergeStmt":
      merge(node.body, context);
      return;
    default:
      context.sink.refuse(
        `${node.tag === "" ? "a part of the statement" : node.tag} cannot be understood here`,
      );
  }
}

/** The scope in which the rest of a statement runs, after its WITH clause. */
function withClause(body: Body, context: Context): Scope {
  const clause = asBody(body["withClause"]);
  if (clause === undefined) return childScope(context.scope);
  const ctes = bodiesOf(clause["ctes"], "CommonTableExpr");
  const names = ctes.map((cte) => asText(cte["ctename"]));
  // With RECURSIVE every name is visible in every query of the list, otherwise only those before it.
  const recursive = clause["recursive"] === true;
  const visible = new Set(recursive ? names : []);
  for (const [index, cte] of ctes.entries()) {
    const inner: Context = {
      ...context,
      scope: childScope(context.scope, visible),
      place: "FROM",
      top: false,
    };
    const query = tagged(cte["ctequery"]);
    if (query !== undefined) walkQuery(query, inner);
    walkExpression(asBody(cte["cycle_clause"]), inPlace(inner, "an expression"));
    visible.add(names[index] ?? "");
  }
  return childScope(context.scope, new Set(names));
}

function select(body: Body, context: Context, exists: boolean): void {
  const reading: Context = { ...context, statement: "select", settingName: undefined };
  const outer = withClause(body, reading);
  const into = asBody(body["intoClause"]);
  if (into !== undefined) createTarget(into, context);
  const scope = childScope(outer);
  const here: Context = { ...reading, scope, top: context.top && into === undefined };
  if (asText(body["op"]) !== "SETOP_NONE" && asText(body["op"]) !== "") {
    for (const side of ["larg", "rarg"]) {
      const arm = asBody(body[side]);
      if (arm !== undefined) select(arm, { ...here, top: false }, exists);
    }
    walkExpression(body["sortClause"], inPlace(here, "ORDER BY"));
    limits(body, here);
    return;
  }
  const plainRows = here.top && asList(body["distinctClause"]).length === 0;
  fromClause(body["fromClause"], here);
  const targets = asList(body["targetList"]);
  const output: Context = {
    ...here,
    place: "the output",
    settingName: onlySettingOf(body),
    top: plainRows,
  };
  for (const target of targets) walkTarget(target, output, exists);
  walkExpression(body["valuesLists"], inPlace(here, "VALUES"));
  walkExpression(body["whereClause"], inPlace(here, "WHERE"));
  walkExpression(body["havingClause"], inPlace(here, "HAVING"));
  walkExpression(body["windowClause"], inPlace(here, "a window"));
  walkExpression(body["groupClause"], inPlace(here, "GROUP BY"));
  walkExpression(body["distinctClause"], inPlace(here, "DISTINCT"));
  walkExpression(body["sortClause"], inPlace(here, "ORDER BY"));
  limits(body, here);
  for (const clause of asList(body["lockingClause"]))
    locking(bodyOf(clause, "LockingClause") ?? {}, here);
}

function limits(body: Body, context: Context): void {
  walkExpression(body["limitCount"], inPlace(context, "LIMIT"));
  walkExpression(body["limitOffset"], inPlace(context, "LIMIT"));
}

/** FOR UPDATE and its kin lock rows against everyone else: a use of its own, as LOCK TABLE is. */
function locking(clause: Body, context: Context): void {
  const named = bodiesOf(clause["lockedRels"], "RangeVar").map((item) => asText(item["relname"]));
  for (const item of context.scope.items) {
    if (named.length > 0 && !named.includes(item.alias)) continue;
    // Through a sub-select or a view the lock reaches the tables inside.
    if (item.relations.length === 0) context.sink.statement("utility", {});
    for (const use of item.relations)
      context.sink.relation({ statement: "utility", schema: use.schema, name: use.name });
  }
}

/** SELECT INTO, CREATE TABLE AS, CREATE MATERIALIZED VIEW: the relation that comes into being. */
export function createTarget(into: Body, context: Context): void {
  const target = asBody(into["rel"]);
  if (target !== undefined)
    context.sink.listed(relationUse(target, context, "create"), "all", true);
}

function insert(body: Body, context: Context): void {
  const outer = withClause(body, context);
  const use = relationUse(asBody(body["relation"]) ?? {}, context, "insert");
  const columns = asList(body["cols"]).map((item) => asText(bodyOf(item, "ResTarget")?.["name"]));
  context.sink.listed(use, columns.length === 0 ? "all" : columns, true);
  const source: Context = { ...context, scope: outer, place: "VALUES", top: false };
  walkExpression(body["cols"], inPlace({ ...source, statement: "insert" }, "VALUES"));
  const query = tagged(body["selectStmt"]);
  if (query !== undefined) insertSource(query, source);
  const targetScope = childScope(outer);
  targetScope.items.push(itemOf(asBody(body["relation"]) ?? {}, [use]));
  const writing: Context = { ...context, scope: targetScope, statement: "insert", top: false };
  onConflict(asBody(body["onConflictClause"]), writing, use);
  returning(asBody(body["returningClause"]), writing, [use]);
}

/** VALUES belongs to the insert; a query is a select of its own. */
function insertSource(query: Tagged, context: Context): void {
  const lists = asList(query.body["valuesLists"]);
  if (lists.length === 0) walkQuery(query, context);
  else {
    const scope = withClause(query.body, context);
    walkExpression(lists, inPlace({ ...context, statement: "insert", scope }, "VALUES"));
    walkExpression(query.body["sortClause"], inPlace({ ...context, scope }, "ORDER BY"));
    limits(query.body, { ...context, scope });
  }
}

function onConflict(clause: Body | undefined, context: Context, inserted: RelationUse): void {
  if (clause === undefined) return;
  const infer = asBody(clause["infer"]);
  if (infer !== undefined) {
    const elements = bodiesOf(infer["indexElems"], "IndexElem");
    const names = elements.map((element) => asText(element["name"])).filter((name) => name !== "");
    if (names.length > 0) context.sink.listed(inserted, names, false);
    const inner = inPlace(context, "ON CONFLICT");
    for (const element of elements) walkExpression(element["expr"], inner);
    walkExpression(infer["whereClause"], inner);
  }
  if (clause["action"] !== "ONCONFLICT_UPDATE") return;
  const hasWhere = clause["whereClause"] !== undefined;
  const use: RelationUse = {
    statement: "update",
    schema: inserted.schema,
    name: inserted.name,
    hasWhere,
  };
  context.sink.relation(use);
  const scope = childScope(context.scope.parent);
  scope.items.push({ alias: "excluded", relations: [use], renamed: false });
  for (const item of context.scope.items) scope.items.push({ ...item, relations: [use] });
  const updating: Context = { ...context, scope, statement: "update" };
  assignments(clause["targetList"], updating, use);
  walkExpression(clause["whereClause"], inPlace(updating, "WHERE"));
}

function update(body: Body, context: Context): void {
  const outer = withClause(body, context);
  const hasWhere = body["whereClause"] !== undefined;
  const use = relationUse(asBody(body["relation"]) ?? {}, context, "update", hasWhere);
  const scope = childScope(outer);
  scope.items.push(itemOf(asBody(body["relation"]) ?? {}, [use]));
  const writing: Context = { ...context, scope, statement: "update", top: false };
  fromClause(body["fromClause"], writing);
  assignments(body["targetList"], writing, use);
  walkExpression(body["whereClause"], inPlace(writing, "WHERE"));
  returning(asBody(body["returningClause"]), writing, [use]);
}

function remove(body: Body, context: Context): void {
  const outer = withClause(body, context);
  const hasWhere = body["whereClause"] !== undefined;
  const use = relationUse(asBody(body["relation"]) ?? {}, context, "delete", hasWhere);
  context.sink.listed(use, "all", false);
  const scope = childScope(outer);
  scope.items.push(itemOf(asBody(body["relation"]) ?? {}, [use]));
  const writing: Context = { ...context, scope, statement: "delete", top: false };
  fromClause(body["usingClause"], writing);
  walkExpression(body["whereClause"], inPlace(writing, "WHERE"));
  returning(asBody(body["returningClause"]), writing, [use]);
}

/** MERGE has a condition per action but no WHERE that bounds it as a whole, so its updates and deletes count as having none. */
function merge(body: Body, context: Context): void {
  const outer = withClause(body, context);
  const target = asBody(body["relation"]) ?? {};
  const use = relationUse(target, context, "merge");
  const scope = childScope(outer);
  scope.items.push(itemOf(target, [use]));
  const merging: Context = { ...context, scope, statement: "merge", top: false };
  fromClause([body["sourceRelation"]], merging);
  walkExpression(body["joinCondition"], inPlace(merging, "a join condition"));
  for (const item of asList(body["mergeWhenClauses"]))
    mergeAction(bodyOf(item, "MergeWhenClause") ?? {}, merging, use);
  returning(asBody(body["returningClause"]), merging, [use]);
}

function mergeAction(clause: Body, context: Context, target: RelationUse): void {
  walkExpression(clause["condition"], inPlace(context, "MERGE"));
  const kinds: Readonly<Record<string, StatementKind>> = {
    CMD_INSERT: "insert",
    CMD_UPDATE: "update",
    CMD_DELETE: "delete",
  };
  const statement = kinds[asText(clause["commandType"])];
  if (statement === undefined) return;
  const { schema, name } = target;
  const use: RelationUse =
    statement === "insert"
      ? { statement, schema, name }
      : { statement, schema, name, hasWhere: false };
  context.sink.relation(use);
  const acting: Context = { ...context, statement };
  if (statement === "insert") {
    const columns = asList(clause["targetList"]).map((item) =>
      asText(bodyOf(item, "ResTarget")?.["name"]),
    );
    context.sink.listed(use, columns.length === 0 ? "all" : columns, true);
    walkExpression(clause["targetList"], inPlace(acting, "VALUES"));
    walkExpression(clause["values"], inPlace(acting, "VALUES"));
  } else if (statement === "update") assignments(clause["targetList"], acting, use);
  else context.sink.listed(use, "all", false);
}

function assignments(list: unknown, context: Context, use: RelationUse): void {
  const targets = bodiesOf(list, "ResTarget");
  context.sink.listed(
    use,
    targets.map((target) => asText(target["name"])),
    true,
  );
  const inner = inPlace(context, "SET");
  for (const target of targets) {
    walkExpression(target["indirection"], inner);
    walkExpression(target["val"], inner);
  }
}

/** RETURNING may call the old and the new row by names of its own (PostgreSQL 18). */
function returning(clause: Body | undefined, context: Context, uses: readonly RelationUse[]): void {
  if (clause === undefined) return;
  const scope = childScope(context.scope.parent);
  scope.items.push(...context.scope.items);
  const given = asList(clause["options"]).map((item) =>
    asText(bodyOf(item, "ReturningOption")?.["value"]),
  );
  for (const alias of ["old", "new", ...given])
    scope.items.push({ alias, relations: uses, renamed: false });
  const inner = inPlace(context, "RETURNING", scope);
  for (const target of asList(clause["exprs"])) walkTarget(target, inner, false);
}
