// What detectors find in a statement and its parameters: counted, never kept.
import { everySuspect, suspectsOf, type SqlDetector } from "../mask/detect.ts";
import { readingsOf } from "./readings.ts";

/** Texts of this length are looked at bytewise first: most hold nothing that a detector could find. */
const looksFirst = 4 * 1024;

/** What one operation says, its parameters included, as texts. */
export interface Spoken {
  readonly texts: readonly string[];
  /** What cannot be looked into, for people; undefined where all can. */
  readonly unread: string | undefined;
}

/** Of one operation as it is sent: made anew for each Bind, because its parameters are in it. */
export class Findings {
  readonly #counts: ReadonlyMap<string, number>;
  /** What could not be looked into, for people; it is read against the agent. */
  readonly unread: string | undefined;
  /** How often each detector spoke, by its name; undefined where none did. */
  readonly found: Readonly<Record<string, number>> | undefined;

  constructor(
    detectors: readonly SqlDetector[],
    counts: ReadonlyMap<string, number>,
    unread?: string,
  ) {
    this.#counts = counts;
    this.unread = unread;
    const found: Record<string, number> = {};
    for (const { key, name } of detectors) {
      const count = counts.get(key) ?? 0;
      if (count > 0) found[name] = (found[name] ?? 0) + count;
    }
    this.found = Object.keys(found).length === 0 ? undefined : found;
  }

  has({ key }: SqlDetector): boolean {
    return (this.#counts.get(key) ?? 0) > 0;
  }

  /** Whether all was looked into for it: rules that came since may look for more. */
  isSure({ key }: SqlDetector): boolean {
    return this.unread === undefined && this.#counts.has(key);
  }
}

/** One step for each detector in each text; what a step gives is how many characters it looked at. */
export function* lookInto(
  { texts, unread }: Spoken,
  detectors: readonly SqlDetector[],
): Generator<number, Findings> {
  const counts = new Map(detectors.map(({ key }) => [key, 0]));
  for (const text of distinctReadings(texts)) {
    yield text.length;
    const suspects = text.length < looksFirst ? everySuspect : suspectsOf(text);
    for (const { key, bit, find } of detectors) {
      if ((suspects & bit) === 0) continue;
      counts.set(key, (counts.get(key) ?? 0) + find(text).length);
      yield text.length;
    }
  }
  return new Findings(detectors, counts, unread);
}

/** `lookInto` to its end. */
export function findIn(spoken: Spoken, detectors: readonly SqlDetector[]): Findings {
  const steps = lookInto(spoken, detectors);
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

function* distinctReadings(texts: readonly string[]): Generator<string> {
  const seen = new Set<string>();
  for (const text of texts)
    for (const reading of readingsOf(text)) {
      if (seen.has(reading)) continue;
      seen.add(reading);
      yield reading;
    }
}
