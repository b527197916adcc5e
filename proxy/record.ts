// What of an operation goes into its event, by the recording detail of the policy.
import { stable } from "../contract/canonical.ts";
import type { EventBody, EventDecision } from "../contract/event.ts";
import type { RecordingDetail } from "../policy/bundle.ts";
import type { Decision } from "../policy/decision.ts";
import { mayChange } from "../policy/mcp/methods.ts";
import type { Operation, StatementKind } from "../policy/operation.ts";
import { maxContentBytes, type Content, type PassOptions } from "./pipeline.ts";

const readingStatements: ReadonlySet<StatementKind> = new Set([
  "select",
  "explain",
  "transaction",
  "set",
]);

/** RFC 9110 section 9.2.1: safe methods. */
const safeMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);

/** Operations that may change something are strict: their intent is durable before they go ahead. Asking a model changes nothing. */
export function changesSomething(operation: Operation): boolean {
  switch (operation.kind) {
    case "sql":
      for (const statement of operation.facts.statements)
        if (!readingStatements.has(statement)) return true;
      return false;
    case "http":
      return operation.facts.upgrade !== undefined || !safeMethods.has(operation.facts.method);
    case "llm":
      return false;
    case "mcp":
      return mayChange(operation.facts.method);
    case "passthrough":
      return true; // who could say that it does not
    default:
      return operation satisfies never;
  }
}

/** The same object serves every event that it stands in. */
export function eventDecision(decision: Decision): EventDecision {
  const { verdict, policy, rule, reason, message, mode, limit, wouldBe } = decision;
  const said = { verdict, policy, rule, reason, message, mode };
  if (limit === undefined && wouldBe === undefined) return stable(said);
  return stable({
    ...said,
    ...(limit !== undefined && { limit }),
    ...(wouldBe !== undefined && { wouldBe }),
  });
}

/** Metadata: kind and summary without facts. Statements: facts too. Full: parameters as well. */
export function eventOperation(
  operation: Operation,
  detail: RecordingDetail,
): NonNullable<EventBody["operation"]> {
  const findings = operation.kind === "sql" ? operation.findings?.found : undefined;
  const said = saidOf(operation, detail);
  return findings === undefined ? said : { ...said, detected: findings };
}

function saidOf(
  operation: Operation,
  detail: RecordingDetail,
): NonNullable<EventBody["operation"]> {
  if (detail === "Metadata") return { kind: operation.kind, summary: metadataSummary(operation) };
  if (detail === "Full" && operation.kind === "sql" && operation.params.length > 0) {
    return {
      kind: operation.kind,
      summary: operation.summary,
      facts: { ...facts(operation), params: operation.params },
    };
  }
  return { kind: operation.kind, summary: operation.summary, facts: facts(operation) };
}

/** What a refused operation would have sent: prompts as its recogniser read them, other texts where everything is recorded. */
export function refusedContents(
  operation: Operation,
  detail: RecordingDetail,
  { content }: PassOptions,
): readonly Content[] {
  if (detail === "Metadata") return [];
  if (operation.kind === "llm") return cut("request", operation.facts.prompts.join("\n\n"));
  if (detail !== "Full" || content === undefined) return [];
  const { part, text } = content();
  return cut(part, text);
}

function cut(part: Content["part"], text: string): readonly Content[] {
  if (text === "") return [];
  const bytes = Buffer.from(text);
  if (bytes.length <= maxContentBytes) return [{ part, text }];
  return [{ part, text: bytes.toString("utf8", 0, maxContentBytes), truncated: true }];
}

/** Prompts and arguments are content, not facts: they are recorded as content records where the policy asks for them. */
function facts(operation: Operation): Readonly<Record<string, unknown>> {
  // Those of an SQL text are kept with the text, and so is their form.
  if (operation.kind === "sql") return stable(operation.facts);
  if (operation.kind === "mcp") {
    const { arguments: _arguments, ...rest } = operation.facts;
    return rest;
  }
  if (operation.kind === "http" || operation.kind === "passthrough") return operation.facts;
  const {
    prompts: _prompts,
    messages: _messages,
    toolResults: _toolResults,
    ...rest
  } = operation.facts;
  return rest;
}

function metadataSummary(operation: Operation): string {
  switch (operation.kind) {
    case "sql":
      return `${operation.facts.statements.join(", ")} on ${[...operation.facts.relationsWritten, ...operation.facts.relationsRead].join(", ") || "no relation"}`;
    case "http":
      return operation.facts.method;
    case "llm":
      return `${operation.facts.operation} ${operation.facts.model}`;
    case "mcp":
      return operation.facts.method;
    case "passthrough":
      return operation.summary;
    default:
      return operation satisfies never;
  }
}
