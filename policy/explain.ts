// The decision again, with its reasons: for each access the rules that covered, asked about or denied it, and those that nearly did.
import { priceOf } from "./budget/price.ts";
import type { Bundle } from "./bundle.ts";
import { decide } from "./decide.ts";
import type { PreparedBundle } from "./decide.ts";
import type { Decision } from "./decision.ts";
import { connectionName, describeAccess } from "./describe.ts";
import { builtIn } from "./evaluate.ts";
import type {
  ExplainedAccess,
  Explanation,
  NearMiss,
  Obligations,
  SpokenRule,
} from "./explanation.ts";
import { isBasic, startCoverage } from "./match/coverage.ts";
import type { Reading } from "./match/field.ts";
import { condition, unheard } from "./match/inquiry.ts";
import type { Condition, Inquiry } from "./match/inquiry.ts";
import { accessMismatch } from "./match/rule.ts";
import type { PreparedRule } from "./match/rule.ts";
import type { RuleSet } from "./match/rules.ts";
import type { DecideContext } from "./match/scope.ts";
import { nearness, whyNot } from "./near-miss.ts";
import type { Access, Operation, Subject } from "./operation.ts";
import { compilePattern, matches, mayMatchBelow } from "./pattern.ts";

export { formatExplanation } from "./explain-text.ts";
export type { Explanation } from "./explanation.ts";

/** Near misses shown of one access. */
const maxNearMisses = 5;

export function explain(
  prepared: PreparedBundle,
  subject: Subject,
  operation: Operation,
  context: DecideContext,
): Explanation {
  const { bundle } = prepared;
  const decision = decide(prepared, subject, operation, context);
  const { marks = [] } = context.session;
  const inquiry: Inquiry = { bundle, subject, operation, context, scope: undefined };
  const rules = prepared.observed ?? prepared.enforced;
  const enforcedBasics = bundle.observeOnly ? rules.basics : prepared.enforced.basics;
  const basics = startCoverage(operation.accesses, enforcedBasics);
  return {
    subject: `${subject.namespace}/${subject.serviceAccount}`,
    ...(subject.chain !== undefined && { chain: subject.chain }),
    connection: connectionName(bundle),
    ...(marks.length > 0 && { carries: marks }),
    policies: [...bundle.policies, ...(bundle.clusterPolicies ?? [])],
    operation: { kind: operation.kind, summary: operation.summary },
    decision,
    accesses: operation.accesses.map((access, index) =>
      explainAccess(rules, inquiry, access, isBasic(basics, index)),
    ),
    ...(isByName(prepared, operation) && { byName: true as const }),
    obligations: obligationsOf(prepared, operation, decision),
  };
}

function isByName({ followed }: PreparedBundle, { accesses }: Operation): boolean {
  return (
    followed !== undefined &&
    accesses.some((access) => access.kind === "relation" && access.basic !== true)
  );
}

type Answer = { readonly speaks: SpokenRule } | { readonly misses: NearMiss };

function explainAccess(
  rules: RuleSet,
  inquiry: Inquiry,
  access: Access,
  basic: boolean,
): ExplainedAccess {
  const kind = inquiry.operation.kind;
  const permissions = [...rules.approvals[kind], ...rules.allows[kind]].filter(
    (rule) => !rule.restricts,
  );
  const covers = permissions.map((rule) => hold(rule, inquiry, access, "covers"));
  const coveredBy = [...(basic ? [basicsRule] : []), ...spoken(covers)];
  const asks = basic
    ? []
    : rules.approvals[kind].map((rule) => hold(rule, inquiry, access, "holds"));
  const denies = rules.denies[kind].map((rule) => hold(rule, inquiry, access, "denies"));
  const misses =
    coveredBy.length > 0
      ? []
      : covers.flatMap((answer) => ("misses" in answer ? [answer.misses] : []));
  return {
    access: describeAccess(access),
    deniedBy: spoken(denies),
    askedBy: spoken(asks),
    coveredBy,
    nearly: misses.sort((a, b) => nearness(b.field) - nearness(a.field)).slice(0, maxNearMisses),
  };
}

const basicsRule: SpokenRule = { ...builtIn, action: "Allow", mode: "Enforce" };

function spoken(answers: readonly Answer[]): SpokenRule[] {
  return answers.flatMap((answer) => ("speaks" in answer ? [answer.speaks] : []));
}

/** Holds one rule against one access, as the decision did, and keeps the first field that did not match. */
function hold(rule: PreparedRule, inquiry: Inquiry, access: Access, reading: Reading): Answer {
  const { operation, subject } = inquiry;
  const reference = { policy: rule.policy, rule: rule.name, action: rule.action, mode: rule.mode };
  const unmatched =
    unheard(inquiry, rule, reading) ?? accessMismatch(rule, operation, access, reading);
  const answer: Condition = unmatched === undefined ? condition(inquiry, rule) : "false";
  if (answer === "true") return { speaks: reference };
  if (answer === "error" && rule.action !== "Allow")
    return { speaks: { ...reference, conditionFailed: true } };
  const field = unmatched ?? "when";
  const because =
    answer === "error"
      ? "its condition could not be evaluated for this operation"
      : whyNot(
          field,
          { ...(rule.whenSource !== undefined && { when: rule.whenSource }) },
          access,
          operation,
          subject,
        );
  return { misses: { ...reference, field, because } };
}

/** What comes with the operation if it passes: masks that can touch it, limits, recording. */
function obligationsOf(
  prepared: PreparedBundle,
  operation: Operation,
  decision: Decision,
): Obligations {
  const { columnMasks, detectMasks, requestMasks, limits, recording } = prepared.bundle;
  const sql = operation.kind === "sql";
  return {
    columnMasks: columnMasks.filter(({ column }) =>
      operation.accesses.some((access) => touches(column, access)),
    ),
    detectMasks: operation.kind === "passthrough" ? [] : detectMasks,
    ...(operation.kind !== "sql" &&
      operation.kind !== "passthrough" &&
      requestMasks !== undefined && { requestMasks }),
    // In the currency, as it was written.
    limits:
      limits.costPerDay === undefined ? limits : { ...limits, costPerDay: limits.costPerDay / 1e6 },
    ...priced(prepared.bundle, operation),
    recording,
    ...(sql && prepared.readOnly && { readOnly: true as const }),
    ...(decision.marks !== undefined && { marks: decision.marks }),
    ...(decision.maxOutputTokens !== undefined && { maxOutputTokens: decision.maxOutputTokens }),
  };
}

function priced({ prices }: Bundle, operation: Operation): Pick<Obligations, "price"> {
  const price =
    prices === undefined || operation.kind !== "llm"
      ? undefined
      : priceOf(prices, operation.facts.model);
  return price === undefined ? {} : { price };
}

function touches(column: string, access: Access): boolean {
  if (access.kind !== "relation") return false;
  const pattern = compilePattern(column);
  if (access.allColumns) return mayMatchBelow(pattern, `${access.relation}.`);
  return access.columns.some((name) => matches(pattern, name));
}
