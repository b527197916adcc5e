// What was found in a text that comes in pieces: findings that overlap become one, and nothing is shown of one that is not over.
import type { Transform } from "../bundle.ts";
import { stricterTransform } from "../strictness.ts";
import type { Span } from "./spans.ts";

/** Findings that overlap become one, which grows by no more than this over the longest of them. */
const longestChain = 1_024;

export interface Found extends Span {
  readonly transform: Transform;
  readonly detector: string;
  /** Of a long finding only. */
  readonly isLong?: boolean;
  readonly resumes?: boolean;
}

export interface Union {
  readonly start: number;
  end: number;
  transform: Transform;
  isLong: boolean;
  /** Of the findings in it. */
  longest: number;
  /** Its beginning was given out, masked. */
  resumes: boolean;
}

/** A finding is masked whole or not yet, but for a long one, of which nothing is shown. */
export function stopOf(last: Union | undefined, open: number): number {
  if (last === undefined || last.isLong || last.start >= open || open >= last.end) return open;
  return last.start;
}

/** Findings that overlap become one, under the stricter transform; those before `held` are over, but for a long one. */
export function united(found: readonly Found[], held: number): Union[] {
  const unions: Union[] = [];
  const inOrder = found.toSorted((a, b) => a.start - b.start || b.end - a.end);
  for (const { start, end, transform, isLong = false, resumes = false } of inOrder) {
    const last = unions.at(-1);
    const touches = last !== undefined && (start < last.end || (resumes && start === last.end));
    if (last === undefined || !touches) {
      unions.push({ start, end, transform, isLong, resumes, longest: end - start });
      continue;
    }
    if (isFull(last)) {
      if (end > last.end)
        unions.push({ start: last.end, end, transform, isLong, resumes, longest: end - start });
      continue;
    }
    last.end = Math.max(last.end, end);
    last.longest = Math.max(last.longest, end - start);
    last.transform = stricterTransform(last.transform, transform);
    last.isLong ||= isLong;
    // The same one, told before it was given out.
    if (isLong && !resumes && start >= held) last.resumes = false;
  }
  return unions;
}

/** Findings that overlap one after the other without end are cut; a long one is hidden whole anyway. */
function isFull({ start, end, longest, isLong }: Union): boolean {
  return !isLong && end - start > longest + longestChain;
}
