// Which of two masks, limits or recordings is the stricter. Each merge is commutative, associative and idempotent, so order never matters.
import type {
  Limits,
  MarkSource,
  Recording,
  RecordingDetail,
  RepeatLimit,
  Transform,
} from "./bundle.ts";
import { unitedMarks } from "./marks.ts";

/** Strictest first; the first three hide everything and differ in looks only. */
const transformOrder = [
  "redact",
  "nullify",
  "fixed",
  "hash",
  "tokenize",
  "restore",
  "truncateDate",
  "partial",
] as const;
const dateOrder = ["year", "month", "day"] as const;
const detailOrder: readonly RecordingDetail[] = ["Metadata", "Statements", "Full"];

/** What two masks on one column make together: the stricter kind, and of one kind what shows no more than either. */
export function stricterTransform(a: Transform, b: Transform): Transform {
  const rank = transformOrder.indexOf(a.kind) - transformOrder.indexOf(b.kind);
  if (rank !== 0) return rank < 0 ? a : b;
  if (a.kind === "fixed" && b.kind === "fixed") return a.value <= b.value ? a : b;
  if (a.kind === "truncateDate" && b.kind === "truncateDate") {
    return dateOrder.indexOf(a.to) <= dateOrder.indexOf(b.to) ? a : b;
  }
  if (a.kind === "partial" && b.kind === "partial") {
    return {
      kind: "partial",
      keepFirst: Math.min(a.keepFirst, b.keepFirst),
      keepLast: Math.min(a.keepLast, b.keepLast),
    };
  }
  return a;
}

function sameTransform(a: Transform, b: Transform): boolean {
  return transformKey(a) === transformKey(b);
}

function transformKey(transform: Transform): string {
  switch (transform.kind) {
    case "fixed":
      return `fixed ${transform.value}`;
    case "truncateDate":
      return `truncateDate ${transform.to}`;
    case "partial":
      return `partial ${transform.keepFirst} ${transform.keepLast}`;
    default:
      return transform.kind;
  }
}

interface Mask {
  readonly transform: Transform;
  readonly policy: string;
  readonly predicates?: "Allow";
  readonly marks?: readonly MarkSource[];
}

/** All masks on one thing as one; it carries the name of the policy whose transform stayed. Predicates need every mask's leave, marks are everybody's. */
export function mergeMasks<M extends Mask>(masks: readonly [M, ...M[]]): M {
  const transform = masks.map((mask) => mask.transform).reduce(stricterTransform);
  const stayed = masks.filter((mask) => sameTransform(mask.transform, transform));
  const alike = masks.filter((mask) => mask.transform.kind === transform.kind);
  const policies = (stayed.length > 0 ? stayed : alike).map((mask) => mask.policy);
  // If any mask denies predicates, one that does is the base.
  const base = masks.find(({ predicates }) => predicates === undefined) ?? masks[0];
  const marks = unitedMarks(masks.flatMap((mask) => mask.marks ?? []));
  return {
    ...base,
    transform,
    policy: policies.reduce((a, b) => (a <= b ? a : b)),
    ...(marks.length > 0 && { marks }),
  };
}

const limitNames = [
  "requestsPerMinute",
  "tokensPerMinute",
  "tokensPerDay",
  "costPerDay",
  "rowsPerResult",
  "bytesPerResult",
  "maxConnections",
  "idleTimeoutSeconds",
  "statementTimeoutSeconds",
] as const;

/** The smallest of each. */
export function stricterLimits(a: Limits, b: Limits): Limits {
  const merged: { -readonly [K in keyof Limits]: Limits[K] } = {};
  for (const name of limitNames) {
    const least = Math.min(a[name] ?? Infinity, b[name] ?? Infinity);
    if (least !== Infinity) merged[name] = least;
  }
  const repeats = stricterRepeats([...(a.repeats ?? []), ...(b.repeats ?? [])]);
  if (repeats.length > 0) merged.repeats = repeats;
  return merged;
}

/** Of each length of time the smallest; those of different lengths cannot be compared, so all of them stay. */
function stricterRepeats(limits: readonly RepeatLimit[]): readonly RepeatLimit[] {
  const least = new Map<number, number>();
  for (const { max, withinSeconds } of limits)
    least.set(withinSeconds, Math.min(max, least.get(withinSeconds) ?? Infinity));
  return [...least]
    .map(([withinSeconds, max]) => ({ max, withinSeconds }))
    .sort((one, other) => one.withinSeconds - other.withinSeconds);
}

/** The most detailed, strict if either is, the longest retention. */
export function stricterRecording(a: Recording, b: Recording): Recording {
  return {
    detail: detailOrder.indexOf(a.detail) >= detailOrder.indexOf(b.detail) ? a.detail : b.detail,
    strict: a.strict || b.strict,
    retentionDays: Math.max(a.retentionDays, b.retentionDays),
  };
}
