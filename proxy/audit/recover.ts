// What the spool finds when it opens, and the rewriting of what is unshipped under a new stream name.
import { rmSync, statSync } from "node:fs";
import { type ChainPosition, firstPrev, isSuccessor, startOf } from "../../contract/chain.ts";
import { parseRecord, type SpoolRecord } from "./record.ts";
import { RecordWriter, type WrittenRecord } from "./record-writer.ts";
import {
  cutTorn,
  isUnreadable,
  keepDamaged,
  listSegments,
  readSegment,
  removeGeneration,
  type Segment,
  type SegmentContent,
  segmentFile,
  setGeneration,
  syncFile,
  startLine,
  takeClosedMark,
  writeSegment,
} from "./segments.ts";

export interface Found {
  readonly generation: number;
  readonly segments: readonly Segment[];
  /** Where the chain goes on. */
  readonly head: ChainPosition;
  readonly damaged: boolean;
  /** The number at which the spool was closed in order; undefined after a crash and in an empty directory. */
  readonly closedAt?: number;
}

/** Reads the newest segment, cuts off a torn write and says where the chain goes on. */
export function reopen(directory: string, stream: string): Found {
  const closedAt = takeClosedMark(directory);
  const { generation, files } = listSegments(directory);
  const { tail, remaining, damaged } = newestReadable(files);
  const head = tail === undefined ? startOf(stream) : headOf(tail.content);
  if (
    head.stream !== stream &&
    !(head.stream.startsWith(`${stream}.`) && isSuccessor(head.stream))
  ) {
    throw new Error(
      `spool ${directory} holds events of stream ${head.stream}, not of ${stream}: name another directory, or ship and remove it`,
    );
  }
  const segments = remaining.map(({ file, firstSeq }): Segment => {
    const { size, mtimeMs } = statSync(file);
    return { file, firstSeq, bytes: size, startedAt: mtimeMs };
  });
  if (tail !== undefined) {
    const { goodBytes, start } = tail.content;
    if (!tail.content.damaged && statSync(tail.file).size > goodBytes)
      cutTorn(tail.file, goodBytes);
    // A killed process leaves bytes in the page cache only; from here on they count as durable.
    syncFile(tail.file);
    segments.push({
      file: tail.file,
      firstSeq: tail.firstSeq,
      bytes: goodBytes,
      startedAt: start.startedAt,
    });
  }
  return {
    generation,
    segments,
    head,
    damaged: damaged || tail?.content.damaged === true,
    ...(closedAt === undefined ? {} : { closedAt }),
  };
}

/** The stream that a directory's spool belongs to; undefined when there is none. For spools that another process left. */
export function streamOf(directory: string): string | undefined {
  const { tail } = newestReadable(listSegments(directory).files);
  return tail === undefined ? undefined : headOf(tail.content).stream;
}

interface NamedFile {
  readonly file: string;
  readonly firstSeq: number;
}

function newestReadable(files: readonly NamedFile[]): {
  readonly tail?: NamedFile & { readonly content: SegmentContent };
  readonly remaining: readonly NamedFile[];
  readonly damaged: boolean;
} {
  let damaged = false;
  for (let count = files.length; count > 0; count -= 1) {
    const newest = files[count - 1];
    if (newest === undefined) break;
    const content = readSegment(newest.file);
    if (content !== undefined)
      return { tail: { ...newest, content }, remaining: files.slice(0, count - 1), damaged };
    // Without its first line nothing in it was ever durable, unless the file has been harmed since: then it is no longer one line.
    damaged ||= statSync(newest.file).size > 1024;
    rmSync(newest.file);
  }
  return { remaining: [], damaged };
}

function headOf(content: SegmentContent): ChainPosition {
  const last = content.records.at(-1)?.event;
  return last === undefined
    ? content.start.after
    : { stream: last.header.stream, seq: last.header.seq, hash: last.hash };
}

export interface RewriteInput {
  readonly directory: string;
  readonly generation: number;
  readonly stream: string;
  readonly segments: readonly Segment[];
  readonly from: number;
  readonly to: number;
  /** Lines that memory still has, whatever the disk has made of them. */
  readonly inMemory: readonly string[];
  readonly segmentBytes: number;
  readonly now: number;
}

/**
 * Chains the records `from`..`to` anew under `stream` and replaces every segment by the result, at once: until the
 * generation is set the old files count, afterwards the new ones. A number without a readable record becomes a `gap`.
 */
export function rewrite(input: RewriteInput): {
  readonly segments: readonly Segment[];
  readonly head: ChainPosition;
} {
  const { found, damaged } = collect(input);
  const rewritten = writtenAnew(input, found);
  // Until here who repeats this needs the old files; from here on it does not matter what becomes of them: opening removes them as well.
  for (const file of damaged) attempt(() => keepDamaged(input.directory, file));
  for (const { file } of input.segments) attempt(() => rmSync(file, { force: true }));
  return rewritten;
}

function attempt(work: () => void): void {
  try {
    work();
  } catch {
    // It stays.
  }
}

function writtenAnew(
  input: RewriteInput,
  found: ReadonlyMap<number, SpoolRecord>,
): { readonly segments: readonly Segment[]; readonly head: ChainPosition } {
  try {
    const rewritten = writeAnew(input, found);
    setGeneration(input.directory, input.generation);
    return rewritten;
  } catch (error) {
    // On a full disk half of them would leave even less room.
    attempt(() => removeGeneration(input.directory, input.generation));
    throw error;
  }
}

function writeAnew(
  input: RewriteInput,
  found: ReadonlyMap<number, SpoolRecord>,
): { readonly segments: readonly Segment[]; readonly head: ChainPosition } {
  const writer = new RecordWriter();
  const written: Segment[] = [];
  let head: ChainPosition = { stream: input.stream, seq: input.from - 1, hash: firstPrev };
  let segment = begin(input, head);
  for (let seq = input.from; seq <= input.to; seq += 1) {
    const record = found.get(seq);
    const next =
      record === undefined ? lost(writer, head, input.now) : writer.rechain(head, record);
    const bytes = next.line.length;
    if (segment.bytes + bytes > input.segmentBytes && seq > segment.firstSeq) {
      written.push(finish(segment));
      segment = begin(input, head);
    }
    segment.lines.push(Buffer.from(next.line));
    segment.bytes += bytes;
    head = { stream: input.stream, seq, hash: next.event.hash };
  }
  written.push(finish(segment));
  return { segments: written, head };
}

function collect(input: RewriteInput): {
  readonly found: ReadonlyMap<number, SpoolRecord>;
  readonly damaged: readonly string[];
} {
  const found = new Map<number, SpoolRecord>();
  const damaged: string[] = [];
  for (const { file } of input.segments) {
    try {
      const content = readSegment(file);
      for (const record of content?.records ?? [])
        if (record.event.header.seq >= input.from) found.set(record.event.header.seq, record);
      if (content === undefined || content.damaged) damaged.push(file);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
    }
  }
  for (const line of input.inMemory) {
    const record = parseRecord(line);
    if (record !== undefined) found.set(record.event.header.seq, record);
  }
  return { found, damaged };
}

function lost(writer: RecordWriter, head: ChainPosition, now: number): WrittenRecord {
  const seq = head.seq + 1;
  return writer.make(head, {
    type: "gap",
    body: { gap: { from: seq, to: seq, reason: "its record was damaged on the proxy's disk" } },
    contents: [],
    time: new Date(now).toISOString(),
  });
}

interface OpenSegment extends Segment {
  readonly lines: Buffer[];
}

function begin(input: RewriteInput, after: ChainPosition): OpenSegment {
  const line = Buffer.from(startLine({ after, startedAt: input.now }));
  const firstSeq = after.seq + 1;
  return {
    file: segmentFile(input.directory, input.generation, firstSeq),
    firstSeq,
    bytes: line.length,
    startedAt: input.now,
    lines: [line],
  };
}

function finish({ lines, ...segment }: OpenSegment): Segment {
  writeSegment(segment.file, Buffer.concat(lines));
  return segment;
}
