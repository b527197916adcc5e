// The compiled rules for one subject on one connection: plain JSON that travels with a grant. `prepare` (decide.ts) makes it runnable.
import type { PriceTable } from "./budget/price.ts";
import type { TierDemand } from "./tier.ts";
import type { Protocol } from "./operation.ts";

export const bundleVersion = 1;

export type RuleAction = "Allow" | "RequireApproval" | "Deny";
export type PolicyMode = "Enforce" | "Observe";

export interface SqlMatch {
  readonly statements?: readonly string[];
  /** `schema.name` patterns, `*` wildcards. */
  readonly relations?: readonly string[];
  readonly columns?: readonly string[];
  readonly functions?: readonly string[];
  readonly hasWhere?: boolean;
  /** Names of detectors: the rule speaks about statements in whose text or parameters one of them finds something. */
  readonly detect?: readonly string[];
  /** RE2 by name, of those that the policy brings itself. */
  readonly patterns?: Readonly<Record<string, string>>;
}

export interface HttpMatch {
  readonly methods?: readonly string[];
  readonly hosts?: readonly string[];
  readonly paths?: readonly string[];
  readonly query?: Readonly<Record<string, string>>;
  readonly contentTypes?: readonly string[];
  readonly upgrades?: readonly string[];
}

export interface PassthroughMatch {
  readonly hosts?: readonly string[];
}

export interface LlmMatch {
  readonly operations?: readonly string[];
  readonly models?: readonly string[];
  readonly tools?: readonly string[];
  readonly maxOutputTokens?: number;
  readonly promptMatches?: string;
  /** Names of detectors: the rule speaks about requests in whose text one of them finds something. */
  readonly detect?: readonly string[];
  /** RE2 by name, of those that the policy brings itself. */
  readonly patterns?: Readonly<Record<string, string>>;
}

export interface McpMatch {
  readonly methods?: readonly string[];
  readonly tools?: readonly string[];
  /** Path of an argument (`a.b`) to an RE2 pattern that its value matches whole. */
  readonly arguments?: Readonly<Record<string, string>>;
  readonly resources?: readonly string[];
  readonly prompts?: readonly string[];
}

export interface Approver {
  readonly group?: string;
  readonly user?: string;
}

export interface ApprovalTerms {
  readonly approvers: readonly Approver[];
  readonly count: number;
  readonly holdSeconds: number;
  readonly validForSeconds: number;
}

export interface BundleRule {
  /** `namespace/name` of the policy. */
  readonly policy: string;
  readonly name: string;
  readonly action: RuleAction;
  readonly mode: PolicyMode;
  /** Patterns; the rule speaks only for these chains. Never present on a Deny. */
  readonly chains?: readonly string[];
  readonly sql?: SqlMatch;
  readonly http?: HttpMatch;
  readonly llm?: LlmMatch;
  readonly mcp?: McpMatch;
  readonly passthrough?: PassthroughMatch;
  /** CEL source, already checked at admission. */
  readonly when?: string;
  readonly approval?: ApprovalTerms;
  readonly message?: string;
  /** What an operation that it lets pass puts on the pod's session. Never present on a Deny. */
  readonly marks?: readonly string[];
  /** Of a ClusterAccessPolicy: it denies or asks a person, and permits nothing. */
  readonly restricts?: true;
}

/** Whether the rule can let anything through. */
export function permits(rule: {
  readonly action: RuleAction;
  readonly restricts?: boolean;
}): boolean {
  const { action, restricts } = rule;
  return action !== "Deny" && restricts !== true;
}

/** A class of data, and who says that something belongs to it. */
export interface MarkSource {
  readonly mark: string;
  /** `namespace/name`; absent where the Connection itself says so. */
  readonly policy?: string;
  /** Of a rule's marks; absent for those of a masking entry. */
  readonly rule?: string;
}

export type Transform =
  | { readonly kind: "redact" }
  | { readonly kind: "nullify" }
  | { readonly kind: "fixed"; readonly value: string }
  | { readonly kind: "hash" }
  | { readonly kind: "tokenize" }
  /** Of requests: a token that is turned back in the answer for this agent. */
  | { readonly kind: "restore"; readonly detector: string }
  | { readonly kind: "partial"; readonly keepFirst: number; readonly keepLast: number }
  | { readonly kind: "truncateDate"; readonly to: "year" | "month" | "day" };

/** Two masks on one column are already merged: the stricter stays. */
export interface ColumnMask {
  /** `schema.table.column`, each part may be `*`. */
  readonly column: string;
  readonly transform: Transform;
  /** Its values may choose rows, their order, number or grouping; absent means they may not. */
  readonly predicates?: "Allow";
  /** `namespace/name` of the policy whose transform stayed. */
  readonly policy: string;
  /** What its values put on the pod's session, by all policies that name it. */
  readonly marks?: readonly MarkSource[];
}

export interface DetectMask {
  readonly detector: string;
  /** RE2, where the policy brings the detector itself. */
  readonly pattern?: string;
  readonly transform: Transform;
  readonly policy: string;
  /** CEL source: applies while it is true, and where it cannot be evaluated. */
  readonly when?: string;
  /** What a finding puts on the pod's session. */
  readonly marks?: readonly MarkSource[];
}

/** The same operation at most `max` times in so many seconds. */
export interface RepeatLimit {
  readonly max: number;
  readonly withinSeconds: number;
}

export interface Limits {
  readonly requestsPerMinute?: number;
  readonly tokensPerMinute?: number;
  readonly tokensPerDay?: number;
  /** Millionths of the price table's currency. */
  readonly costPerDay?: number;
  /** All of them count, by `withinSeconds`. */
  readonly repeats?: readonly RepeatLimit[];
  readonly rowsPerResult?: number;
  readonly bytesPerResult?: number;
  readonly maxConnections?: number;
  readonly idleTimeoutSeconds?: number;
  readonly statementTimeoutSeconds?: number;
}

export type RecordingDetail = "Metadata" | "Statements" | "Full";

export interface Recording {
  readonly detail: RecordingDetail;
  readonly strict: boolean;
  readonly retentionDays: number;
}

export interface Bundle {
  readonly version: typeof bundleVersion;
  /** Features a proxy must have to enforce this bundle; one it lacks makes it refuse (`ProxyTooOld`). */
  readonly requires: readonly string[];
  /** Digest over everything below: two equal bundles have equal generations. */
  readonly generation: string;
  readonly connection: {
    readonly namespace: string;
    readonly name: string;
    readonly protocol: Protocol;
  };
  readonly subject: { readonly namespace: string; readonly serviceAccount: string };
  /** Policies that select the subject on this connection, `namespace/name`. Empty means everything is denied. */
  readonly policies: readonly string[];
  /** ClusterAccessPolicies that count besides, as events and messages name them (clusterPolicyName); absent where there are none. */
  readonly clusterPolicies?: readonly string[];
  /** No Enforce policy selects the subject, but an Observe one does: what is recognised passes and is recorded with `wouldBe`. */
  readonly observeOnly: boolean;
  readonly rules: readonly BundleRule[];
  readonly columnMasks: readonly ColumnMask[];
  /** What any operation that reads something puts on the pod's session: the Connection's own. */
  readonly marks?: readonly string[];
  /** Of answers. */
  readonly detectMasks: readonly DetectMask[];
  /** Of requests; absent where there are none. */
  readonly requestMasks?: readonly DetectMask[];
  /** Key of `hash` transforms, base64url; one per namespace, so that equal values stay joinable inside it. */
  readonly maskKey: string;
  readonly limits: Limits;
  /** Beside `limits.costPerDay`: what tokens cost; beside limits of tokens: how long answers can be, where the table says it. */
  readonly prices?: PriceTable;
  readonly recording: Recording;
  readonly grantTtlSeconds: number;
  /** What the operator grants it to; the proxy has no part in that. */
  readonly minimumTier?: TierDemand;
}
