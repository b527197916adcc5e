// Reads lines back from the segments when they are no longer in memory: after a restart, or when the operator was away.
import { open, type FileHandle } from "node:fs/promises";
import { isIntact, lineEnd } from "./lines.ts";
import type { Lines, ReadLimit } from "./recent.ts";
import { isUnreadable, type Segment } from "./segments.ts";
import { type Piece, Slab, slabBytes } from "./slabs.ts";

/** A record that must be there is not, or is not what was written. The remedy is `Spool.restart`. */
export class SpoolDamaged extends Error {
  override readonly name = "SpoolDamaged";
}

const everything: ReadLimit = { events: Number.MAX_SAFE_INTEGER, bytes: Number.MAX_SAFE_INTEGER };

export function notAsRecorded(seq: number): string {
  return `event ${seq} is not what was recorded`;
}

/** A segment as it was when it was read, and where the next batch begins in it: a backlog is read in many batches, each file once. */
interface Place {
  readonly file: string;
  readonly slab: Slab;
  readonly bytes: Buffer;
  readonly nextSeq: number;
  readonly at: number;
}

export class SegmentReader {
  #place: Place | undefined;
  /** The memory of a segment that was read before, for the next. */
  #free: Slab | undefined;

  /**
   * Lines `from`..`last` of the segment that holds `from`, within the limit; the rest follows at the next call. Whether they are what was
   * written is looked at by the operator, which verifies them anyway, and after its refusal here (`damage`).
   */
  async read(
    segments: readonly Segment[],
    from: number,
    last: number,
    limit: ReadLimit,
  ): Promise<Lines> {
    const place = await this.#find(segments, from);
    const { bytes, at: start } = place;
    let end = start;
    let seq = from - 1;
    while (end >= 0 && seq < last && seq - from + 1 < limit.events) {
      const next = lineEnd(bytes, end);
      if (next < 0 || (next - start > limit.bytes && seq >= from)) break;
      seq += 1;
      end = next;
    }
    if (seq < from) throw new SpoolDamaged(`event ${from} is missing from ${place.file}`);
    const lines = { last: seq, parts: [bytes.subarray(start, end)], slabs: [place.slab.hold()] };
    // At the end of what was read there may be more by now, also of a line that was being written meanwhile.
    if (lineEnd(bytes, end) > 0) this.#place = { ...place, nextSeq: seq + 1, at: end };
    else this.#leave();
    return lines;
  }

  /** What is wrong with the first of the lines `from`..`last` that is not what was written, by its hashes; undefined when all are. */
  async damage(
    segments: readonly Segment[],
    from: number,
    last: number,
  ): Promise<string | undefined> {
    this.clear();
    for (let seq = from; seq <= last;) {
      const { parts, slabs, last: upTo } = await this.read(segments, seq, last, everything);
      for (let [bytes] = parts, at = 0; bytes !== undefined && seq <= upTo; seq += 1) {
        const end = lineEnd(bytes, at);
        if (!isIntact(bytes.subarray(at, end - 1), seq)) return notAsRecorded(seq);
        at = end;
      }
      for (const slab of slabs) slab.release();
    }
    return undefined;
  }

  /** Forgets what it holds. */
  clear(): void {
    this.#leave();
    this.#free = undefined;
  }

  #leave(): void {
    this.#place?.slab.release();
    this.#place = undefined;
  }

  async #find(segments: readonly Segment[], from: number): Promise<Place> {
    const segment = segments.findLast((candidate) => candidate.firstSeq <= from);
    if (segment === undefined) throw new SpoolDamaged(`event ${from} is not in the spool any more`);
    const { file, firstSeq } = segment;
    const known = this.#place;
    if (known?.file === file && known.nextSeq === from) return known;
    this.#leave();
    const { slab, bytes } = await this.#content(file);
    // Numbers are consecutive within a segment, so lines before `from` need not be looked at. The first line is the segment's own.
    let at = lineEnd(bytes, 0);
    for (let seq = firstSeq; seq < from && at >= 0; seq += 1) at = lineEnd(bytes, at);
    return (this.#place = { file, slab, bytes, nextSeq: from, at });
  }

  async #content(file: string): Promise<Piece> {
    try {
      const handle = await open(file);
      try {
        return await this.#wholeOf(handle);
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (!isUnreadable(error)) throw error;
      throw new SpoolDamaged(`${file} is gone or cannot be read`, { cause: error });
    }
  }

  async #wholeOf(handle: FileHandle): Promise<Piece> {
    const { size } = await handle.stat();
    const free = this.#free;
    this.#free = undefined;
    const isFit = free !== undefined && free.bytes.length >= size;
    const room = Math.ceil(size / slabBytes) * slabBytes;
    const slab = (isFit ? free : new Slab(room, (unused) => (this.#free = unused))).hold();
    let length = 0;
    while (length < size) {
      const { bytesRead } = await handle.read(slab.bytes, length, size - length, length);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return { slab, bytes: slab.bytes.subarray(0, length) };
  }
}
