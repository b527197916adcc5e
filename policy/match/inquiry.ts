// One operation under examination, and what a rule has to say about it.
import type { Bundle } from "../bundle.ts";
import type { Access, Operation, Subject } from "../operation.ts";
import type { WhenScope } from "../when.ts";
import type { MatchField, Reading } from "./field.ts";
import { accessMismatch, requestMismatch } from "./rule.ts";
import type { PreparedRule } from "./rule.ts";
import { buildScope } from "./scope.ts";
import type { DecideContext } from "./scope.ts";

export interface Inquiry {
  readonly bundle: Bundle;
  readonly subject: Subject;
  readonly operation: Operation;
  readonly context: DecideContext;
  /** Built when the first rule with `when` is reached, and shared by all of them. */
  scope: WhenScope | undefined;
}

/** What keeps the rule from speaking about the operation as a whole. */
export function unheard(
  inquiry: Inquiry,
  rule: PreparedRule,
  reading: Reading,
): MatchField | undefined {
  return requestMismatch(rule, inquiry.operation, inquiry.subject.chain, reading);
}

/** Whether the rule, which hears the operation, speaks about this access. */
export function speaks(
  inquiry: Inquiry,
  rule: PreparedRule,
  access: Access,
  reading: Reading,
): boolean {
  return accessMismatch(rule, inquiry.operation, access, reading) === undefined;
}

export type Condition = "true" | "false" | "error";

/** `when`, evaluated last and only for rules whose fields matched. What an error means depends on the rule's action. */
export function condition(inquiry: Inquiry, rule: PreparedRule): Condition {
  if (!rule.when) return "true";
  if (inquiry.operation.kind === "sql" && inquiry.operation.unparsed !== undefined) {
    // What a condition says of facts that nobody has means nothing: whoever might object does, and nobody permits by it.
    if (rule.action !== "Allow") return "true";
    if (/\bsql\b/.test(rule.whenSource ?? "")) return "error";
  }
  try {
    const { bundle, subject, operation, context } = inquiry;
    inquiry.scope ??= buildScope(bundle, subject, operation, context);
    return rule.when.evaluate(inquiry.scope) ? "true" : "false";
  } catch {
    return "error";
  }
}
