// Walks one statement of any kind: data statements as queries, the rest by a table of what each kind touches.
import type { StatementKind } from "../operation.ts";
import {
  asBody,
  asList,
  asText,
  forEachChild,
  strings,
  tagged,
  type Body,
  type Tagged,
} from "./ast.ts";
import type { CatalogNames } from "./catalog-names.ts";
import { relationUse } from "./relation-use.ts";
import { childScope } from "./scope.ts";
import {
  setStatement,
  showStatement,
  storedSetting,
  transactionModes,
  type SettingVerdict,
} from "./settings.ts";
import { inPlace, type Context, type Sink } from "./walk-context.ts";
import { definition, definitions } from "./walk-definition.ts";
import { walkExpression } from "./walk-expression.ts";
import { createTarget, walkQuery } from "./walk-query.ts";

export function walkStatement(value: unknown, sink: Sink, names: CatalogNames): void {
  const context: Context = {
    sink,
    names,
    query: walkQuery,
    budget: { items: 0, comparisons: 0 },
    scope: childScope(undefined),
    statement: "other",
    place: "a definition",
    top: true,
  };
  const node = tagged(value);
  if (node === undefined) sink.refuse("the statement has no kind");
  else statement(node, context);
}

const queries: Readonly<Record<string, StatementKind>> = {
  SelectStmt: "select",
  InsertStmt: "insert",
  UpdateStmt: "update",
  DeleteStmt: "delete",
  MergeStmt: "merge",
};

/** Statements that hold no relation and no expression. `opaque` ones do something that cannot be seen from their text. */
const plain: Readonly<
  Record<
    string,
    { readonly kind: StatementKind; readonly opaque?: boolean; readonly basic?: boolean }
  >
> = {
  CheckPointStmt: { kind: "utility" },
  ClosePortalStmt: { kind: "utility", basic: true },
  ConstraintsSetStmt: { kind: "transaction", basic: true },
  DeallocateStmt: { kind: "utility", basic: true },
  // What a cursor reads was decided when it was declared.
  FetchStmt: { kind: "select", basic: true },
  ListenStmt: { kind: "utility" },
  LoadStmt: { kind: "other", opaque: true },
  NotifyStmt: { kind: "utility" },
  UnlistenStmt: { kind: "utility", basic: true },
};

function statement(node: Tagged, context: Context): void {
  const { tag, body } = node;
  const { sink } = context;
  const kind = queries[tag];
  if (kind !== undefined) {
    sink.within(kind, () => walkQuery(node, { ...context, statement: kind }));
    return;
  }
  const simple = plain[tag];
  if (simple !== undefined) {
    sink.statement(simple.kind, simple);
    return;
  }
  const special = specials[tag];
  if (special !== undefined) special(body, context);
  else if (definitions.has(tag)) definition(node, context);
  else unknown(node, context);
}

/** A statement of a later grammar: refused unless a rule names `other`, and what it visibly touches is still reported. */
function unknown(node: Tagged, context: Context): void {
  context.sink.statement("other", { opaque: true });
  forEachChild(node.body, (child) =>
    walkExpression({ [child.tag]: child.body }, { ...context, statement: "other", top: false }),
  );
}

type Special = (body: Body, context: Context) => void;

const specials: Readonly<Record<string, Special>> = {
  TransactionStmt: transaction,
  VariableSetStmt: (body, context) => setting(setStatement(body), context),
  VariableShowStmt: (body, context) => setting(showStatement(body), context),
  AlterRoleSetStmt: (body, { sink }) => sink.refuse(storedSetting(body)),
  AlterDatabaseSetStmt: (body, { sink }) => sink.refuse(storedSetting(body)),
  AlterSystemStmt: (body, { sink }) => sink.refuse(storedSetting(body)),
  DiscardStmt: (body, { sink }) =>
    sink.statement("set", {
      basic: true,
      ...(asText(body["target"]) === "DISCARD_ALL" ? { session: { resets: true } } : {}),
    }),
  ExplainStmt: (body, context) => inner("explain", body["query"], context),
  CopyStmt: copy,
  CreateTableAsStmt: createTableAs,
  // Decided where the query is written; FETCH brings nothing new, and EXECUTE is decided by its session or not at all.
  PrepareStmt: nested,
  DeclareCursorStmt: nested,
  ExecuteStmt: (_body, { sink }) =>
    sink.refuse(
      "EXECUTE is decided only as a statement of its own with bare literals as arguments; otherwise use the protocol's prepared statements",
    ),
  DoStmt: (_body, { sink }) => sink.statement("do", { opaque: true }),
  CallStmt: call,
};

function setting(verdict: SettingVerdict, context: Context): void {
  if (verdict.ok) context.sink.statement("set", verdict);
  else context.sink.refuse(verdict.sentence);
}

const twoPhase = new Set([
  "TRANS_STMT_PREPARE",
  "TRANS_STMT_COMMIT_PREPARED",
  "TRANS_STMT_ROLLBACK_PREPARED",
]);

const ending = new Set(["TRANS_STMT_COMMIT", "TRANS_STMT_ROLLBACK"]);

/** A prepared transaction outlives its session and holds its locks until someone ends it, so it needs a rule. */
function transaction(body: Body, context: Context): void {
  const modes = transactionModes(asList(body["options"]));
  const kind = asText(body["kind"]);
  const ends = ending.has(kind) && body["chain"] !== true;
  context.sink.statement("transaction", {
    basic: modes.ok && modes.basic && !twoPhase.has(kind),
    ...(modes.ok && modes.session !== undefined ? { session: modes.session } : {}),
    ...(ends ? { session: { ends: true } } : {}),
  });
}

function nested(body: Body, context: Context): void {
  const node = tagged(body["query"]);
  if (node === undefined) context.sink.refuse("the inner statement is missing");
  else statement(node, { ...context, top: false });
}

function inner(kind: StatementKind, query: unknown, context: Context): void {
  const node = tagged(query);
  if (node === undefined) context.sink.refuse("the inner statement is missing");
  else context.sink.within(kind, () => statement(node, context));
}

function createTableAs(body: Body, context: Context): void {
  const creating: Context = { ...context, statement: "create", top: false };
  createTarget(asBody(body["into"]) ?? {}, creating);
  const node = tagged(body["query"]);
  if (node !== undefined) statement(node, creating);
}

function call(body: Body, context: Context): void {
  context.sink.statement("call", { opaque: true });
  walkExpression(
    { FuncCall: asBody(body["funccall"]) ?? {} },
    { ...context, statement: "call", place: "an expression", top: false },
  );
}

function copy(body: Body, context: Context): void {
  const { sink } = context;
  const copying: Context = { ...context, statement: "copy", place: "COPY", top: false };
  if (body["is_program"] === true)
    sink.refuse("COPY with PROGRAM runs a command on the database server and is refused");
  else if (asText(body["filename"]) !== "")
    sink.refuse("COPY with a file reads or writes the database server's disk; use STDIN or STDOUT");
  walkExpression(body["options"], inPlace(copying, "COPY"));
  const relation = asBody(body["relation"]);
  if (relation === undefined) {
    inner("copy", body["query"], copying);
    return;
  }
  const columns = strings(body["attlist"]);
  const named = columns.length === 0 ? "all" : columns;
  const from = body["is_from"] === true;
  sink.listed(relationUse(relation, copying, "copy"), named, from);
  const use = relationUse(relation, copying, from ? "insert" : "select");
  sink.listed(use, named, from);
  const scope = childScope(context.scope);
  scope.items.push({ alias: use.name, schema: use.schema, relations: [use], renamed: false });
  walkExpression(body["whereClause"], inPlace({ ...copying, statement: "insert" }, "WHERE", scope));
}
