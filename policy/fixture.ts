// Small builders of bundles and operations for the tests of this folder.
import type { Bundle, BundleRule, PolicyMode, RuleAction } from "./bundle.ts";
import { decide, prepare } from "./decide.ts";
import type { DecideContext } from "./decide.ts";
import type { Decision } from "./decision.ts";
import type {
  Access,
  FunctionAccess,
  HttpFacts,
  HttpOperation,
  LlmFacts,
  LlmOperation,
  Operation,
  RelationAccess,
  SqlOperation,
  StatementAccess,
  StatementKind,
  Subject,
} from "./operation.ts";

export const subject: Subject = {
  namespace: "agents",
  serviceAccount: "invoice-agent",
  pod: "invoice-agent-0",
  podUid: "6f1c",
};

export const context: DecideContext = {
  session: { id: "s1", operations: 7 },
  time: new Date("2026-11-20T10:00:00Z"),
};

type RuleBody = Omit<BundleRule, "policy" | "name" | "action" | "mode">;

export function rule(
  name: string,
  action: RuleAction,
  body: RuleBody,
  mode: PolicyMode = "Enforce",
): BundleRule {
  return { policy: "agents/p", name, action, mode, ...body };
}

export function bundleOf(rules: readonly BundleRule[]): Bundle {
  return {
    version: 1,
    requires: [],
    generation: "sha256-test",
    connection: { namespace: "agents", name: "orders-db", protocol: "postgres" },
    subject: { namespace: "agents", serviceAccount: "invoice-agent" },
    policies: ["agents/p"],
    observeOnly: false,
    rules,
    columnMasks: [],
    detectMasks: [],
    maskKey: "",
    limits: {},
    recording: { detail: "Statements", strict: false, retentionDays: 90 },
    grantTtlSeconds: 300,
  };
}

export function ask(bundle: Bundle, operation: Operation): Decision {
  return decide(prepare(bundle), subject, operation, context);
}

/** `"*"` as columns stands for all of them; else their bare names. */
export function relation(
  statement: StatementKind,
  name: string,
  columns: readonly string[] | "*",
  more: Partial<RelationAccess> = {},
): RelationAccess {
  const all = columns === "*";
  return {
    kind: "relation",
    statement,
    relation: name,
    columns: all ? [] : columns.map((column) => `${name}.${column}`),
    allColumns: all,
    ...more,
  };
}

export function fn(
  name: string,
  statement: StatementKind,
  more: Partial<FunctionAccess> = {},
): FunctionAccess {
  return { kind: "function", statement, function: name, safe: true, ...more };
}

export function statement(
  kind: StatementKind,
  more: Partial<StatementAccess> = {},
): StatementAccess {
  return { kind: "statement", statement: kind, ...more };
}

export function sql(...accesses: readonly Access[]): SqlOperation {
  const writes = accesses.flatMap((access) =>
    access.kind === "relation" && access.hasWhere !== undefined ? [access.hasWhere] : [],
  );
  return {
    kind: "sql",
    summary: "a statement",
    accesses,
    params: [],
    facts: {
      statements: accesses.flatMap((access) => ("statement" in access ? [access.statement] : [])),
      relationsRead: [],
      relationsWritten: [],
      columns: [],
      functions: [],
      hasWhere: writes.length > 0 && writes.every(Boolean),
      count: 1,
    },
  };
}

export function http(method: string, path: string, more: Partial<HttpFacts> = {}): HttpOperation {
  const facts = { method, path, host: "api.example.com", query: {}, contentType: "", ...more };
  return {
    kind: "http",
    summary: `${method} ${path}`,
    accesses: [{ kind: "http", method, host: facts.host, path }],
    facts,
  };
}

export function llm(more: Partial<LlmFacts>): LlmOperation {
  const facts: LlmFacts = {
    operation: "chat",
    model: "gpt-5",
    stream: false,
    tools: [],
    maxOutputTokens: null,
    prompts: [],
    messages: [],
    toolsOffered: [],
    toolsCalled: [],
    toolResults: [],
    attachments: [],
    responseFormat: "",
    user: "",
    reasoning: false,
    ...more,
  };
  return {
    kind: "llm",
    summary: `${facts.operation} ${facts.model}`,
    accesses: [
      {
        kind: "llm",
        operation: facts.operation,
        ...(facts.model !== "" && { model: facts.model }),
        ...(facts.maxOutputTokens !== null && { maxOutputTokens: facts.maxOutputTokens }),
      },
      ...facts.tools.map((tool) => ({ kind: "tool" as const, tool })),
    ],
    facts,
    http: http("POST", "/v1/chat/completions").facts,
  };
}
