// Policies and a connection -> the bundle for one subject: what every selecting policy contributes, added up.
import { createHash } from "node:crypto";
import canonicalize from "canonicalize";
import type {
  AccessPolicy,
  Connection,
  MaskingTransform,
  PolicyLimits,
  PolicyRecording,
  PolicyRule,
  RuleApproval,
} from "../crds/types.gen.ts";
import { bundleVersion } from "./bundle.ts";
import type {
  ApprovalTerms,
  Bundle,
  BundleRule,
  ColumnMask,
  DetectMask,
  Limits,
  Recording,
  Transform,
} from "./bundle.ts";
import { parseDays, parseDuration } from "./duration.ts";
import { requiredFeatures } from "./features.ts";
import { selectedChains, selectsSubject, targets } from "./select.ts";
import type { PolicySubjectId } from "./select.ts";
import { mergeMasks, stricterLimits, stricterRecording } from "./strictness.ts";

/** What holds where no selecting policy says otherwise. */
const defaultRecording: Recording = { detail: "Statements", strict: false, retentionDays: 90 };
const defaultGrantTtlSeconds = 300;

export interface CompileInput {
  /** Every policy of the connection's namespace, with defaults filled in; those that select are picked here. */
  readonly policies: readonly AccessPolicy[];
  readonly connection: Connection;
  readonly subject: PolicySubjectId;
  /** Key of `hash` transforms, base64url, one per namespace. */
  readonly maskKey: string;
}

/**
 * Throws when a duration or a transform of a selecting policy cannot be read, which admission refuses beforehand.
 *
 * @example
 * const prepared = prepare(compile({ policies, connection, subject: { namespace: "agents", serviceAccount: "a" }, maskKey }));
 */
export function compile({ policies, connection, subject, maskKey }: CompileInput): Bundle {
  const selecting = policies
    .filter((policy) => targets(policy, connection) && selectsSubject(policy, subject))
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const enforcing = selecting.filter((policy) => policy.spec.mode !== "Observe");
  // An Observe policy only records: its masks and limits would change what the agent gets.
  const speaking = enforcing.length > 0 ? enforcing : selecting;
  const content = {
    version: bundleVersion,
    connection: {
      namespace: connection.metadata.namespace,
      name: connection.metadata.name,
      protocol: connection.spec.protocol,
    },
    subject: { namespace: subject.namespace, serviceAccount: subject.serviceAccount },
    policies: selecting.map(policyName),
    observeOnly: selecting.length > 0 && enforcing.length === 0,
    rules: selecting.flatMap((policy) => rulesOf(policy, subject)),
    columnMasks: mergeColumnMasks(enforcing.flatMap(columnMasksOf)),
    detectMasks: mergeDetectMasks(enforcing.flatMap((policy) => detectMasksOf(policy, "response"))),
    ...requestMasksOf(enforcing),
    maskKey,
    limits: enforcing.map(({ spec }) => limitsOf(spec.limits)).reduce(stricterLimits, {}),
    recording: recordingOf(selecting, enforcing),
    grantTtlSeconds: ttlOf(speaking),
  } satisfies Omit<Bundle, "requires" | "generation">;
  const complete = { ...content, requires: requiredFeatures(content) };
  return { ...complete, generation: digest(complete) };
}

function policyName({ metadata }: AccessPolicy): string {
  return `${metadata.namespace}/${metadata.name}`;
}

function rulesOf(policy: AccessPolicy, subject: PolicySubjectId): BundleRule[] {
  const chains = selectedChains(policy, subject);
  return [...(policy.spec.rules ?? [])]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((rule) => bundleRule(policy, rule, chains));
}

function bundleRule(
  policy: AccessPolicy,
  rule: PolicyRule,
  chains: readonly string[] | undefined,
): BundleRule {
  const { name, action, sql, http, llm, mcp, passthrough, when, message, approval } = rule;
  return {
    policy: policyName(policy),
    name,
    action,
    mode: policy.spec.mode === "Observe" ? "Observe" : "Enforce",
    ...(chains && action !== "Deny" && { chains }),
    ...(sql && { sql }),
    ...(http && { http }),
    ...(llm && { llm }),
    ...(mcp && { mcp }),
    ...(passthrough && { passthrough }),
    ...(when !== undefined && { when }),
    ...(approval && action === "RequireApproval" && { approval: termsOf(approval) }),
    ...(message !== undefined && { message }),
  };
}

function termsOf({ approvers, count, hold, validFor }: RuleApproval): ApprovalTerms {
  return {
    approvers,
    count,
    holdSeconds: parseDuration(hold),
    validForSeconds: parseDuration(validFor),
  };
}

function columnMasksOf(policy: AccessPolicy): ColumnMask[] {
  return (policy.spec.masking ?? []).flatMap(
    ({ columns = [], transform, predicates, marks = [] }) =>
      columns.map((column) => ({
        column,
        transform: transformOf(transform),
        // Admission refuses Allow beside the mark; what got past it is denied here.
        ...(predicates === "Allow" && !marks.includes("secret") && { predicates }),
        policy: policyName(policy),
      })),
  );
}

function requestMasksOf(policies: readonly AccessPolicy[]): Pick<Bundle, "requestMasks"> {
  const masks = mergeDetectMasks(policies.flatMap((policy) => detectMasksOf(policy, "request")));
  return masks.length === 0 ? {} : { requestMasks: masks };
}

function detectMasksOf(policy: AccessPolicy, way: "request" | "response"): DetectMask[] {
  const patterns = new Map(
    (policy.spec.detectors ?? []).map(({ name, pattern }) => [name, pattern]),
  );
  const entries = (policy.spec.masking ?? []).filter(
    ({ direction }) => direction === way || direction === "both",
  );
  return entries.flatMap(({ detect = [], transform }) =>
    detect.map((detector) => ({
      detector,
      ...patternOf(patterns.get(detector)),
      transform: transformOf(transform),
      policy: policyName(policy),
    })),
  );
}

function patternOf(pattern: string | undefined): { readonly pattern?: string } {
  return pattern === undefined ? {} : { pattern };
}

function transformOf(transform: MaskingTransform): Transform {
  const { redact, nullify, fixed, hash, tokenize, truncateDate, partial } = transform;
  if (redact) return { kind: "redact" };
  if (nullify) return { kind: "nullify" };
  if (fixed) return { kind: "fixed", value: fixed.value };
  if (hash) return { kind: "hash" };
  if (tokenize) return { kind: "tokenize" };
  if (truncateDate) return { kind: "truncateDate", to: truncateDate.to };
  if (partial) return { kind: "partial", keepFirst: partial.keepFirst, keepLast: partial.keepLast };
  throw new Error(
    `masking transform ${Object.keys(transform).join(", ") || "{}"} is not known; use redact`,
  );
}

function mergeColumnMasks(masks: readonly ColumnMask[]): ColumnMask[] {
  return mergeBy(masks, (mask) => mask.column);
}

function mergeDetectMasks(masks: readonly DetectMask[]): DetectMask[] {
  // Two policies may call different patterns by one name.
  return mergeBy(masks, ({ detector, pattern = "" }) => `${detector} ${pattern}`);
}

function mergeBy<M extends ColumnMask | DetectMask>(
  masks: readonly M[],
  key: (mask: M) => string,
): M[] {
  const groups = new Map<string, [M, ...M[]]>();
  for (const mask of masks) {
    const group = groups.get(key(mask));
    if (group) group.push(mask);
    else groups.set(key(mask), [mask]);
  }
  return [...groups.values()].map(mergeMasks).sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

function limitsOf(limits: PolicyLimits | undefined): Limits {
  if (!limits) return {};
  const { requestsPerMinute, rowsPerResult, bytesPerResult, maxConnections } = limits;
  const { idleTimeout, statementTimeout } = limits;
  return {
    ...(requestsPerMinute !== undefined && { requestsPerMinute }),
    ...(rowsPerResult !== undefined && { rowsPerResult }),
    ...(bytesPerResult !== undefined && { bytesPerResult }),
    ...(maxConnections !== undefined && { maxConnections }),
    ...(idleTimeout !== undefined && { idleTimeoutSeconds: parseDuration(idleTimeout) }),
    ...(statementTimeout !== undefined && {
      statementTimeoutSeconds: parseDuration(statementTimeout),
    }),
  };
}

/** Detail and retention of every policy count; strict can stop an operation, so only an enforced policy asks for it. */
function recordingOf(
  selecting: readonly AccessPolicy[],
  enforcing: readonly AccessPolicy[],
): Recording {
  const stated = selecting.flatMap((policy) =>
    policy.spec.recording ? [readRecording(policy.spec.recording, enforcing.includes(policy))] : [],
  );
  return stated.length === 0 ? defaultRecording : stated.reduce(stricterRecording);
}

function readRecording(recording: PolicyRecording, enforced: boolean): Recording {
  return {
    detail: recording.detail,
    strict: recording.strict && enforced,
    retentionDays: parseDays(recording.retention),
  };
}

function ttlOf(policies: readonly AccessPolicy[]): number {
  const stated = policies.flatMap(({ spec }) =>
    spec.grant ? [parseDuration(spec.grant.ttl)] : [],
  );
  return stated.length === 0 ? defaultGrantTtlSeconds : Math.min(...stated);
}

function digest(content: Omit<Bundle, "generation">): string {
  const hash = createHash("sha256").update(canonicalize(content) ?? "");
  return `sha256-${hash.digest("base64url")}`;
}
