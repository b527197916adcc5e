// The spool's files: numbered segments of JSON lines, each beginning with a line that says where in the chain it starts.
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { ChainPosition } from "../../contract/chain.ts";
import type { EventHeader } from "../../contract/event.ts";
import { parseRecord, type SpoolRecord } from "./record.ts";

/** Names the generation of segments that counts; renamed into place, so a re-chained spool replaces the old one at once. */
const generationFile = "generation";
/** Holds the last number of a spool that was closed in order. */
const closedFile = "closed";
/** The newest damaged segment, kept for whoever wants to know how it came about. */
const damagedFile = "damaged.bin";

export interface Segment {
  readonly file: string;
  readonly firstSeq: number;
  bytes: number;
  /** Milliseconds since the epoch, for the age of what is not shipped. */
  readonly startedAt: number;
}

export interface SegmentStart {
  readonly after: ChainPosition;
  readonly startedAt: number;
}

export function segmentFile(directory: string, generation: number, firstSeq: number): string {
  return join(
    directory,
    `${String(generation).padStart(6, "0")}-${String(firstSeq).padStart(16, "0")}.seg`,
  );
}

export function startLine({ after, startedAt }: SegmentStart): string {
  return `${JSON.stringify({ segment: 1, stream: after.stream, seq: after.seq, prev: after.hash, startedAt })}\n`;
}

/** `EventHeader.prev` */
const hashForm = /^sha256-[\w-]{43}$/;

function parseStart(line: string): SegmentStart | undefined {
  try {
    const value = JSON.parse(line) as {
      segment?: unknown;
      stream?: unknown;
      seq?: unknown;
      prev?: unknown;
      startedAt?: unknown;
    };
    const { segment, stream, seq, prev, startedAt } = value;
    if (
      segment !== 1 ||
      typeof stream !== "string" ||
      typeof seq !== "number" ||
      typeof prev !== "string" ||
      !hashForm.test(prev) ||
      typeof startedAt !== "number"
    )
      return undefined;
    return { after: { stream, seq, hash: prev }, startedAt };
  } catch {
    return undefined;
  }
}

export interface SegmentContent {
  readonly start: SegmentStart;
  readonly records: readonly SpoolRecord[];
  /** Bytes up to the end of the last whole record. */
  readonly goodBytes: number;
  /** A record in the middle is unreadable or does not link: not a torn write, but damage. */
  readonly damaged: boolean;
}

/** The file is gone, or its disk does not give it back: trying again does not help. (That there are no descriptors left is another matter.) */
export function isUnreadable(error: unknown): boolean {
  return (
    error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "EIO")
  );
}

/** Reads a whole segment. Undefined when there is nothing to read: it was being created when the process ended. */
export function readSegment(file: string): SegmentContent | undefined {
  const bytes = readFileSync(file);
  const end = bytes.indexOf(10);
  const stated = end < 0 ? undefined : parseStart(bytes.toString("utf8", 0, end));
  const records: SpoolRecord[] = [];
  let position = stated?.after;
  let damaged = stated === undefined;
  let goodBytes = end + 1;
  for (
    let from = end + 1, to = bytes.indexOf(10, from);
    to >= 0;
    from = to + 1, to = bytes.indexOf(10, from)
  ) {
    const record = parseRecord(bytes.toString("utf8", from, to));
    if (record === undefined) continue;
    const { header, hash } = record.event;
    damaged ||= goodBytes !== from || !links(header, position);
    position = { stream: header.stream, seq: header.seq, hash };
    records.push(record);
    goodBytes = to + 1;
  }
  const start = stated ?? startBefore(records[0]);
  return start === undefined ? undefined : { start, records, goodBytes, damaged };
}

function links(header: EventHeader, after: ChainPosition | undefined): boolean {
  return (
    after !== undefined &&
    header.seq === after.seq + 1 &&
    header.prev === after.hash &&
    header.stream === after.stream
  );
}

/** The first line is gone but records are there. */
function startBefore(first: SpoolRecord | undefined): SegmentStart | undefined {
  if (first === undefined) return undefined;
  const { stream, seq, prev, time } = first.event.header;
  return { after: { stream, seq: seq - 1, hash: prev }, startedAt: Date.parse(time) };
}

const segmentForm = /^(\d{6})-(\d{16})\.seg$/;

/** The segments that count, oldest first. Leftovers of another generation are removed. */
export function listSegments(directory: string): {
  readonly generation: number;
  readonly files: readonly { readonly file: string; readonly firstSeq: number }[];
} {
  const generation = generationOf(directory);
  const files: { file: string; firstSeq: number }[] = [];
  for (const name of readdirSync(directory).sort()) {
    const match = segmentForm.exec(name);
    if (match === null) continue;
    const file = join(directory, name);
    if (Number(match[1]) === generation) files.push({ file, firstSeq: Number(match[2]) });
    else rmSync(file);
  }
  return { generation, files };
}

/** Its segments, where it does not count: while the generation file names it they stay. */
export function removeGeneration(directory: string, generation: number): void {
  if (generation === generationOf(directory)) return;
  for (const name of readdirSync(directory))
    if (Number(segmentForm.exec(name)?.[1]) === generation) rmSync(join(directory, name));
}

/** Writes one whole segment and syncs it. For re-chaining, which happens at most a few times in a pod's life. */
export function writeSegment(file: string, lines: Buffer): void {
  writeFileSync(file, lines, { mode: 0o600, flush: true });
}

function generationOf(directory: string): number {
  return Number(readMaybe(join(directory, generationFile)) ?? "0");
}

export function setGeneration(directory: string, generation: number): void {
  replaceFile(join(directory, generationFile), String(generation));
}

/** At once and durably: after a loss of power there is the old text or the new one, whole. */
export function replaceFile(file: string, text: string): void {
  writeFileSync(`${file}.tmp`, text, { mode: 0o600, flush: true });
  renameSync(`${file}.tmp`, file);
  syncFile(dirname(file));
}

/** Of a directory too: without it a new file's name may be lost although its bytes are not. */
export function syncFile(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

export function cutTorn(file: string, goodBytes: number): void {
  truncateSync(file, goodBytes);
}

export function keepDamaged(directory: string, file: string): void {
  renameSync(file, join(directory, damagedFile));
}

export function markClosed(directory: string, seq: number): void {
  writeFileSync(join(directory, closedFile), String(seq), { mode: 0o600, flush: true });
}

/** The number a spool was closed at in order; the mark is taken away, so it speaks once. */
export function takeClosedMark(directory: string): number | undefined {
  const text = readMaybe(join(directory, closedFile));
  if (text === undefined) return undefined;
  rmSync(join(directory, closedFile));
  return Number(text);
}

function readMaybe(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}
