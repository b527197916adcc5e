// The answer of the policy core: a verdict, the rule that said so, and one sentence a person (and a language model) can act on.
import type { ApprovalTerms, MarkSource, PolicyMode } from "./bundle.ts";

export type Verdict = "allow" | "deny" | "hold";

/** Stable codes; they stand in events, metrics, errors and docs. Never reuse one. */
export type DecisionReason =
  | "RuleMatched"
  | "SessionBasics"
  | "ObserveOnly"
  | "NoPolicy"
  | "NoMatchingRule"
  | "Unrecognised"
  | "ConditionFailed"
  | "MaskNotProvable"
  | "LimitExceeded";

export interface Decision {
  readonly verdict: Verdict;
  /** `namespace/name` of the policy that spoke; `chaperone` for the built-in rule; empty when none matched. */
  readonly policy: string;
  readonly rule: string;
  readonly reason: DecisionReason;
  readonly message: string;
  readonly mode: PolicyMode;
  /** What an Observe policy would have said, where that differs. */
  readonly wouldBe?: {
    readonly verdict: Verdict;
    readonly policy: string;
    readonly rule: string;
    readonly message: string;
  };
  /** On a refusal by a limit: which one, as the policy calls it. */
  readonly limit?: string;
  /** On `hold`: who may approve and for how long; several rules' terms add up. */
  readonly approvals?: readonly HoldTerms[];
  /** On `allow` of an LLM request that names no limit: send it with this one. */
  readonly maxOutputTokens?: number;
  /** On `allow` and `hold`: what the pod's session carries once this has passed. */
  readonly marks?: readonly MarkSource[];
  /** On `deny` and `hold`, where some rule looks at them: what the pod's session carried when this was decided. */
  readonly carried?: readonly string[];
}

export interface HoldTerms extends ApprovalTerms {
  readonly policy: string;
  readonly rule: string;
}
