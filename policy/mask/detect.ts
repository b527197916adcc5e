// Masks what detectors find in a text: spans that overlap become one, hidden by the stricter of their transforms.
import { RE2JS } from "re2js";
import type { DetectMask, Transform } from "../bundle.ts";
import { stricterTransform } from "../strictness.ts";
import { anyText, bitOf, type Suspects } from "./detector-bits.ts";
import { detectorNames, detectors, isDetectorName, type Detector } from "./detectors.ts";
import type { Span } from "./spans.ts";
import { createLook, type Look } from "./suspects.ts";
import { createTransform } from "./transform.ts";

export interface MaskedText {
  readonly text: string;
  /** How often each detector spoke; names of detectors that found nothing are absent. */
  readonly counts: Readonly<Record<string, number>>;
}

export interface TextMasker {
  /** A first look at UTF-8 bytes: 0 when nothing can be found in them, else what `mask` is to look for. */
  readonly look: Look;
  /** @param suspects of `look`; without it everything is looked for */
  readonly mask: (text: string, suspects?: Suspects) => MaskedText;
}

interface Finding extends Span {
  readonly transform: Transform;
}

/** Throws for a detector this version does not have: a mask that cannot be applied must not be skipped. */
export function createTextMasker(masks: readonly DetectMask[], key: Uint8Array): TextMasker {
  const active = masks.map((one) => ({ ...one, ...finderOf(one) }));
  const mask = (text: string, suspects: Suspects = everySuspect): MaskedText => {
    const counts: Record<string, number> = {};
    const findings = active.flatMap(({ detector, transform, find, bit }) => {
      if ((suspects & bit) === 0) return [];
      const spans = find(text);
      if (spans.length > 0) counts[detector] = (counts[detector] ?? 0) + spans.length;
      return spans.map((span): Finding => ({ ...span, transform }));
    });
    if (findings.length === 0) return { text, counts };
    return { text: rewrite(text, united(findings), key), counts };
  };
  const look = createLook(active.map(({ detector }) => detector).filter(isDetectorName));
  // A pattern may match anything, so every text is looked at whole.
  const always = active.some(({ pattern }) => pattern !== undefined) ? anyText : 0;
  return {
    look: always === 0 ? look : (bytes, start, end) => look(bytes, start, end) | always,
    mask,
  };
}

function finderOf({ detector, pattern }: Pick<DetectMask, "detector" | "pattern">): {
  readonly find: Detector;
  readonly bit: Suspects;
} {
  if (pattern !== undefined) return { find: matchesOf(pattern), bit: anyText };
  if (isDetectorName(detector)) return { find: detectors[detector], bit: bitOf(detector) };
  throw new Error(`the detector ${detector} is not known; known are ${detectorNames.join(", ")}`);
}

/** Throws for what is no RE2 pattern. Matches of no characters hide nothing and are left out. */
function matchesOf(pattern: string): Detector {
  const compiled = RE2JS.compile(pattern);
  return (text) => {
    const spans: Span[] = [];
    const matcher = compiled.matcher(text);
    while (matcher.find())
      if (matcher.end() > matcher.start())
        spans.push({ start: matcher.start(), end: matcher.end() });
    return spans;
  };
}

/** One of those that rules of SQL look for. */
export interface SqlDetector {
  readonly name: string;
  /** Tells apart what two policies call by one name. */
  readonly key: string;
  readonly bit: Suspects;
  readonly find: Detector;
}

/** Throws for a detector this version does not have, and for what is no RE2 pattern. */
export function createSqlDetector(sought: Pick<DetectMask, "detector" | "pattern">): SqlDetector {
  const { detector: name, pattern } = sought;
  const key = pattern === undefined ? name : `${name}\0${pattern}`;
  return { name, key, ...finderOf(sought) };
}

const lookForAll = createLook(detectorNames);

/** Which detectors could find something in this text. */
export function suspectsOf(text: string): Suspects {
  const bytes = Buffer.from(text);
  return lookForAll(bytes, 0, bytes.length) | anyText;
}

/** Whether one of these finds something in a text. Throws for a detector this version does not have. */
export function createFinder(
  sought: readonly Pick<DetectMask, "detector" | "pattern">[],
): (text: string) => boolean {
  const active = sought.map(finderOf);
  return (text) => active.some(({ find }) => find(text).length > 0);
}

/** Whatever a detector might find. */
export const everySuspect: Suspects = -1;

export function maskText(text: string, masks: readonly DetectMask[], key: Uint8Array): MaskedText {
  return createTextMasker(masks, key).mask(text);
}

function united(findings: readonly Finding[]): Finding[] {
  const result: Finding[] = [];
  for (const finding of findings.toSorted((a, b) => a.start - b.start || b.end - a.end)) {
    const last = result.at(-1);
    if (last === undefined || finding.start >= last.end) result.push(finding);
    else {
      result[result.length - 1] = {
        start: last.start,
        end: Math.max(last.end, finding.end),
        transform: stricterTransform(last.transform, finding.transform),
      };
    }
  }
  return result;
}

function rewrite(text: string, findings: readonly Finding[], key: Uint8Array): string {
  const parts: string[] = [];
  let position = 0;
  for (const { start, end, transform } of findings) {
    parts.push(
      text.slice(position, start),
      createTransform(transform, key)(text.slice(start, end)) ?? "",
    );
    position = end;
  }
  parts.push(text.slice(position));
  return parts.join("");
}
