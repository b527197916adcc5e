// Why a rule does not speak about an access, as a sentence: the first field that did not match, and what it was held against.
import type { BundleRule } from "./bundle.ts";
import { describeAccess, printable } from "./describe.ts";
import type { MatchField } from "./match/field.ts";
import { toolChanged } from "./mcp/methods.ts";
import type { Access, McpAccess, Operation, SqlOperation, Subject } from "./operation.ts";

/** How far a rule came before the field kept it: the larger, the nearer. */
const depth: Readonly<Record<MatchField, number>> = {
  block: 0,
  chains: 1,
  statements: 2,
  methods: 2,
  operations: 2,
  hosts: 3,
  models: 3,
  functions: 3,
  relations: 3,
  paths: 4,
  columns: 4,
  maxOutputTokens: 4,
  tools: 5,
  query: 5,
  hasWhere: 5,
  contentTypes: 6,
  upgrades: 1,
  promptMatches: 6,
  resources: 5,
  prompts: 5,
  arguments: 6,
  detect: 6,
  when: 7,
};

export function nearness(field: MatchField): number {
  return depth[field];
}

type Explainer = (given: {
  readonly access: Access;
  readonly operation: Operation;
  readonly subject: Subject;
}) => string;

const reasons: Readonly<Record<MatchField, Explainer>> = {
  block: () => "it is about another kind of operation",
  chains: ({ subject }) =>
    subject.chain === undefined
      ? "it is for named chains only, and the subject names none"
      : `chains does not list ${printable(subject.chain)}`,
  statements: ({ access }) =>
    `statements does not list ${"statement" in access ? access.statement : "it"}`,
  relations: ({ access }) =>
    access.kind === "relation"
      ? `relations does not list ${printable(access.relation)}`
      : "it is about relations",
  columns: ({ access }) => columnsReason(access),
  functions: ({ access }) => functionsReason(access),
  hasWhere: ({ access }) =>
    access.kind === "relation" && access.hasWhere !== undefined
      ? `the ${access.statement} has ${access.hasWhere ? "a" : "no"} WHERE clause`
      : "hasWhere speaks of updates and deletes only",
  methods: ({ access, operation }) =>
    access.kind === "mcp"
      ? `methods does not list ${printable(access.method)}${mustBeNamed(access) ? ": that is allowed by name alone" : ""}`
      : `methods does not list ${printable(httpOf(operation)?.method ?? "")}`,
  hosts: ({ operation }) =>
    `hosts does not list ${printable(operation.kind === "passthrough" ? operation.facts.host : (httpOf(operation)?.host ?? ""))}`,
  paths: ({ operation }) => `paths does not list ${printable(httpOf(operation)?.path ?? "")}`,
  query: () => "query does not match the request's parameters",
  contentTypes: ({ operation }) =>
    `contentTypes does not list ${httpOf(operation)?.contentType || "a request without a body type"}`,
  upgrades: ({ operation }) => {
    const upgrade = httpOf(operation)?.upgrade;
    return upgrade === undefined
      ? "it is about upgrades, and the request asks for none"
      : `upgrades does not list ${upgrade}: a rule that allows an upgrade names it`;
  },
  operations: ({ operation }) =>
    `operations does not list ${operation.kind === "llm" ? operation.facts.operation : "it"}`,
  models: ({ operation }) =>
    operation.kind === "llm" && operation.facts.model !== ""
      ? `models does not list ${printable(operation.facts.model)}`
      : "the request names no model",
  tools: ({ access }) => named("tools", "tool" in access ? access.tool : undefined),
  resources: ({ access }) =>
    named("resources", access.kind === "mcp" ? access.resource : undefined),
  prompts: ({ access }) => named("prompts", access.kind === "mcp" ? access.prompt : undefined),
  arguments: () => "arguments does not match what the call brings",
  maxOutputTokens: ({ operation }) =>
    `the request asks for ${operation.kind === "llm" ? (operation.facts.maxOutputTokens ?? "any number of") : "other"} output tokens`,
  promptMatches: () => "promptMatches finds nothing in the prompts",
  detect: ({ operation }) =>
    operation.kind === "sql" ? detectReason(operation) : "detect finds nothing in the prompts",
  when: () => "its condition is false",
};

function detectReason({ findings }: SqlOperation): string {
  return findings?.unread === undefined
    ? "detect finds nothing in the statement and its parameters"
    : `detect finds nothing, and cannot look into ${findings.unread}`;
}

function httpOf(operation: Operation) {
  return operation.kind === "http" ? operation.facts : undefined;
}

function mustBeNamed({ method, fromServer }: McpAccess): boolean {
  return fromServer === true || method === toolChanged;
}

function named(field: string, name: string | undefined): string {
  return name === undefined ? `it is about ${field}` : `${field} does not list ${printable(name)}`;
}

function columnsReason(access: Access): string {
  if (access.kind !== "relation") return "it is about columns";
  if (access.allColumns)
    return `columns does not cover every column of ${printable(access.relation)}`;
  if (access.columns.length === 0) return `columns lists none of ${printable(access.relation)}`;
  return `columns does not list each of ${access.columns.slice(0, 8).map(printable).join(", ")}`;
}

function functionsReason(access: Access): string {
  if (access.kind !== "function") return "it is about functions";
  return `functions does not list ${printable(access.function)}${access.safe ? "" : ", which is not one of the safe functions"}`;
}

export function whyNot(
  field: MatchField,
  rule: Pick<BundleRule, "when">,
  access: Access,
  operation: Operation,
  subject: Subject,
): string {
  if (field === "when" && rule.when !== undefined)
    return `its condition is false: ${printable(rule.when)}`;
  if (field === "statements" && access.kind === "statement" && access.opaque) {
    return `${describeAccess(access)} runs text that cannot be looked into, so statements has to name it`;
  }
  return reasons[field]({ access, operation, subject });
}
