// Masks what detectors find in a text: spans that overlap become one, hidden by the stricter of their transforms.
import type { DetectMask, Transform } from "../bundle.ts";
import { stricterTransform } from "../strictness.ts";
import { detectorNames, detectors, type DetectorName } from "./detectors.ts";
import type { Span } from "./spans.ts";
import { bitOf, createLook, type Look, type Suspects } from "./suspects.ts";
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
  const active = masks.map(({ detector, transform }) => {
    if (!isDetector(detector))
      throw new Error(
        `the detector ${detector} is not known; known are ${detectorNames.join(", ")}`,
      );
    return { detector, transform, find: detectors[detector], bit: bitOf(detector) };
  });
  const mask = (text: string, suspects: Suspects = everything): MaskedText => {
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
  return { look: createLook(active.map(({ detector }) => detector)), mask };
}

const everything: Suspects = -1;

export function maskText(text: string, masks: readonly DetectMask[], key: Uint8Array): MaskedText {
  return createTextMasker(masks, key).mask(text);
}

function isDetector(name: string): name is DetectorName {
  return (detectorNames as readonly string[]).includes(name);
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
