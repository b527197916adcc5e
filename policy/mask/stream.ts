// Masks what detectors find in a text that comes in pieces: what is given out, put together, is the masked text, however it was cut.
//
// What is held back is the end of the text that could still become part of a finding, so no longer than the longest open one
// (stream-ends.ts, stream-long.ts, stream-pattern.ts state the bounds). What stands before it is masked by the very detectors
// that mask whole texts, and never looked at again.
import type { DetectMask, Transform } from "../bundle.ts";
import { bitOf, type Suspects } from "./detector-bits.ts";
import { detectorNames, detectors, isDetectorName, type DetectorName } from "./detectors.ts";
import { JsonParts } from "./json-marks.ts";
import { stopOf, united, type Found, type Union } from "./stream-findings.ts";
import { endsPlan, OpenEnds, type EndsPlan } from "./stream-ends.ts";
import { privateKeys, webTokens, type LongFinder } from "./stream-long.ts";
import { compilePattern } from "./stream-pattern.ts";
import { createLook, createMarker } from "./suspects.ts";
import type { TokenVault } from "./token-vault.ts";
import { createTransform, redactedText, type MaskValue } from "./transform.ts";

/** How often each detector spoke. */
export type Counts = Record<string, number>;

export interface TextStream {
  /** What may be shown once this has come, too. */
  push(piece: string): string;
  /** Nothing follows: the rest. Begins a new text with the same context. */
  end(): string;
}

export interface StreamMasker {
  /**
   * @param counts grows by what is found
   * @param context what stands before the text, without being part of it: `name=` of a member, say
   */
  open(counts: Counts, context?: string): TextStream;
  /** The same of a text that is there whole. */
  whole(text: string, counts: Counts, context?: string): string;
  /** What readers of JSON read with. */
  readonly parts: JsonParts;
}

/** UTF-16 units of texts that are looked at without a buffer of their own. */
const shortText = 1_024;

/** No finding begins in so many zeros, nor right behind them. */
const noBeginning = "0".repeat(24);

/** What detectors look at before a finding: `Key=` at most. What they have to see more of is held back. */
const lookBehind = 4;

/** What a finding of a built-in detector has at least one of. */
const gate = /[\d@:_=]|eyJ|-----BEGIN|A(?:KI|SI|Iz)A|glpat-|xox[abeprs]-|sk-|aws/i;

/** What stands before the value of a member with this name: `AccountKey=`, where the name could make the value a finding. */
export function namedContext(name: string): string {
  return speaking.test(name) ? `${name}=` : "";
}

/** A context that makes what follows it a finding. */
const speaking = /aws|key/i;

interface Bounded {
  readonly detector: DetectorName;
  readonly transform: Transform;
}

/** @param from where the text begins, behind its context */
type MakeFinder = (from: number) => LongFinder;

interface Long {
  readonly detector: string;
  readonly transform: Transform;
  readonly make: MakeFinder;
}

interface Plan {
  readonly bounded: readonly Bounded[];
  readonly ends: EndsPlan;
  readonly long: readonly Long[];
  /** Which of the bounded ones may find something; 0 when none can. */
  readonly look: (text: string) => Suspects;
  /** Whether a long finder may find something. */
  readonly mayBeLong: (text: string) => boolean;
  readonly transformOf: (transform: Transform) => MaskValue;
}

const madeFor: Readonly<Partial<Record<DetectorName, MakeFinder>>> = {
  jwt: webTokens,
  "private-key": privateKeys,
};

/**
 * Throws for a detector this version does not have: a mask that cannot be applied must not be skipped.
 *
 * @param vault keeps what reversible tokens stand for; without one such values are hidden for good
 */
export function createStreamMasker(
  masks: readonly DetectMask[],
  key: Uint8Array,
  vault?: Pick<TokenVault, "token">,
): StreamMasker {
  const plan = planOf(masks, key, vault);
  const hasPatterns = masks.some(({ pattern }) => pattern !== undefined);
  const suspects = (text: string, context: string): boolean =>
    hasPatterns ||
    ((gate.test(text) || context !== "") &&
      (plan.look(context + text) !== 0 || plan.mayBeLong(text)));
  return {
    open: (counts, context = "") => new Stream(plan, counts, context),
    whole: (text, counts, context = "") =>
      suspects(text, context) ? new Stream(plan, counts, context).all(text) : text,
    parts: new JsonParts(createMarker(masks.map(nameOf).filter(isDetectorName)), !hasPatterns),
  };
}

function nameOf({ detector }: DetectMask): string {
  return detector;
}

function planOf(
  masks: readonly DetectMask[],
  key: Uint8Array,
  vault: Pick<TokenVault, "token"> | undefined,
): Plan {
  const bounded: Bounded[] = [];
  const long: Long[] = [];
  for (const { detector, pattern, transform } of masks) {
    if (pattern !== undefined) long.push({ detector, transform, make: compilePattern(pattern) });
    else if (!isDetectorName(detector))
      throw new Error(
        `the detector ${detector} is not known; known are ${detectorNames.join(", ")}`,
      );
    else {
      const make = madeFor[detector];
      if (make === undefined) bounded.push({ detector, transform });
      else long.push({ detector, transform, make });
    }
  }
  const names = new Set(bounded.map(({ detector }) => detector));
  const hasPatterns = masks.some(({ pattern }) => pattern !== undefined);
  const made = new Map<Transform, MaskValue>();
  return {
    bounded,
    ends: endsPlan(names),
    long,
    look: lookAt([...names]),
    mayBeLong: (text) => hasPatterns || (long.length > 0 && /eyJ|-----BEGIN/.test(text)),
    transformOf: (transform) => {
      const known =
        made.get(transform) ?? reversible(transform, vault) ?? createTransform(transform, key);
      made.set(transform, known);
      return known;
    },
  };
}

function reversible(
  transform: Transform,
  vault: Pick<TokenVault, "token"> | undefined,
): MaskValue | undefined {
  if (transform.kind !== "restore" || vault === undefined) return undefined;
  const { detector } = transform;
  return (value) => (value === null ? null : (vault.token(detector, value) ?? redactedText));
}

/** The first look of suspects.ts, at a string: short ones, which streams bring, by way of one buffer. */
function lookAt(names: readonly DetectorName[]): (text: string) => Suspects {
  const look = createLook(names);
  const buffer = Buffer.alloc(3 * shortText);
  return (text) => {
    if (text.length <= shortText) return look(buffer, 0, buffer.write(text, 0));
    const bytes = Buffer.from(text);
    return look(bytes, 0, bytes.length);
  };
}

class Stream implements TextStream {
  readonly #plan: Plan;
  readonly #counts: Counts;
  readonly #context: string;
  #ends: OpenEnds;
  #finders: readonly { readonly long: Long; readonly finder: LongFinder }[] = [];
  /** What is looked at: up to `lookBehind` characters that were given out, then what is held back. */
  #text = "";
  #held = 0;
  /** What stands before the rest is the end of what was given out, not a context. */
  #hasGiven = false;
  /** Up to here the text is one finding, given out when it is all decided. */
  #blocked = 0;
  /** Findings of the long finders that were not given out whole. */
  #found: Found[] = [];

  constructor(plan: Plan, counts: Counts, context: string) {
    this.#plan = plan;
    this.#counts = counts;
    this.#context = context;
    this.#ends = new OpenEnds(plan.ends);
    this.#begin();
  }

  push(piece: string): string {
    if (piece === "") return "";
    const from = this.#text.length;
    this.#text += piece;
    return this.#give(this.#openFrom(from));
  }

  end(): string {
    this.#scan(true);
    const rest = this.#give(this.#text.length);
    this.#begin();
    return rest;
  }

  all(text: string): string {
    this.#text += text;
    return this.end();
  }

  #begin(): void {
    this.#text = this.#context;
    this.#held = this.#context.length;
    this.#blocked = 0;
    this.#hasGiven = false;
    this.#found = [];
    this.#ends = new OpenEnds(this.#plan.ends);
    this.#finders = this.#plan.long.map((long) => ({ long, finder: long.make(this.#held) }));
    if (this.#context !== "") this.#ends.after(this.#context, 0);
  }

  #openFrom(from: number): number {
    return Math.min(this.#scan(false), this.#ends.after(this.#text, from));
  }

  /** Where the undecided end of the text begins, as far as long findings go. */
  #scan(isEnd: boolean): number {
    let open = this.#text.length;
    for (const { long, finder } of this.#finders) {
      const { detector, transform } = long;
      const from = finder.scan(this.#text, isEnd, ({ start, end, isLong, resumes }) => {
        this.#found.push({
          start,
          end,
          detector,
          transform: isLong ? { kind: "redact" } : transform,
          isLong,
          resumes,
        });
      });
      open = Math.min(open, from);
    }
    return open;
  }

  /** What is decided, masked. */
  #give(open: number): string {
    if (open <= this.#held || open < this.#blocked) return "";
    this.#blocked = 0;
    const found = this.#findings(open);
    if (found.length === 0) {
      const text = this.#text.slice(this.#held, open);
      this.#move(open);
      return text;
    }
    const unions = united(found, this.#held);
    const stop = stopOf(unions.at(-1), open);
    if (stop <= this.#held) {
      this.#blocked = unions.at(-1)?.end ?? 0;
      return "";
    }
    this.#count(found, stop);
    const text = this.#rewrite(unions, stop);
    this.#move(stop);
    return text;
  }

  /** Those that begin before `open`: whatever follows, they stay. */
  #findings(open: number): Found[] {
    const found = this.#found.filter(({ start }) => start < open);
    const suspects = this.#plan.look(this.#text);
    if (suspects === 0) return found;
    const before = this.#before();
    const text = before + this.#text.slice(this.#held);
    for (const { detector, transform } of this.#plan.bounded) {
      if ((suspects & bitOf(detector)) === 0) continue;
      // An address ends where the next begins, so nothing of what was given out belongs to one.
      const skipped = detector === "email" ? before.length : 0;
      const moved = this.#held - before.length + skipped;
      for (const span of detectors[detector](skipped === 0 ? text : text.slice(skipped))) {
        const one = { start: span.start + moved, end: span.end + moved, detector, transform };
        if (one.start < this.#held || !this.#isNew(one)) continue;
        if (one.start < open) found.push(one);
        // What makes it one stands before it, and may be given out first.
        if (detector === "aws-key" && one.end < this.#text.length) this.#found.push(one);
      }
    }
    return found;
  }

  /** Not one of those that are kept from an earlier look. */
  #isNew({ detector, start }: Found): boolean {
    return (
      detector !== "aws-key" ||
      !this.#found.some((one) => one.detector === detector && one.start === start)
    );
  }

  /** What a detector is to see before the text: enough to look back at, of which nothing can be taken for the beginning of a finding. */
  #before(): string {
    const given = this.#text.slice(0, this.#held);
    if (!this.#hasGiven || given === "") return given;
    return given.endsWith("Key=") ? `${noBeginning}Key=` : noBeginning + given.slice(-1);
  }

  #count(found: readonly Found[], stop: number): void {
    for (const { detector, start, end, resumes } of found)
      if (start < stop && end > this.#held && resumes !== true)
        this.#counts[detector] = (this.#counts[detector] ?? 0) + 1;
  }

  #rewrite(unions: readonly Union[], stop: number): string {
    const parts: string[] = [];
    let position = this.#held;
    for (const { start, end, transform, resumes } of unions) {
      if (start >= stop) break;
      if (end <= position) continue;
      const from = Math.max(start, position);
      parts.push(this.#text.slice(position, from));
      if (!resumes)
        parts.push(this.#plan.transformOf(transform)(this.#text.slice(from, end)) ?? "");
      position = end;
    }
    parts.push(this.#text.slice(position, stop));
    return parts.join("");
  }

  /** What stands before is given out; the last of it stays to be looked back at. */
  #move(stop: number): void {
    const by = Math.max(0, stop - lookBehind);
    this.#hasGiven = true;
    this.#held = stop - by;
    this.#text = this.#text.slice(by);
    this.#ends.moved(by);
    for (const { finder } of this.#finders) finder.moved(by);
    if (this.#found.length === 0) return;
    // The end of a long one may overlap with what follows it; what it hides of that is hidden already.
    this.#found = this.#found.flatMap((one) =>
      one.end <= by || (one.end <= stop && one.isLong !== true)
        ? []
        : [
            {
              ...one,
              start: Math.max(0, one.start - by),
              end: one.end - by,
              ...(one.start < stop && { resumes: true }),
            },
          ],
    );
  }
}
