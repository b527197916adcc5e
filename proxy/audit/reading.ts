// Reads lines back from the segments when they are no longer in memory: after a restart, or when the operator was away.
import { readFile } from "node:fs/promises";
import { isIntact, lineEnd } from "./lines.ts";
import type { Lines, ReadLimit } from "./recent.ts";
import type { Segment } from "./segments.ts";

/** A record that must be there is not, or is not what was written. The remedy is `Spool.restart`. */
export class SpoolDamaged extends Error {
  override readonly name = "SpoolDamaged";
}

/** A segment as it was when it was read, and where the next batch begins in it: a backlog is read in many batches, each file once. */
interface Place {
  readonly file: string;
  readonly bytes: Buffer;
  readonly nextSeq: number;
  readonly at: number;
}

export class SegmentReader {
  #place: Place | undefined;

  /** Lines `from`..`last` of the segment that holds `from`, within the limit; the rest follows at the next call. Checks each against its hashes. */
  async read(
    segments: readonly Segment[],
    from: number,
    last: number,
    limit: ReadLimit,
  ): Promise<Lines> {
    const segment = segments.findLast((candidate) => candidate.firstSeq <= from);
    if (segment === undefined) throw new SpoolDamaged(`event ${from} is not in the spool any more`);
    const { bytes, at: start } = await this.#find(segment, from);
    let end = start;
    let seq = from - 1;
    while (end >= 0 && seq < last && seq - from + 1 < limit.events) {
      const next = lineEnd(bytes, end);
      if (next < 0 || (next - start > limit.bytes && seq >= from)) break;
      seq += 1;
      if (!isIntact(bytes.subarray(end, next - 1), seq))
        throw new SpoolDamaged(`event ${seq} is not what was recorded`);
      end = next;
    }
    if (seq < from) throw new SpoolDamaged(`event ${from} is missing from ${segment.file}`);
    // At the end of what was read there may be more by now.
    this.#place =
      end < bytes.length ? { file: segment.file, bytes, nextSeq: seq + 1, at: end } : undefined;
    return { last: seq, parts: [bytes.subarray(start, end)] };
  }

  /** Forgets what it holds. */
  clear(): void {
    this.#place = undefined;
  }

  async #find({ file, firstSeq }: Segment, from: number): Promise<Place> {
    const place = this.#place;
    if (place?.file === file && place.nextSeq === from) return place;
    const bytes = await readFile(file);
    // Numbers are consecutive within a segment, so lines before `from` need not be looked at. The first line is the segment's own.
    let at = lineEnd(bytes, 0);
    for (let seq = firstSeq; seq < from && at >= 0; seq += 1) at = lineEnd(bytes, at);
    return { file, bytes, nextSeq: from, at };
  }
}
