// The decision: compiled rules and the facts of one operation in, a verdict with the rule that said so out. Pure; order never matters.
import { uncountable } from "./budget/uncountable.ts";
import { permits, type Bundle, type BundleRule } from "./bundle.ts";
import type { Decision, DecisionReason } from "./decision.ts";
import { connectionName, subjectName, unrecognisedMessage } from "./describe.ts";
import { evaluate, restrict } from "./evaluate.ts";
import { followedBy, type Followed } from "./followed.ts";
import { marksOf, marksOfAnswers } from "./marking.ts";
import { answersMark, readsItsMarks } from "./marks.ts";
import type { SqlDetector } from "./mask/detect.ts";
import type { PreparedRule } from "./match/rule.ts";
import type { Inquiry } from "./match/inquiry.ts";
import { compileRules, indexRules } from "./match/rules.ts";
import type { RuleSet } from "./match/rules.ts";
import type { DecideContext } from "./match/scope.ts";
import type { Operation, Subject } from "./operation.ts";
import { allowsOnlyReads } from "./read-only.ts";
import { sessionRefusal } from "./session-limits.ts";
import { unmaskable } from "./unmaskable.ts";

export type { DecideContext } from "./match/scope.ts";

/** A bundle made runnable. Immutable: prepare it once and share it between sessions. */
export interface PreparedBundle {
  readonly bundle: Bundle;
  readonly enforced: RuleSet;
  /** What would be enforced if every Observe policy were; absent when there is none. */
  readonly observed: RuleSet | undefined;
  /** Rules that hold also where the others only observe; absent when there are none. */
  readonly restrictions: RuleSet | undefined;
  /** Which parts of a request some rule reads: there it may have one reading only. */
  readonly reads: { readonly path: boolean; readonly query: boolean };
  /** No rule can cover a write: sessions are read-only in the database as well. */
  readonly readOnly: boolean;
  /** Some rule has a condition that looks at more than subject, connection and the facts of an operation. */
  readonly isOfTheMoment: boolean;
  /** What rules of SQL look for, each once; without any, nothing that a statement says is looked at. */
  readonly sqlDetectors: readonly SqlDetector[];
  /** What has to be known of a database before a Deny or RequireApproval can be read; undefined for nothing. */
  readonly followed: Followed | undefined;
  /** Enforced rules that put marks on the pod's session. */
  readonly marking: readonly PreparedRule[];
  /** Some rule permits, by name, what this grammar cannot parse. */
  readonly letsUnparsedPass: boolean;
  /** Rules that look at the marks of the session: with any, what was allowed has to be asked again when a mark comes. */
  readonly markReaders: readonly PreparedRule[];
  /** Answers here put marks, and what may be sent or is shown here hangs on marks: a statement behind another is decided when that is answered. */
  readonly followsAnswers: boolean;
}

/** Throws RuleUnusable when a condition or a pattern of the bundle does not compile; then nothing may pass. */
export function prepare(bundle: Bundle): PreparedBundle {
  const rules = compileRules(bundle.rules);
  const enforced = rules.filter((rule) => rule.mode === "Enforce");
  const restrictions = rules.filter(({ restricts }) => restricts);
  const sqlDetectors = distinctDetectors(rules);
  const observes = bundle.observeOnly || enforced.length < rules.length;
  return {
    bundle,
    enforced: indexRules(enforced),
    observed: observes ? indexRules(rules) : undefined,
    restrictions: restrictions.length === 0 ? undefined : indexRules(restrictions),
    reads: readsOf(bundle),
    readOnly: allowsOnlyReads(bundle),
    letsUnparsedPass: !bundle.observeOnly && bundle.rules.some(permitsUnparsed),
    // Bind parameters are of one execution; texts that share their facts differ in what detectors find.
    isOfTheMoment:
      sqlDetectors.length > 0 || rules.some(({ when }) => when?.isOfTheMoment === true),
    sqlDetectors,
    followed: followedBy(bundle),
    marking: enforced.filter((rule) => rule.marks.length > 0),
    markReaders: rules.filter((rule) => rule.readsMarks),
    followsAnswers: answersMark(bundle) && readsItsMarks(bundle),
  };
}

function permitsUnparsed(rule: BundleRule): boolean {
  const names = rule.sql?.statements?.includes("unrecognised") === true;
  return names && rule.mode === "Enforce" && permits(rule);
}

function distinctDetectors(rules: readonly PreparedRule[]): readonly SqlDetector[] {
  const all = rules.flatMap(({ sql }) => sql?.detectors ?? []);
  return [...new Map(all.map((detector) => [detector.key, detector])).values()];
}

/** A condition may read anything. Rules that only observe count too: what they would say has to be true. */
function readsOf({ rules }: Bundle): PreparedBundle["reads"] {
  return {
    path: rules.some(({ http, when }) => http?.paths !== undefined || when !== undefined),
    query: rules.some(({ http, when }) => http?.query !== undefined || when !== undefined),
  };
}

/**
 * Decides one operation.
 *
 * | asked first                                         | verdict | reason                       |
 * | no policy selects the subject                       | deny    | NoPolicy                     |
 * | not fully understood, or touches nothing            | deny    | Unrecognised                 |
 * | its answer cannot be masked as policies ask         | deny    | MaskNotProvable              |
 * | its tokens or costs are limited and not countable   | deny    | LimitExceeded                |
 * | it undoes what the session is held to               | deny    | NoMatchingRule, LimitExceeded |
 * | a Deny speaks about any access                      | deny    | RuleMatched, ConditionFailed |
 * | some access is covered by nothing                   | deny    | NoMatchingRule               |
 * | a RequireApproval speaks about any access           | hold    | RuleMatched                  |
 * | every access is covered                             | allow   | RuleMatched, SessionBasics   |
 */
export function decide(
  prepared: PreparedBundle,
  subject: Subject,
  operation: Operation,
  context: DecideContext,
): Decision {
  const { bundle, enforced, observed, restrictions } = prepared;
  if (bundle.policies.length === 0) return refuse("NoPolicy", noPolicyMessage(bundle));
  const unread = unreadPart(prepared, operation);
  if (unread !== undefined) return refuse("Unrecognised", unrecognisedMessage(unread));
  const inquiry = { bundle, subject, operation, context, scope: undefined };
  const unmasked = unmaskable(bundle, operation);
  if (unmasked !== undefined) return refuse("MaskNotProvable", unmasked);
  const uncounted = uncountable(bundle, operation);
  if (uncounted !== undefined) return refuse("LimitExceeded", uncounted);
  const undoing = sessionRefusal(bundle, prepared.readOnly, operation);
  if (undoing !== undefined) return refuse(undoing.reason, undoing.message);
  if (bundle.observeOnly) {
    const restricted = restrictions && restrict(restrictions, inquiry);
    const seen = restricted ?? observe(bundle, evaluate(observed ?? enforced, inquiry));
    return withMarks(prepared, inquiry, seen);
  }
  const decision = withMarks(prepared, inquiry, evaluate(enforced, inquiry));
  const inText = refusedByOwnMarks(prepared, inquiry, decision);
  if (inText !== undefined) return inText;
  if (!observed) return decision;
  const would = evaluate(observed, inquiry);
  return would.verdict === decision.verdict ? decision : { ...decision, wouldBe: brief(would) };
}

/** A text of several statements is sent at once: what an earlier one would put counts for the later, so the text is asked about as if it were there. */
function refusedByOwnMarks(
  { bundle, enforced, markReaders }: PreparedBundle,
  inquiry: Inquiry,
  decision: Decision,
): Decision | undefined {
  const { operation, context } = inquiry;
  if (markReaders.length === 0 || operation.kind !== "sql" || operation.facts.count < 2)
    return undefined;
  const carried = context.session.marks ?? [];
  const put = [...(decision.marks ?? []), ...marksOfAnswers(bundle, operation)].flatMap(
    ({ mark }) => (carried.includes(mark) ? [] : [mark]),
  );
  if (put.length === 0 || decision.verdict === "deny") return undefined;
  const session = { ...context.session, marks: [...carried, ...put] };
  const then = evaluate(enforced, {
    ...inquiry,
    context: { ...context, session },
    scope: undefined,
  });
  if (then.verdict === "allow" || then.verdict === decision.verdict) return undefined;
  return {
    ...then,
    verdict: "deny",
    message: `a part of this text may put the mark ${put.join(", ")} on the session, and then: ${then.message}; send its statements one by one`,
  };
}

/** What it puts on the session, and, where it does not simply pass, what the session carried. */
function withMarks(prepared: PreparedBundle, inquiry: Inquiry, decision: Decision): Decision {
  const { marking, bundle } = prepared;
  const carried = inquiry.context.session.marks ?? [];
  const asks = carried.length > 0 && hangsOnMarks(prepared, decision);
  const puts = marking.length > 0 || bundle.marks !== undefined;
  if (!asks && !puts) return decision;
  const marks = puts ? marksOf(marking, inquiry, decision) : [];
  return {
    ...decision,
    ...(marks.length > 0 && { marks }),
    ...(asks && { carried, message: `${decision.message} (${carriedText(carried)})` }),
  };
}

/** Whether a rule that looks at marks said no or asked for a person, or one that nearly allowed it may have kept still for them. */
function hangsOnMarks({ markReaders }: PreparedBundle, decision: Decision): boolean {
  if (markReaders.length === 0 || decision.verdict === "allow") return false;
  if (decision.reason === "NoMatchingRule") return true;
  const spoke = [decision, ...(decision.approvals ?? [])];
  return markReaders.some(({ policy, name }) =>
    spoke.some((one) => one.policy === policy && one.rule === name),
  );
}

function carriedText(carried: readonly string[]): string {
  return `this pod's session carries the mark${carried.length === 1 ? "" : "s"} ${carried.join(", ")}`;
}

function unreadPart(prepared: PreparedBundle, operation: Operation): string | undefined {
  if (operation.unrecognised !== undefined) return unreadText(prepared, operation);
  if (operation.accesses.length === 0) return "it touches nothing that a rule could speak about";
  if (operation.kind !== "http" || operation.ambiguous === undefined) return undefined;
  const { reads } = prepared;
  const { path, query } = operation.ambiguous;
  return (reads.path ? path : undefined) ?? (reads.query ? query : undefined);
}

/** What the grammar cannot parse passes where a rule permits it by name; whatever else is not understood never does. */
function unreadText(
  { letsUnparsedPass }: PreparedBundle,
  operation: Operation,
): string | undefined {
  const { unrecognised } = operation;
  const unparsed = operation.kind === "sql" ? operation.unparsed : undefined;
  if (!letsUnparsedPass || unparsed === undefined) return unrecognised;
  return unparsed === "" ? undefined : `${unrecognised}; no rule lets it pass, because ${unparsed}`;
}

function noPolicyMessage(bundle: Bundle): string {
  return `no policy selects ${subjectName(bundle)} on connection ${connectionName(bundle)}; an AccessPolicy has to name both`;
}

function refuse(reason: DecisionReason, message: string): Decision {
  return { verdict: "deny", policy: "", rule: "", reason, message, mode: "Enforce" };
}

function observe(bundle: Bundle, would: Decision): Decision {
  return {
    verdict: "allow",
    policy: would.policy || (bundle.policies[0] ?? ""),
    rule: would.rule,
    reason: "ObserveOnly",
    message: "passed because the policies that select this subject only observe",
    mode: "Observe",
    wouldBe: brief(would),
  };
}

function brief({ verdict, policy, rule, message }: Decision): NonNullable<Decision["wouldBe"]> {
  return { verdict, policy, rule, message };
}
