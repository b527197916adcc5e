// What `explain` answers, as plain data.
import type { Price } from "./budget/price.ts";
import type {
  ColumnMask,
  DetectMask,
  Limits,
  MarkSource,
  PolicyMode,
  Recording,
  RuleAction,
} from "./bundle.ts";
import type { Decision } from "./decision.ts";
import type { MatchField } from "./match/field.ts";
import type { Operation } from "./operation.ts";

export interface SpokenRule {
  readonly policy: string;
  readonly rule: string;
  readonly action: RuleAction;
  readonly mode: PolicyMode;
  /** Its condition could not be evaluated, which denies. */
  readonly conditionFailed?: true;
}

export interface NearMiss extends SpokenRule {
  /** The first field that did not match. */
  readonly field: MatchField;
  readonly because: string;
}

export interface ExplainedAccess {
  readonly access: string;
  readonly deniedBy: readonly SpokenRule[];
  /** RequireApproval rules that speak about any part of it. */
  readonly askedBy: readonly SpokenRule[];
  /** Permissions that account for all of it. */
  readonly coveredBy: readonly SpokenRule[];
  /** Permissions that came nearest, when nothing covers it. */
  readonly nearly: readonly NearMiss[];
}

export interface Obligations {
  readonly columnMasks: readonly ColumnMask[];
  readonly detectMasks: readonly DetectMask[];
  /** Of what is sent. */
  readonly requestMasks?: readonly DetectMask[];
  /** `costPerDay` in the currency of the price table. */
  readonly limits: Limits;
  /** Of the model, where costs are limited. */
  readonly price?: Price;
  readonly recording: Recording;
  readonly maxOutputTokens?: number;
  /** What the pod's session carries once it has passed, by rules and Connection; masks say theirs themselves. */
  readonly marks?: readonly MarkSource[];
  /** No rule allows a write: the database session is read-only. */
  readonly readOnly?: true;
}

export interface Explanation {
  readonly subject: string;
  readonly chain?: string;
  readonly connection: string;
  /** What the pod's session was taken to carry. */
  readonly carries?: readonly string[];
  readonly policies: readonly string[];
  readonly operation: { readonly kind: Operation["kind"]; readonly summary: string };
  readonly decision: Decision;
  readonly accesses: readonly ExplainedAccess[];
  /** Denies and approvals of relations were read by name alone: what partitions, children and views there are, only the proxy knows. */
  readonly byName?: true;
  readonly obligations: Obligations;
}
