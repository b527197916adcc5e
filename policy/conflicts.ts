// Rules that cannot do anything: one that no operation can match, and one that another rule always overrules.
// Errs on the side of silence: a rule is reported only when it is certain.
import type {
  HttpMatch,
  LlmMatch,
  McpMatch,
  PassthroughMatch,
  RuleAction,
  SqlMatch,
} from "./bundle.ts";
import { coversRule } from "./conflict-covers.ts";
import { deadHttp, deadLlm, deadSql } from "./conflict-dead.ts";
import { deadMcp } from "./conflict-mcp.ts";
import type { DeadField } from "./conflict-dead.ts";
import { ruleBlocks } from "./when.ts";

/** The part of a policy's rule that says when it speaks. */
export interface RuleShape {
  readonly name: string;
  readonly action: RuleAction;
  readonly sql?: SqlMatch;
  readonly http?: HttpMatch;
  readonly llm?: LlmMatch;
  readonly mcp?: McpMatch;
  readonly passthrough?: PassthroughMatch;
  readonly when?: string;
}

/** Why no operation can ever match the rule: each field with a sentence. */
export function neverMatches(rule: RuleShape): readonly DeadField[] {
  return [
    ...(rule.sql === undefined ? [] : deadSql(rule.sql)),
    ...(rule.http === undefined ? [] : deadHttp(rule.http)),
    ...(rule.llm === undefined ? [] : deadLlm(rule.llm, rule.action)),
    ...(rule.mcp === undefined ? [] : deadMcp(rule.mcp, rule.action)),
    ...(rule.when !== undefined && /^\s*\(*\s*false\s*\)*\s*$/.test(rule.when)
      ? [{ path: ["when"], message: "is always false" }]
      : []),
  ];
}

export interface Overruled {
  readonly index: number;
  readonly by: string;
  readonly message: string;
}

/** Rules that another rule of the same list always overrules: Deny beats RequireApproval beats Allow. */
export function unreachableRules(rules: readonly RuleShape[]): readonly Overruled[] {
  return overruled(rules, rules, (by) => `rule ${by}`);
}

/** The same over two policies that select the same subjects on the same connections. */
export function shadowedRules(
  rules: readonly RuleShape[],
  otherPolicy: string,
  others: readonly RuleShape[],
): readonly Overruled[] {
  return overruled(rules, others, (by) => `rule ${by} of policy ${otherPolicy}`);
}

function overruled(
  rules: readonly RuleShape[],
  others: readonly RuleShape[],
  name: (by: string) => string,
): readonly Overruled[] {
  return rules.flatMap((rule, index) => {
    const by = others.find((other) => overrules(other, rule));
    if (by === undefined) return [];
    const effect = by.action === "Deny" ? "denies" : "asks for approval of";
    return [
      {
        index,
        by: by.name,
        message: `can never take effect: ${name(by.name)} ${effect} everything it matches`,
      },
    ];
  });
}

const rank: Readonly<Record<RuleAction, number>> = { Allow: 0, RequireApproval: 1, Deny: 2 };

function overrules(stronger: RuleShape, weaker: RuleShape): boolean {
  if (stronger.action === "Deny" && isOnlyUnparsed(weaker) && mayBeAboutSql(stronger)) return true;
  if (stronger.when !== undefined || rank[stronger.action] <= rank[weaker.action]) return false;
  return coversRule(stronger, weaker);
}

/** Every Deny may be about what such a rule lets through, whatever it says of it. */
function isOnlyUnparsed({ action, sql }: RuleShape): boolean {
  const { statements = [] } = sql ?? {};
  return (
    action !== "Deny" &&
    statements.length > 0 &&
    statements.every((kind) => kind === "unrecognised")
  );
}

function mayBeAboutSql(rule: RuleShape): boolean {
  return rule.sql !== undefined || ruleBlocks.every((block) => rule[block] === undefined);
}
