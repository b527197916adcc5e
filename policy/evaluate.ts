// How rules add up for one operation: Deny beats hold beats allow, permissions must cover every access, nothing matched is denied.
import type { Decision } from "./decision.ts";
import { describeAccess, describeAccesses, describeRelative } from "./describe.ts";
import { cover, isBasic, isOpen, openAccesses, startCoverage } from "./match/coverage.ts";
import type { Coverage } from "./match/coverage.ts";
import type { Reading } from "./match/field.ts";
import { condition, speaks, unheard } from "./match/inquiry.ts";
import type { Inquiry } from "./match/inquiry.ts";
import { spokenThrough } from "./match/through.ts";
import { generates } from "./match/llm.ts";
import type { PreparedRule } from "./match/rule.ts";
import type { RuleSet } from "./match/rules.ts";
import type { Access, Relative } from "./operation.ts";

/** The built-in rule, as decisions and `explain` name it. */
export const builtIn = { policy: "chaperone", rule: "session-basics" } as const;

type Rules = readonly PreparedRule[];

/** What a rule speaks about: an access, by its own name or by that of a relative. */
interface Spoken {
  readonly access: Access;
  readonly relative: Relative | undefined;
}

export function evaluate(rules: RuleSet, inquiry: Inquiry): Decision {
  const kind = inquiry.operation.kind;
  const approvals = rules.approvals[kind];
  const denied = firstDeny(rules.denies[kind], rules, inquiry);
  if (denied) return denied;
  const coverage = startCoverage(inquiry.operation.accesses, rules.basics);
  const asking: PreparedRule[] = [];
  const broken = gatherAsking(rules, inquiry, coverage, asking);
  if (broken) return conditionFailed(broken);
  coverByAllow(rules.allows[kind], inquiry, coverage);
  const unsure = coverByApproval(approvals, inquiry, coverage, asking);
  if (unsure) return conditionFailed(unsure);
  if (coverage.open > 0) return noMatchingRule(coverage);
  return asking.length > 0 ? held(asking, inquiry, coverage) : allowed(inquiry, coverage);
}

/** What restrictions alone say; undefined where they say nothing. For bundles whose other rules only observe. */
export function restrict(restrictions: RuleSet, inquiry: Inquiry): Decision | undefined {
  const { kind, accesses } = inquiry.operation;
  const denied = firstDeny(restrictions.denies[kind], restrictions, inquiry);
  if (denied) return denied;
  const coverage = startCoverage(accesses, true);
  const asking: PreparedRule[] = [];
  const broken = gatherAsking(restrictions, inquiry, coverage, asking);
  if (broken) return conditionFailed(broken);
  return asking.length > 0 ? held(asking, inquiry, coverage) : undefined;
}

function firstDeny(denies: Rules, rules: RuleSet, inquiry: Inquiry): Decision | undefined {
  let broken: PreparedRule | undefined;
  for (const rule of denies) {
    const spoken = firstSpoken(rule, rules, inquiry, "denies", undefined);
    if (!spoken) continue;
    const answer = condition(inquiry, rule);
    if (answer === "true") return deniedBy(rule, spoken, inquiry);
    // A Deny whose condition cannot be evaluated denies, but one that surely speaks is the better answer.
    if (answer === "error") broken ??= rule;
  }
  return broken && conditionFailed(broken);
}

/** The first access the rule speaks about; session-basics keeps its accesses out of the question, except from a Deny. */
function firstSpoken(
  rule: PreparedRule,
  rules: RuleSet,
  inquiry: Inquiry,
  reading: Reading,
  coverage: Coverage | undefined,
): Spoken | undefined {
  if (unheard(inquiry, rule, reading)) return undefined;
  const { accesses } = inquiry.operation;
  for (let index = 0; index < accesses.length; index++) {
    const access = accesses[index];
    if (!access || (coverage && isBasic(coverage, index))) continue;
    if (speaks(inquiry, rule, access, reading)) return { access, relative: undefined };
    const relative = spokenThrough(inquiry, rules, rule, access, reading);
    if (relative) return { access, relative };
  }
  return undefined;
}

/** Rules that want a person asked, whatever else covers the operation. Returns one whose condition cannot be evaluated. */
function gatherAsking(
  rules: RuleSet,
  inquiry: Inquiry,
  coverage: Coverage,
  asking: PreparedRule[],
): PreparedRule | undefined {
  for (const rule of rules.approvals[inquiry.operation.kind]) {
    if (!firstSpoken(rule, rules, inquiry, "holds", coverage)) continue;
    const answer = condition(inquiry, rule);
    if (answer === "error") return rule;
    if (answer === "true") asking.push(rule);
  }
  return undefined;
}

function coverByAllow(allows: Rules, inquiry: Inquiry, coverage: Coverage): void {
  // Later rules can add nothing once all is covered, but to a model request they can add a smaller limit.
  const limited = inquiry.operation.kind === "llm";
  for (const rule of allows) {
    if (coverage.open === 0 && !limited) return;
    if (!coversSome(rule, inquiry, coverage, limited)) continue;
    if (condition(inquiry, rule) === "true") coverAll(rule, inquiry, coverage);
  }
}

/** Approval rules permit, too: those that cover what no Allow covers ask their people as well. */
function coverByApproval(
  approvals: Rules,
  inquiry: Inquiry,
  coverage: Coverage,
  asking: PreparedRule[],
): PreparedRule | undefined {
  const needed =
    coverage.open === 0
      ? []
      : approvals.filter((rule) => !rule.restricts && coversSome(rule, inquiry, coverage, false));
  for (const rule of needed) {
    const answer = condition(inquiry, rule);
    if (answer === "error") return rule;
    if (answer === "false") continue;
    coverAll(rule, inquiry, coverage);
    if (!asking.includes(rule)) asking.push(rule);
  }
  for (const rule of asking) if (!rule.restricts) coverAll(rule, inquiry, coverage);
  return undefined;
}

function coversSome(
  rule: PreparedRule,
  inquiry: Inquiry,
  coverage: Coverage,
  again: boolean,
): boolean {
  if (unheard(inquiry, rule, "covers")) return false;
  const { accesses } = inquiry.operation;
  for (let index = 0; index < accesses.length; index++) {
    const access = accesses[index];
    if (!access || !(again || isOpen(coverage, index))) continue;
    if (speaks(inquiry, rule, access, "covers")) return true;
  }
  return false;
}

function coverAll(rule: PreparedRule, inquiry: Inquiry, coverage: Coverage): void {
  if (unheard(inquiry, rule, "covers")) return;
  const { accesses } = inquiry.operation;
  for (let index = 0; index < accesses.length; index++) {
    const access = accesses[index];
    if (!access || isBasic(coverage, index)) continue;
    if (speaks(inquiry, rule, access, "covers")) cover(coverage, index, rule);
  }
}

function deniedBy(rule: PreparedRule, { access, relative }: Spoken, inquiry: Inquiry): Decision {
  const through = relative === undefined ? "" : describeRelative(relative);
  const what = `${describeAccess(access)}${through}${seenBy(rule, inquiry)}`;
  const message = rule.message ?? `denied by ${rule.title}: ${what}`;
  return { ...spokenBy(rule), verdict: "deny", reason: "RuleMatched", message };
}

/** Which detectors spoke, or what they could not look into; never what they found. */
function seenBy({ sql }: PreparedRule, { operation }: Inquiry): string {
  if (operation.kind !== "sql" || sql?.detectors === undefined) return "";
  const { findings } = operation;
  const spoke = sql.detectors.filter((one) => findings?.has(one) === true);
  return spoke.length > 0
    ? ` (found: ${spoke.map(({ name }) => name).join(", ")})`
    : ` (detectors cannot look into ${findings?.unread ?? "it"})`;
}

function conditionFailed(rule: PreparedRule): Decision {
  const message = `denied because the condition of ${rule.title} could not be evaluated for this operation`;
  return { ...spokenBy(rule), verdict: "deny", reason: "ConditionFailed", message };
}

function noMatchingRule(coverage: Coverage): Decision {
  const message = `no rule allows ${describeAccesses(openAccesses(coverage))}`;
  return {
    verdict: "deny",
    policy: "",
    rule: "",
    reason: "NoMatchingRule",
    message,
    mode: "Enforce",
  };
}

function held(asking: PreparedRule[], inquiry: Inquiry, coverage: Coverage): Decision {
  asking.sort((a, b) => a.order - b.order);
  const [first] = asking;
  if (!first) return noMatchingRule(coverage);
  const accesses = describeAccesses(
    coverage.accesses.filter((_, index) => !isBasic(coverage, index)),
  );
  const message =
    first.message ?? `${first.title} asks for approval: ${accesses}${seenBy(first, inquiry)}`;
  const approvals = asking.map((rule) => rule.terms);
  return {
    ...spokenBy(first),
    verdict: "hold",
    reason: "RuleMatched",
    message,
    approvals,
    ...limit(inquiry, coverage),
  };
}

function allowed(inquiry: Inquiry, coverage: Coverage): Decision {
  const { speaker } = coverage;
  if (!speaker) return basicsAllow;
  const decision: Decision = speaker.allowed;
  return coverage.maxOutputTokens === undefined
    ? decision
    : { ...decision, ...limit(inquiry, coverage) };
}

const basicsAllow: Decision = {
  verdict: "allow",
  ...builtIn,
  reason: "SessionBasics",
  message:
    "allowed by the built-in rule session-basics, which lets drivers open and keep a session",
  mode: "Enforce",
};

/** A request that names no limit is sent with the smallest of the rules that cover it. */
function limit(inquiry: Inquiry, coverage: Coverage): { maxOutputTokens?: number } {
  const { operation } = inquiry;
  if (operation.kind !== "llm" || coverage.maxOutputTokens === undefined) return {};
  if (operation.facts.maxOutputTokens !== null || !generates(operation.facts)) return {};
  return { maxOutputTokens: coverage.maxOutputTokens };
}

function spokenBy(rule: PreparedRule): Pick<Decision, "policy" | "rule" | "mode"> {
  return { policy: rule.policy, rule: rule.name, mode: rule.mode };
}
