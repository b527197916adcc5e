// What a rule's `when` expression sees of one operation.
import type { Bundle } from "../bundle.ts";
import type { Operation, Subject } from "../operation.ts";
import type { WhenScope } from "../when.ts";

/** What is true of the moment, not of the operation; the proxy passes it in, so that the core needs no clock. */
export interface DecideContext {
  readonly session: {
    readonly id: string;
    readonly operations: number;
    /** What the pod's session carries; absent means nothing. */
    readonly marks?: readonly string[];
  };
  readonly time: Date;
}

export function buildScope(
  bundle: Bundle,
  subject: Subject,
  operation: Operation,
  context: DecideContext,
): WhenScope {
  const common = {
    subject,
    connection: bundle.connection,
    operation: { kind: operation.kind, summary: operation.summary },
    session: { ...context.session, marks: context.session.marks ?? [] },
    time: context.time,
  };
  switch (operation.kind) {
    case "sql":
      return { ...common, sql: operation.facts, params: operation.params };
    case "http":
      return { ...common, http: operation.facts, params: [] };
    case "llm":
      return { ...common, llm: operation.facts, http: operation.http, params: [] };
    case "mcp":
      return { ...common, mcp: operation.facts, http: operation.http, params: [] };
    case "passthrough":
      return { ...common, passthrough: operation.facts, params: [] };
  }
}
