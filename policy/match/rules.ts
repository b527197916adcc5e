// The rules that decide together, indexed by action and by the kind of operation they can speak about.
import { permits, type BundleRule } from "../bundle.ts";
import type { Operation } from "../operation.ts";
import { compileRule } from "./rule.ts";
import type { PreparedRule } from "./rule.ts";

export type ByKind = Readonly<Record<Operation["kind"], readonly PreparedRule[]>>;

export interface RuleSet {
  readonly denies: ByKind;
  readonly approvals: ByKind;
  readonly allows: ByKind;
  /** The built-in rule `session-basics` stands wherever something is permitted at all. */
  readonly basics: boolean;
}

/**
 * Compiles rules into a fixed order, so that the rule named in a decision does not depend on the order of resources.
 * Throws RuleUnusable.
 */
export function compileRules(rules: readonly BundleRule[]): PreparedRule[] {
  return rules
    .map((rule) => ({ rule, key: `${rule.policy}\0${rule.name}\0${JSON.stringify(rule)}` }))
    .sort((a, b) => (a.key < b.key ? -1 : Number(a.key > b.key)))
    .map(({ rule }, order) => compileRule(rule, order));
}

export function indexRules(rules: readonly PreparedRule[]): RuleSet {
  const byKind = (action: PreparedRule["action"]): ByKind => {
    const chosen = rules.filter((rule) => rule.action === action);
    return {
      sql: chosen.filter((rule) => rule.sql),
      http: chosen.filter((rule) => rule.http),
      llm: chosen.filter((rule) => rule.llm),
      mcp: chosen.filter((rule) => rule.mcp),
      passthrough: chosen.filter((rule) => rule.passthrough),
    };
  };
  return {
    denies: byKind("Deny"),
    approvals: byKind("RequireApproval"),
    allows: byKind("Allow"),
    basics: rules.some(permits),
  };
}
