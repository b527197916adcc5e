// One rule, compiled: which operations it can speak about, and the first field that keeps it from speaking about an access.
import type { BundleRule, PolicyMode, RuleAction } from "../bundle.ts";
import type { Decision, HoldTerms } from "../decision.ts";
import type { Access, Operation } from "../operation.ts";
import { readsMarks } from "../marks.ts";
import { compileList, matchesAny } from "../pattern.ts";
import type { PatternList } from "../pattern.ts";
import { compileWhen, ruleBlocks } from "../when.ts";

import type { MatchField, Reading } from "./field.ts";
import { compileHttp, httpMismatch } from "./http.ts";
import type { HttpMatcher } from "./http.ts";
import { compileLlm, llmAccessMismatch, llmRequestMismatch } from "./llm.ts";
import type { LlmMatcher } from "./llm.ts";
import { compileMcp, mcpMismatch } from "./mcp.ts";
import type { McpMatcher } from "./mcp.ts";
import { compilePassthrough, passthroughMismatch } from "./passthrough.ts";
import type { PassthroughMatcher } from "./passthrough.ts";
import { compileSql, everySql, sqlMismatch, sqlRequestMismatch } from "./sql.ts";
import type { SqlMatcher } from "./sql.ts";

/** Terms of a RequireApproval rule that states none: any one person who holds the verb `approve` on the policy. */
export const defaultTerms = {
  approvers: [],
  count: 1,
  holdSeconds: 50,
  validForSeconds: 600,
} as const;

export interface PreparedRule {
  readonly policy: string;
  readonly name: string;
  readonly action: RuleAction;
  readonly mode: PolicyMode;
  /** It permits nothing (BundleRule). */
  readonly restricts: boolean;
  /** `namespace/policy rule name`, as every message says it. */
  readonly title: string;
  /** Place in the fixed order of the rules of a bundle. */
  readonly order: number;
  /** The answer when this rule allows, made once because it is given for nearly every operation. */
  readonly allowed: Decision;
  readonly message: string | undefined;
  readonly chains: PatternList | undefined;
  /** Absent means that kind of operation is none of this rule's. */
  readonly sql: SqlMatcher | undefined;
  readonly http: HttpMatcher | undefined;
  readonly llm: LlmMatcher | undefined;
  readonly mcp: McpMatcher | undefined;
  readonly passthrough: PassthroughMatcher | undefined;
  readonly when: ReturnType<typeof compileWhen> | undefined;
  /** The condition as written, for `explain`. */
  readonly whenSource: string | undefined;
  readonly terms: HoldTerms;
  /** Put on the pod's session by what it lets pass. */
  readonly marks: readonly string[];
  /** Its condition looks at the marks of the session. */
  readonly readsMarks: boolean;
}

export class RuleUnusable extends Error {
  constructor(rule: BundleRule, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(`${rule.policy} rule ${rule.name} cannot be used: ${reason}`, { cause });
    this.name = "RuleUnusable";
  }
}

/** Throws RuleUnusable when an expression or pattern does not compile, which admission refuses beforehand. */
export function compileRule(rule: BundleRule, order: number): PreparedRule {
  try {
    const anything = ruleBlocks.every((block) => rule[block] === undefined);
    const title = `${rule.policy} rule ${rule.name}`;
    return {
      policy: rule.policy,
      name: rule.name,
      action: rule.action,
      mode: rule.mode,
      restricts: rule.restricts === true,
      title,
      order,
      allowed: allowedBy(rule, title),
      message: rule.message,
      // A chain is self-claimed, so it never narrows a Deny.
      chains: rule.chains && rule.action !== "Deny" ? compileList(rule.chains) : undefined,
      sql: compileSqlOf(rule, anything),
      http: rule.http || anything ? compileHttp(rule.http ?? {}, anything) : undefined,
      llm: rule.llm || anything ? compileLlm(rule.llm ?? {}) : undefined,
      mcp: rule.mcp || anything ? compileMcp(rule.mcp ?? {}) : undefined,
      passthrough:
        rule.passthrough || anything ? compilePassthrough(rule.passthrough ?? {}) : undefined,
      when: rule.when === undefined ? undefined : compileWhen(rule.when),
      whenSource: rule.when,
      terms: { ...(rule.approval ?? defaultTerms), policy: rule.policy, rule: rule.name },
      marks: rule.action === "Deny" ? [] : (rule.marks ?? []),
      readsMarks: readsMarks(rule.when),
    };
  } catch (cause) {
    throw new RuleUnusable(rule, cause);
  }
}

function allowedBy(rule: BundleRule, title: string): Decision {
  const message = rule.message ?? `allowed by ${title}`;
  return Object.freeze({
    verdict: "allow",
    policy: rule.policy,
    rule: rule.name,
    reason: "RuleMatched",
    message,
    mode: rule.mode,
  });
}

function compileSqlOf(rule: BundleRule, anything: boolean): SqlMatcher | undefined {
  if (rule.sql) return compileSql(rule.sql);
  return anything ? everySql : undefined;
}

/** What keeps the rule from speaking about the operation as a whole, whichever access is looked at. */
export function requestMismatch(
  rule: PreparedRule,
  operation: Operation,
  chain: string | undefined,
  reading: Reading,
): MatchField | undefined {
  if (rule[operation.kind] === undefined) return "block";
  if (rule.chains && !(chain !== undefined && matchesAny(rule.chains, chain))) return "chains";
  if (operation.kind === "sql" && rule.sql) return sqlRequestMismatch(rule.sql, operation, reading);
  if (operation.kind === "http" && rule.http)
    return httpMismatch(rule.http, operation.facts, reading);
  if (operation.kind === "llm" && rule.llm)
    return llmRequestMismatch(rule.llm, operation.facts, reading);
  if (operation.kind === "passthrough" && rule.passthrough)
    return passthroughMismatch(rule.passthrough, operation.facts);
  return undefined;
}

/** What keeps the rule from speaking about this access, once `requestMismatch` found nothing. */
export function accessMismatch(
  rule: PreparedRule,
  operation: Operation,
  access: Access,
  reading: Reading,
): MatchField | undefined {
  switch (operation.kind) {
    case "sql":
      return rule.sql ? sqlMismatch(rule.sql, access, operation.facts, reading) : "block";
    case "http":
      return rule.http && access.kind === "http" ? undefined : "block";
    case "llm":
      return rule.llm ? llmAccessMismatch(rule.llm, access, operation.facts, reading) : "block";
    case "mcp":
      return rule.mcp ? mcpMismatch(rule.mcp, access, reading) : "block";
    case "passthrough":
      return rule.passthrough && access.kind === "passthrough" ? undefined : "block";
  }
}
