// Data-flow marks as bundles carry them: who puts which on the pod's session, and which conditions look at them.
import type { Bundle, DetectMask, MarkSource } from "./bundle.ts";

/** Each once, in one order, so that equal policies make equal bundles. */
export function unitedMarks(marks: readonly MarkSource[]): readonly MarkSource[] {
  const known = new Map(marks.map((one) => [keyOf(one), one]));
  return [...known].sort(([a], [b]) => (a < b ? -1 : Number(a > b))).map(([, one]) => one);
}

function keyOf({ mark, policy = "", rule = "" }: MarkSource): string {
  return `${mark} ${policy} ${rule}`;
}

/** A condition that looks at the marks of the session. Over-approximates: a text that only names them counts. */
export function readsMarks(when: string | undefined): boolean {
  return when !== undefined && /\bmarks\b/.test(when);
}

/** What comes back over this connection may put marks. */
export function answersMark({
  columnMasks,
  detectMasks,
}: Pick<Bundle, "columnMasks" | "detectMasks">): boolean {
  return [...columnMasks, ...detectMasks].some((mask) => mask.marks !== undefined);
}

/** What rules say of an operation, or how its answer is masked, hangs on marks. */
export function readsItsMarks({
  rules,
  detectMasks,
}: Pick<Bundle, "rules" | "detectMasks">): boolean {
  return [...rules, ...detectMasks].some(({ when }) => readsMarks(when));
}

/** Something here puts marks on a session or reads them: a proxy that knows none must not enforce it. */
export function speaksOfMarks({
  rules,
  marks,
  columnMasks,
  detectMasks,
  requestMasks = [],
}: Pick<Bundle, "rules" | "marks" | "columnMasks" | "detectMasks" | "requestMasks">): boolean {
  return (
    marks !== undefined ||
    rules.some((rule) => rule.marks !== undefined || readsMarks(rule.when)) ||
    columnMasks.some((mask) => mask.marks !== undefined) ||
    [...detectMasks, ...requestMasks].some(
      (mask) => mask.marks !== undefined || readsMarks(mask.when),
    )
  );
}

/** A mark that something in hand puts on the session, and what of it. */
export interface FoundMark extends MarkSource {
  /** `schema.table.column` */
  readonly column?: string;
  readonly detector?: string;
}

/** What findings put on the session, by detector; undefined where none of these masks puts anything. */
export function marksByDetector(
  masks: readonly DetectMask[],
): ReadonlyMap<string, readonly FoundMark[]> | undefined {
  const found = new Map<string, FoundMark[]>();
  for (const { detector, marks = [] } of masks)
    for (const mark of marks) {
      const known = found.get(detector) ?? [];
      found.set(detector, [...known, { ...mark, detector }]);
    }
  return found.size === 0 ? undefined : found;
}
