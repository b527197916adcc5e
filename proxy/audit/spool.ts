// The recording of one pod on its own disk: numbered, hash-chained events in segment files, kept until the operator has them.
import { mkdirSync } from "node:fs";
import type { ChainPosition } from "../../contract/chain.ts";
import type { EventBody, EventType } from "../../contract/event.ts";
import type { Content } from "../pipeline.ts";
import { type Found, reopen, rewrite } from "./recover.ts";
import { hashOf, lastLine } from "./lines.ts";
import { type ReadLimit, RecentBlocks } from "./recent.ts";
import { RecordWriter } from "./record-writer.ts";
import { Removals } from "./removals.ts";
import { RoomQueue } from "./room.ts";
import { notAsRecorded, SegmentReader, SpoolDamaged } from "./reading.ts";
import { markClosed, type Segment, segmentFile, startLine } from "./segments.ts";
import { SlabPool } from "./slabs.ts";
import { GroupWriter, maxPendingBytes, unavailable } from "./writer.ts";

export interface SpoolLimits {
  /** All segments together. Events wait here while the operator is away: 64 MiB is about 60,000 of them. */
  readonly totalBytes: number;
  /** One segment; acknowledged events free their room a segment at a time. */
  readonly segmentBytes: number;
  /** Unshipped lines kept in memory, so that shipping what was just written does not read it back. */
  readonly recentBytes: number;
}

export const defaultSpoolLimits: SpoolLimits = {
  totalBytes: 64 * 1024 * 1024,
  segmentBytes: 1024 * 1024,
  recentBytes: 4 * 1024 * 1024,
};
/** Filled this far the spool says `full()`: new operations wait or are refused; the rest is for those already under way. */
const fullAt = 7 / 8;
export interface SpoolOptions {
  readonly directory: string;
  /** `namespace/pod/podUid`, locally `local/<boot id>`. */
  readonly stream: string;
  readonly limits?: Partial<SpoolLimits>;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
  /** The newest of this pod's streams that the operator holds, and its last number, where known before the spool is opened. */
  readonly known?: { readonly stream: string; readonly seq: number };
}

/** Numbers the operator will never get; `to` is `from` where nobody knows how many there were. */
export interface LostRange {
  readonly from: number;
  readonly to: number;
}

/** Consecutive events as they stand in the spool. */
export interface SpoolBatch {
  readonly stream: string;
  readonly first: number;
  readonly last: number;
  /** Of the last event. */
  readonly hash: string;
  /** One JSON line each (record.ts), with its newline, in any pieces. */
  readonly lines: readonly Buffer[];
  /** From files that may have been harmed since they were written, which `Spool.damage` tells; else from memory. */
  readonly isReadBack: boolean;
  /** Nobody looks at `lines` any more, and their memory may be used again. Without it they stay as they are; a second time does nothing. */
  release(): void;
}

export interface SpoolStatus {
  readonly stream: string;
  readonly lastSeq: number;
  readonly durableSeq: number;
  readonly acknowledgedSeq: number;
  readonly unshipped: number;
  /** Age of the oldest event the operator does not have, at most; 0 when it has them all. */
  readonly oldestUnshippedMs: number;
  readonly bytes: number;
  readonly totalBytes: number;
  /** Events that found no room and are not stated yet. */
  readonly untaken: number;
  /** Why nothing can be written at the moment. */
  readonly failure?: string;
}

/** Opens, or goes on with, the spool in `directory`. Synchronous: it happens once, before the first operation. */
export function openSpool(options: SpoolOptions): Spool {
  return new Spool(options);
}

export class Spool {
  readonly #directory: string;
  readonly #limits: SpoolLimits;
  readonly #clock: () => number;
  readonly #base: string;
  #generation: number;
  #segments: Segment[] = [];
  #head: ChainPosition;
  #acknowledged: number;
  #bytes = 0;
  #writer: GroupWriter;
  readonly #records = new RecordWriter();
  readonly #slabs = new SlabPool();
  readonly #recent: RecentBlocks;
  readonly #reader = new SegmentReader();
  readonly #room = new RoomQueue();
  /** Events that found no room since the last one that did. */
  #untaken = 0;
  #listener: (() => void) | undefined;
  readonly #removals = new Removals();
  #isoAt = -1;
  #iso = "";
  #closed = false;

  constructor(options: SpoolOptions) {
    this.#directory = options.directory;
    this.#limits = { ...defaultSpoolLimits, ...options.limits };
    this.#recent = new RecentBlocks(this.#limits.recentBytes);
    this.#clock = options.clock ?? Date.now;
    this.#base = options.stream;
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    const found = reopen(options.directory, options.stream);
    this.#generation = found.generation;
    this.#segments = [...found.segments];
    this.#head = found.head;
    this.#acknowledged = (found.segments[0]?.firstSeq ?? found.head.seq + 1) - 1;
    this.#bytes = sumBytes(this.#segments);
    this.#writer = this.#newWriter();
    this.#state(found, options.known);
  }

  get stream(): string {
    return this.#head.stream;
  }

  get lastSeq(): number {
    return this.#head.seq;
  }

  /** The oldest number that can still be read, acknowledged or not. */
  get oldestSeq(): number {
    return this.#segments[0]?.firstSeq ?? this.#head.seq + 1;
  }

  get acknowledgedSeq(): number {
    return this.#acknowledged;
  }

  /**
   * Numbers, chains and takes an event; it is written within a few milliseconds. `body` and what it holds must not
   * change afterwards. Throws RecordingUnavailable when there is no room at all; what it could not take is counted and
   * stated by a `gap` event as soon as there is room.
   */
  append(
    type: EventType,
    body: EventBody,
    contents: readonly Content[] = [],
  ): { readonly seq: number } {
    if (this.#closed) throw unavailable(new Error("the spool is closed"));
    if (this.#bytes >= this.#limits.totalBytes || this.#writer.pendingBytes >= maxPendingBytes) {
      this.#untaken += 1;
      throw unavailable(this.#writer.failure);
    }
    if (this.#untaken > 0) this.#stateUntaken();
    return this.#append(type, body, contents);
  }

  /** The same, resolved once the event survives a loss of power. Concurrent callers share one fdatasync. */
  async appendDurably(
    type: EventType,
    body: EventBody,
    contents: readonly Content[] = [],
  ): Promise<{ readonly seq: number }> {
    const { seq } = this.append(type, body, contents);
    await this.#writer.sync(seq);
    return { seq };
  }

  /** New operations must wait (`room`) or be refused with RecordingUnavailable. */
  full(): boolean {
    return (
      this.#closed ||
      this.#writer.failure !== undefined ||
      this.#bytes >= this.#limits.totalBytes * fullAt ||
      this.#writer.pendingBytes >= maxPendingBytes * fullAt
    );
  }

  /** Resolves when the spool is not full; rejects with RecordingUnavailable after a bounded wait. */
  room(signal?: AbortSignal): Promise<void> {
    if (!this.full()) return Promise.resolve();
    const refusal = (): Error => unavailable(this.#writer.failure);
    return this.#closed ? Promise.reject(refusal()) : this.#room.wait(signal, refusal);
  }

  /** Called after every append; one listener, the shipper. */
  onAppend(listener: (() => void) | undefined): void {
    this.#listener = listener;
  }

  /**
   * Events from number `from` on, at most `limit` of either measure and at least one if there is one. Only durable
   * events leave: after a loss of power the operator must never know one that this disk does not.
   */
  async read(from: number, limit: ReadLimit): Promise<SpoolBatch | undefined> {
    // While the disk is full, what it has must leave all the same: that makes room.
    const failure: unknown = await this.#writer
      .sync(this.#head.seq)
      .catch((error: unknown) => error);
    const durable = this.#writer.durableSeq;
    const { stream } = this.#head;
    if (from > durable) {
      if (failure !== undefined) throw failure;
      return undefined;
    }
    const within = { ...limit, events: Math.min(limit.events, durable - from + 1) };
    const recent = this.#recent.read(from, within);
    if (recent !== undefined) this.#reader.clear();
    const { last, parts, slabs } =
      recent ?? (await this.#reader.read(this.#segments, from, durable, within));
    const newest = parts.at(-1);
    const hash = newest === undefined ? undefined : hashOf(newest, lastLine(newest));
    if (hash === undefined) throw new SpoolDamaged(notAsRecorded(last));
    let held = slabs;
    const release = (): void => {
      for (const slab of held) slab.release();
      held = [];
    };
    return {
      stream,
      first: from,
      last,
      hash,
      lines: parts,
      isReadBack: recent === undefined,
      release,
    };
  }

  /** What is wrong with the files of the events `from`..`last`; undefined when they hold what was recorded. */
  async damage(from: number, last: number): Promise<string | undefined> {
    const upTo = Math.min(last, this.#writer.durableSeq);
    try {
      return await this.#reader.damage(this.#segments, from, upTo);
    } catch (error) {
      if (error instanceof SpoolDamaged) return error.message;
      throw error;
    }
  }

  /** The operator has everything up to `seq`: whole segments are deleted. */
  acknowledge(seq: number): void {
    const upTo = Math.min(seq, this.#writer.durableSeq);
    this.#recent.forgetUpTo(upTo);
    this.#acknowledged = Math.max(this.#acknowledged, upTo);
    // The newest segment stays: it alone remembers where the chain goes on, and only once it is on the disk.
    for (
      let [oldest, next] = this.#segments;
      oldest !== undefined && next !== undefined;
      [oldest, next] = this.#segments
    ) {
      if (next.firstSeq - 1 > this.#acknowledged || next.firstSeq > this.#writer.durableSeq) break;
      this.#removals.remove(oldest.file);
      this.#bytes -= oldest.bytes;
      this.#segments.shift();
    }
    this.#room.admit(() => !this.full());
  }

  /**
   * Goes on under a new stream name, `….N`: the operator holds other events under this one (the spool was lost), or
   * this spool is damaged. Everything unacknowledged keeps its number and is chained anew; a number whose record is
   * unreadable, and the break itself, are stated by `gap` events. Blocks while it rewrites.
   */
  async restart(reason: string, lost?: LostRange): Promise<void> {
    await this.#writer.sync(this.#head.seq);
    await this.#restart(reason, lost);
  }

  status(): SpoolStatus {
    const unshipped = this.#head.seq - this.#acknowledged;
    const failure = this.#writer.failure;
    return {
      stream: this.#head.stream,
      lastSeq: this.#head.seq,
      durableSeq: this.#writer.durableSeq,
      acknowledgedSeq: this.#acknowledged,
      unshipped,
      oldestUnshippedMs: unshipped === 0 ? 0 : Math.max(0, this.#clock() - this.#oldestTime()),
      bytes: this.#bytes,
      totalBytes: this.#limits.totalBytes,
      untaken: this.#untaken,
      ...(failure === undefined ? {} : { failure: failure.message }),
    };
  }

  /** Writes and syncs what is left, marks the end as orderly and closes the files. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#room.refuseAll();
    if (this.#untaken > 0) this.#stateUntaken();
    try {
      await this.#writer.sync(this.#head.seq);
      markClosed(this.#directory, this.#head.seq);
    } finally {
      await this.#writer.close();
      await this.#removals.close();
    }
  }

  /** States in the stream what the last process or disk left unsaid. */
  #state(found: Found, known: SpoolOptions["known"]): void {
    const last = this.#head.seq;
    // The writer has done nothing yet, so there is nothing to wait for.
    if (known !== undefined && (known.seq > last || known.stream !== this.#head.stream)) {
      this.#head = { ...this.#head, stream: known.stream };
      void this.#restart("the spool was lost", { from: known.seq + 1, to: known.seq + 1 });
      return;
    }
    if (found.damaged) return void this.#restart("a segment of the spool is damaged", undefined);
    if (found.closedAt === last || (last === 0 && found.closedAt === undefined)) return;
    const reason =
      found.closedAt === undefined
        ? "the proxy ended without closing its spool; what it recorded in its last milliseconds and did not have to be durable may be missing"
        : `the spool was closed at event ${found.closedAt}, and is not found so`;
    this.#append("gap", { gap: { from: last + 1, to: last + 1, reason } }, []);
  }

  #restart(reason: string, lost: LostRange | undefined): Promise<void> {
    const stream = successorOf(this.#base, this.#head.stream);
    const rewritten = rewrite({
      directory: this.#directory,
      generation: this.#generation + 1,
      stream,
      segments: this.#segments,
      from: this.#acknowledged + 1,
      to: this.#head.seq,
      inMemory: [...this.#recent.texts(), ...this.#writer.unwritten()],
      segmentBytes: this.#limits.segmentBytes,
      now: this.#clock(),
    });
    this.#generation += 1;
    this.#segments = [...rewritten.segments];
    this.#head = rewritten.head;
    this.#bytes = sumBytes(this.#segments);
    this.#recent.clear();
    this.#reader.clear();
    const old = this.#writer;
    this.#writer = this.#newWriter();
    const own = this.#head.seq + 1;
    this.#append("gap", { gap: { ...(lost ?? { from: own, to: own }), reason } }, []);
    return old.abandon();
  }

  #stateUntaken(): void {
    const own = this.#head.seq + 1;
    const reason = `${this.#untaken} events found no room in the spool and were not recorded`;
    this.#untaken = 0;
    this.#append("gap", { gap: { from: own, to: own, reason } }, []);
  }

  #newWriter(): GroupWriter {
    const writer: GroupWriter = new GroupWriter(this.#head.seq, this.#slabs, {
      progressed: () => this.#room.admit(() => !this.full()),
      written: (firstSeq, lastSeq, lines) => {
        // What another stream took over is not read any more.
        if (writer !== this.#writer) lines.slab.release();
        else this.#recent.add({ firstSeq, lastSeq, ...lines, at: this.#clock() });
      },
    });
    return writer;
  }

  #append(
    type: EventType,
    body: EventBody,
    contents: readonly Content[],
  ): { readonly seq: number } {
    const input = { type, body, contents, time: this.#time() };
    const { event, line } = this.#records.make(this.#head, input);
    const { seq } = event.header;
    const newest = this.#segments.at(-1);
    // One that has no event yet takes a line of any length.
    const hasRoom =
      newest !== undefined &&
      (newest.firstSeq === seq || newest.bytes + line.length <= this.#limits.segmentBytes);
    const segment = hasRoom ? newest : this.#begin(seq);
    this.#writer.push(segment.file, segment.bytes, line, seq);
    segment.bytes += line.length;
    this.#bytes += line.length;
    this.#head = { stream: this.#head.stream, seq, hash: event.hash };
    this.#listener?.();
    return { seq };
  }

  #begin(firstSeq: number): Segment {
    const startedAt = this.#clock();
    const line = Buffer.from(startLine({ after: this.#head, startedAt }));
    const bytes = line.length;
    const segment: Segment = {
      file: segmentFile(this.#directory, this.#generation, firstSeq),
      firstSeq,
      bytes,
      startedAt,
    };
    this.#writer.begin(segment.file, line, firstSeq);
    this.#segments.push(segment);
    this.#bytes += bytes;
    return segment;
  }

  #oldestTime(): number {
    const oldest = this.#acknowledged + 1;
    return (
      this.#recent.find(oldest)?.at ??
      this.#segments.findLast((segment) => segment.firstSeq <= oldest)?.startedAt ??
      this.#clock()
    );
  }

  /** Formatting a date costs as much as hashing an event; many events share a millisecond. */
  #time(): string {
    const now = this.#clock();
    if (now !== this.#isoAt) {
      this.#isoAt = now;
      this.#iso = new Date(now).toISOString();
    }
    return this.#iso;
  }
}

function sumBytes(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.bytes, 0);
}

function successorOf(base: string, current: string): string {
  const number = current === base ? 0 : Number(current.slice(base.length + 1));
  return `${base}.${number + 1}`;
}
