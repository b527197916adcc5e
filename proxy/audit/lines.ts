// Record lines as bytes: where the parts of one stand, and whether it is what was written, without making objects of it. Pure.
import { hash as digest } from "node:crypto";
import { parseRecord } from "./record.ts";

const newline = 0x0a;
const closingBrace = 0x7d;
/** `{"header":{"bodyHash":"sha256-…","prev":…}` as record.ts writes it: the canonical header has its members in order. */
const start = '{"header":{"bodyHash":"';
const headerAt = '{"header":'.length;
const bodyHashAt = start.length;
const hashLength = "sha256-".length + 43;
const headerEnd = '},"hash":"';
const bodyMark = '","body":';

/** Where the line that starts at `from` ends, its newline included; -1 when it is not whole. */
export function lineEnd(bytes: Buffer, from: number): number {
  return bytes.indexOf(newline, from) + 1 || -1;
}

/** Whole lines as texts, without their newlines. */
export function textsIn(bytes: Buffer): readonly string[] {
  return bytes.toString("utf8").split("\n").filter(Boolean);
}

/** Where the last of some whole lines starts. */
export function lastLine(bytes: Buffer): number {
  return bytes.lastIndexOf(newline, bytes.length - 2) + 1;
}

/** The hash of the event in a line, which starts at `from`; undefined when it has none. */
export function hashOf(bytes: Buffer, from: number): string | undefined {
  const at = bytes.indexOf(headerEnd, from, "latin1");
  if (at < 0) return undefined;
  const hashAt = at + headerEnd.length;
  return bytes.toString("latin1", hashAt, hashAt + hashLength);
}

/**
 * Whether a line (without its newline) is what was written as number `seq`: header and body have the digests it names.
 * One with contents is read whole instead: where its body ends is not to be seen from outside.
 */
export function isIntact(line: Buffer, seq: number): boolean {
  const end = line.indexOf(headerEnd, headerAt, "latin1") + 1;
  if (end === 0 || !line.subarray(headerAt, end).includes(`"seq":${seq},"stream":`)) return false;
  const hashAt = end - 1 + headerEnd.length;
  const bodyAt = hashAt + hashLength + bodyMark.length;
  const isAsHashed =
    line.toString("latin1", 0, bodyHashAt) === start &&
    line.toString("latin1", hashAt + hashLength, bodyAt) === bodyMark &&
    line[line.length - 1] === closingBrace &&
    sha256(line.subarray(headerAt, end)) === line.toString("latin1", hashAt, hashAt + hashLength) &&
    sha256(line.subarray(bodyAt, line.length - 1)) ===
      line.toString("latin1", bodyHashAt, bodyHashAt + hashLength);
  return isAsHashed || parseRecord(line.toString("utf8"))?.event.header.seq === seq;
}

function sha256(bytes: Buffer): string {
  return `sha256-${digest("sha256", bytes, "base64url")}`;
}
