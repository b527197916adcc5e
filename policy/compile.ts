// Policies and a connection -> the bundle for one subject: what every selecting policy contributes, added up.
import { createHash } from "node:crypto";
import canonicalize from "canonicalize";
import type {
  AccessPolicy,
  ClusterAccessPolicy,
  Connection,
  MaskingTransform,
  PolicyLimits,
  PolicyRecording,
  PolicyRule,
  RuleApproval,
} from "../crds/types.gen.ts";
import { bundleVersion } from "./bundle.ts";
import { countsTokens } from "./budget/budget.ts";
import type { PriceTable } from "./budget/price.ts";
import type {
  ApprovalTerms,
  Bundle,
  BundleRule,
  ColumnMask,
  DetectMask,
  Limits,
  MarkSource,
  PolicyMode,
  Recording,
  Transform,
} from "./bundle.ts";
import { clusterPolicyName, heldOn, restricts } from "./cluster.ts";
import { parseDays, parseDuration } from "./duration.ts";
import { requiredFeatures } from "./features.ts";
import { selectedChains, selectsSubject, targets } from "./select.ts";
import { strongestDemand } from "./tier.ts";
import type { PolicySubjectId } from "./select.ts";
import { mergeMasks, stricterLimits, stricterRecording } from "./strictness.ts";

/** What holds where no selecting policy says otherwise. */
const defaultRecording: Recording = { detail: "Statements", strict: false, retentionDays: 90 };
const defaultGrantTtlSeconds = 300;

export interface CompileInput {
  /** Every policy of the connection's namespace, with defaults filled in; those that select are picked here. */
  readonly policies: readonly AccessPolicy[];
  /** Every one there is, with defaults filled in; those that count here are picked. */
  readonly clusterPolicies?: readonly ClusterAccessPolicy[];
  readonly connection: Connection;
  readonly subject: PolicySubjectId;
  /** Key of `hash` transforms, base64url, one per namespace. */
  readonly maskKey: string;
  /** What tokens cost; a policy with `costPerDay` needs it. */
  readonly prices?: PriceTable;
}

/**
 * Throws when a duration or a transform of a selecting policy cannot be read, which admission refuses beforehand.
 *
 * @example
 * const prepared = prepare(compile({ policies, connection, subject: { namespace: "agents", serviceAccount: "a" }, maskKey }));
 */
export function compile(input: CompileInput): Bundle {
  const { policies, connection, subject, maskKey, prices } = input;
  const selecting = policies
    .filter((policy) => targets(policy, connection) && selectsSubject(policy, subject))
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  const enforcing = selecting.filter((policy) => policy.spec.mode !== "Observe");
  const restricting = (input.clusterPolicies ?? [])
    .filter((policy) => restricts(policy, connection, subject))
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1));
  // Masks and limits of both count together, the strictest of each.
  const careful = [
    ...enforcing.map((policy) => ({ name: policyName(policy), spec: policy.spec })),
    ...restricting.map((policy) => ({
      name: clusterPolicyName(policy),
      spec: heldOn(connection.spec.protocol, policy.spec),
    })),
  ];
  // An Observe policy only records: its masks and limits would change what the agent gets.
  const speaking = enforcing.length > 0 ? enforcing : selecting;
  const limits = careful.map(({ spec }) => limitsOf(spec.limits)).reduce(stricterLimits, {});
  const content = {
    version: bundleVersion,
    connection: {
      namespace: connection.metadata.namespace,
      name: connection.metadata.name,
      protocol: connection.spec.protocol,
    },
    subject: { namespace: subject.namespace, serviceAccount: subject.serviceAccount },
    policies: selecting.map(policyName),
    ...(restricting.length > 0 && { clusterPolicies: restricting.map(clusterPolicyName) }),
    observeOnly: selecting.length > 0 && enforcing.length === 0,
    rules: [
      ...selecting.flatMap((policy) => rulesOf(policy, subject)),
      ...restricting.flatMap(restrictionsOf),
    ],
    ...namedMarks(connection.spec.marks),
    columnMasks: mergeColumnMasks(careful.flatMap(columnMasksOf)),
    detectMasks: mergeDetectMasks(careful.flatMap((policy) => detectMasksOf(policy, "response"))),
    ...requestMasksOf(careful),
    maskKey,
    limits,
    ...pricesOf(limits, prices),
    recording: recordingOf(selecting, enforcing),
    grantTtlSeconds: ttlOf(speaking),
    ...demandOf(enforcing),
  } satisfies Omit<Bundle, "requires" | "generation">;
  const complete = { ...content, requires: requiredFeatures(content) };
  return { ...complete, generation: digest(complete) };
}

/** Where only tokens are limited the table counts for the lengths in it, and is left out without any. */
function pricesOf(limits: Limits, prices: PriceTable = []): Pick<Bundle, "prices"> {
  if (limits.costPerDay !== undefined) return { prices };
  const isOfUse =
    countsTokens(limits) && prices.some(({ maxOutputTokens }) => maxOutputTokens !== undefined);
  return isOfUse ? { prices } : {};
}

function demandOf(policies: readonly AccessPolicy[]): Pick<Bundle, "minimumTier"> {
  const minimumTier = strongestDemand(policies);
  return minimumTier === undefined ? {} : { minimumTier };
}

function policyName({ metadata }: AccessPolicy): string {
  return `${metadata.namespace}/${metadata.name}`;
}

function rulesOf(policy: AccessPolicy, subject: PolicySubjectId): BundleRule[] {
  const chains = selectedChains(policy, subject);
  return [...(policy.spec.rules ?? [])]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((rule) =>
      bundleRule(
        policyName(policy),
        policy.spec.mode === "Observe" ? "Observe" : "Enforce",
        rule,
        patternsOf(policy.spec),
        chains,
      ),
    );
}

function restrictionsOf(policy: ClusterAccessPolicy): BundleRule[] {
  const name = clusterPolicyName(policy);
  const patterns = patternsOf(policy.spec);
  return [...(policy.spec.rules ?? [])]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((rule) => ({ ...bundleRule(name, "Enforce", rule, patterns), restricts: true as const }));
}

function bundleRule(
  policy: string,
  mode: PolicyMode,
  rule: PolicyRule,
  patterns: ReadonlyMap<string, string>,
  chains?: readonly string[],
): BundleRule {
  const { name, action, sql, http, llm, mcp, passthrough, when, message, approval, marks } = rule;
  return {
    policy,
    name,
    action,
    mode,
    ...(chains && action !== "Deny" && { chains }),
    ...(sql && { sql: withPatterns(sql, patterns) }),
    ...(http && { http }),
    ...(llm && { llm: withPatterns(llm, patterns) }),
    ...(mcp && { mcp }),
    ...(passthrough && { passthrough }),
    ...(when !== undefined && { when }),
    ...(approval && action === "RequireApproval" && { approval: termsOf(approval) }),
    ...(message !== undefined && { message }),
    // Admission refuses marks on a Deny, which lets nothing be read.
    ...(action !== "Deny" && namedMarks(marks)),
  };
}

/** A block that looks for detectors brings those of the policy's own. */
function withPatterns<Block extends { readonly detect?: readonly string[] }>(
  block: Block,
  own: ReadonlyMap<string, string>,
): Block & { readonly patterns?: Readonly<Record<string, string>> } {
  const used = (block.detect ?? []).flatMap((name) => {
    const pattern = own.get(name);
    return pattern === undefined ? [] : [[name, pattern] as const];
  });
  return used.length === 0 ? block : { ...block, patterns: Object.fromEntries(used) };
}

function patternsOf({
  detectors = [],
}: Pick<AccessPolicy["spec"], "detectors">): ReadonlyMap<string, string> {
  return new Map(detectors.map(({ name, pattern }) => [name, pattern]));
}

function namedMarks(marks: readonly string[] = []): { readonly marks?: readonly string[] } {
  return marks.length === 0 ? {} : { marks: [...marks].sort() };
}

function markSources(
  policy: string,
  marks: readonly string[] = [],
): { readonly marks?: readonly MarkSource[] } {
  if (marks.length === 0) return {};
  return { marks: [...marks].sort().map((mark) => ({ mark, policy })) };
}

function termsOf({ approvers, count, hold, validFor }: RuleApproval): ApprovalTerms {
  return {
    approvers,
    count,
    holdSeconds: parseDuration(hold),
    validForSeconds: parseDuration(validFor),
  };
}

/** A policy of either kind, as far as it masks and limits. */
interface Careful {
  readonly name: string;
  readonly spec: Pick<AccessPolicy["spec"], "masking" | "detectors" | "limits">;
}

function columnMasksOf({ name, spec }: Careful): ColumnMask[] {
  return (spec.masking ?? []).flatMap(({ columns = [], transform, predicates, marks = [] }) =>
    columns.map((column) => ({
      column,
      transform: transformOf(transform),
      // Admission refuses Allow beside the mark; what got past it is denied here.
      ...(predicates === "Allow" && !marks.includes("secret") && { predicates }),
      policy: name,
      ...markSources(name, marks),
    })),
  );
}

function requestMasksOf(policies: readonly Careful[]): Pick<Bundle, "requestMasks"> {
  const masks = mergeDetectMasks(policies.flatMap((policy) => detectMasksOf(policy, "request")));
  return masks.length === 0 ? {} : { requestMasks: masks };
}

function detectMasksOf({ name, spec }: Careful, way: "request" | "response"): DetectMask[] {
  const patterns = patternsOf(spec);
  const entries = (spec.masking ?? []).filter(
    ({ direction }) => direction === way || direction === "both",
  );
  return entries.flatMap(({ detect = [], transform, marks, when, restore }) =>
    detect.map((detector) => ({
      detector,
      ...patternOf(patterns.get(detector)),
      transform:
        restore === true && way === "request"
          ? { kind: "restore" as const, detector }
          : transformOf(transform),
      policy: name,
      ...(when !== undefined && { when }),
      ...markSources(name, marks),
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
  // Two policies may call different patterns by one name, and what holds at times is no stricter than what holds always.
  return mergeBy(
    masks,
    ({ detector, pattern = "", when = "" }) => `${detector} ${pattern}${when && ` ${when}`}`,
  );
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

const limitNumbers = [
  "requestsPerMinute",
  "tokensPerMinute",
  "tokensPerDay",
  "rowsPerResult",
  "bytesPerResult",
  "maxConnections",
] as const;

function limitsOf(limits: PolicyLimits | undefined): Limits {
  if (!limits) return {};
  const { idleTimeout, statementTimeout, costPerDay, repeats } = limits;
  return {
    ...Object.fromEntries(
      limitNumbers.flatMap((name) => (limits[name] === undefined ? [] : [[name, limits[name]]])),
    ),
    ...(costPerDay !== undefined && { costPerDay: Math.round(Number(costPerDay) * 1e6) }),
    ...(repeats !== undefined && {
      repeats: [{ max: repeats.max, withinSeconds: parseDuration(repeats.within) }],
    }),
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
