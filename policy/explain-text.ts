// An explanation for a terminal.
import { budgetNames } from "./budget/budget.ts";
import type { ApprovalTerms, DetectMask, Limits, MarkSource, Transform } from "./bundle.ts";
import type { Decision } from "./decision.ts";
import type {
  ExplainedAccess,
  Explanation,
  NearMiss,
  Obligations,
  SpokenRule,
} from "./explanation.ts";

/** Several lines, without colours and without a line break at the end. */
export function formatExplanation(explanation: Explanation): string {
  const { decision, subject, chain, connection, operation, policies, accesses, obligations } =
    explanation;
  const { carries } = explanation;
  return [
    `${decision.verdict.toUpperCase()}  ${operation.summary}`,
    `  ${decision.message}`,
    "",
    `subject     ${subject}${chain === undefined ? "" : `, chain ${chain}`}`,
    `connection  ${connection}`,
    ...(carries === undefined ? [] : [`session     carries ${carries.join(", ")}`]),
    `policies    ${policies.length === 0 ? "none selects this subject here" : policies.join(", ")}`,
    `reason      ${decision.reason}${spokenBy(decision)}`,
    ...wouldBe(decision),
    ...(decision.approvals ?? []).map(
      (terms) => `approval    ${approval(terms)}, asked by ${terms.policy} rule ${terms.rule}`,
    ),
    ...accesses.flatMap(accessLines),
    ...(explanation.byName === true ? byName : []),
    ...obligationLines(decision, obligations),
  ].join("\n");
}

const byName = [
  "",
  "note        read by the names in the statement: for a Deny or RequireApproval, the proxy also counts the",
  "            partitions, parents and children of each table, and the tables under each view, that its database has",
];

function spokenBy({ policy, rule, mode }: Decision): string {
  if (policy === "") return "";
  return `, ${policy}${rule === "" ? "" : ` rule ${rule}`}${mode === "Observe" ? " (observed)" : ""}`;
}

function wouldBe(decision: Decision): string[] {
  if (!decision.wouldBe) return [];
  const { verdict, message } = decision.wouldBe;
  return [`would be    ${verdict} if every policy were enforced: ${message}`];
}

function approval({ approvers, count, holdSeconds, validForSeconds }: ApprovalTerms): string {
  const who = approvers.map(({ group, user }) =>
    group === undefined ? `user ${user ?? ""}` : `group ${group}`,
  );
  const whom = who.length === 0 ? "anyone with the verb approve on the policy" : who.join(" or ");
  return `${count} of ${whom}; the call waits ${holdSeconds}s, an approval lasts ${validForSeconds}s`;
}

function accessLines({ access, deniedBy, askedBy, coveredBy, nearly }: ExplainedAccess): string[] {
  return [
    "",
    access,
    ...deniedBy.map((rule) => `  denied by ${name(rule)}`),
    ...askedBy.map((rule) => `  asked about by ${name(rule)}`),
    ...coveredBy.map((rule) => `  covered by ${name(rule)}`),
    ...(coveredBy.length === 0 ? ["  covered by nothing"] : []),
    ...nearly.map((miss) => `  not by ${name(miss)}: ${miss.because}`),
  ];
}

function name({ policy, rule, mode, conditionFailed }: SpokenRule | NearMiss): string {
  const observed = mode === "Observe" ? " (Observe)" : "";
  return `${policy} rule ${rule}${observed}${conditionFailed ? ", whose condition could not be evaluated" : ""}`;
}

/** What passes, or would after approval, is subject to these. */
function obligationLines(decision: Decision, obligations: Obligations): string[] {
  if (decision.verdict === "deny") return [];
  const { columnMasks, detectMasks, limits, recording } = obligations;
  const { maxOutputTokens, readOnly, requestMasks = [], marks = [] } = obligations;
  return [
    "",
    "obligations",
    ...columnMasks.map(
      (mask) =>
        `  mask ${mask.column}: ${transform(mask.transform)}${mask.predicates === "Allow" ? ", predicates allowed" : ""} (${mask.policy})${marksText(mask)}`,
    ),
    ...detectMasks.map(
      (mask) =>
        `  mask detected ${mask.detector}${whenText(mask)}: ${transform(mask.transform)} (${mask.policy})${marksText(mask)}`,
    ),
    ...requestMasks.map(
      (mask) =>
        `  mask detected ${mask.detector} in the request${whenText(mask)}: ${transform(mask.transform)} (${mask.policy})${marksText(mask)}`,
    ),
    ...marks.map((source) => `  mark the session ${source.mark} (${sayer(source)})`),
    ...limitLines(limits, obligations.price),
    ...(readOnly === true
      ? ["  the session is read-only in the database, because no rule allows a write"]
      : []),
    ...(maxOutputTokens === undefined
      ? []
      : [`  sent with at most ${maxOutputTokens} output tokens`]),
    `  record ${recording.detail}${recording.strict ? ", strict" : ""}, kept ${recording.retentionDays} days`,
  ];
}

/** A value that is shown, or found, puts these on the pod's session. */
function marksText({ marks = [] }: Pick<DetectMask, "marks">): string {
  const names = [...new Set(marks.map(({ mark }) => mark))];
  return names.length === 0 ? "" : `, marks the session ${names.join(", ")}`;
}

function whenText({ when }: DetectMask): string {
  return when === undefined ? "" : ` when ${when}`;
}

function sayer({ policy, rule }: MarkSource): string {
  if (policy === undefined) return "the Connection";
  return rule === undefined ? policy : `${policy} rule ${rule}`;
}

function limitLines(limits: Limits, price: Obligations["price"]): string[] {
  return Object.entries(limits).flatMap(([limit, value]) => {
    if (limit === "repeats")
      return (limits.repeats ?? []).map(
        ({ max, withinSeconds }) =>
          `  limit repeats: the same operation at most ${max} times within ${withinSeconds} s`,
      );
    const isBudget = budgetNames.some((name) => name === limit);
    const priced =
      limit === "costPerDay" && price !== undefined
        ? `, at ${price.input} for a million tokens in and ${price.output} out`
        : "";
    return [
      `  limit ${limit}: ${String(value)}${isBudget ? " for all pods of the service account together" : ""}${priced}`,
    ];
  });
}

function transform(given: Transform): string {
  switch (given.kind) {
    case "fixed":
      return `fixed ${JSON.stringify(given.value)}`;
    case "partial":
      return `partial, first ${given.keepFirst} and last ${given.keepLast} stay`;
    case "restore":
      return "a token, turned back in the answer";
    case "truncateDate":
      return `truncateDate to ${given.to}`;
    default:
      return given.kind;
  }
}
