// Finds what a policy's own RE2 pattern matches in a text that comes in pieces: the compiled program is run character by
// character, so nothing is looked at twice but what a match that failed had read.
//
// The rules are RE2's own (leftmost, then the alternative that is written first), with one bound: a match has at most
// `longestMatch` characters, whether the text comes in pieces or whole.
import { RE2JS } from "re2js";
import type { LongFinder, LongSpan } from "./stream-long.ts";

/** UTF-16 units that one match may have, and that may therefore be held back. */
export const longestMatch = 1_024;

/** The instructions of RE2's programs, as re2js numbers them. */
const alt = 1;
const altMatch = 2;
const capture = 3;
const emptyWidth = 4;
const fail = 5;
const match = 6;
const nop = 7;
const known: ReadonlySet<number> = new Set([
  alt,
  altMatch,
  capture,
  emptyWidth,
  fail,
  match,
  nop,
  8,
  9,
  10,
  11,
]);

const beginLine = 1;
const endLine = 2;
const beginText = 4;
const endText = 8;
const wordBoundary = 16;
const noWordBoundary = 32;

interface Instruction {
  readonly op: number;
  readonly out: number;
  readonly arg: number;
  matchRune(rune: number): boolean;
}

interface Program {
  readonly start: number;
  readonly instructions: readonly Instruction[];
  /** By ASCII character: whether a match could begin with it. */
  readonly begins: Uint8Array;
}

/** Throws for what is no RE2 pattern. */
export function compilePattern(pattern: string): (from: number) => LongFinder {
  const { prog } = RE2JS.compile(pattern).re2Input as unknown as {
    prog: { start: number; inst: readonly Instruction[] };
  };
  for (const { op } of prog.inst)
    if (!known.has(op))
      throw new Error(
        `the pattern ${pattern} looks behind, which a stream cannot; write it without`,
      );
  const program = { start: prog.start, instructions: prog.inst };
  const complete = { ...program, begins: beginningsOf(program) };
  return (from) => new PatternFinder(complete, from);
}

function beginningsOf({ start, instructions }: Omit<Program, "begins">): Uint8Array {
  const begins = new Uint8Array(128);
  const seen = new Set<number>();
  const pending = [start];
  for (let pc = pending.pop(); pc !== undefined; pc = pending.pop()) {
    const instruction = instructions[pc];
    if (instruction === undefined || seen.has(pc)) continue;
    seen.add(pc);
    const { op, out, arg } = instruction;
    if (op === alt || op === altMatch) pending.push(out, arg);
    else if (op === capture || op === nop || op === emptyWidth) pending.push(out);
    else if (op >= 8)
      for (let code = 0; code < 128; code += 1) if (takes(instruction, code)) begins[code] = 1;
  }
  return begins;
}

function takes(instruction: Instruction, rune: number): boolean {
  if (instruction.op === 10) return true;
  if (instruction.op === 11) return rune !== 0x0a;
  return instruction.matchRune(rune);
}

/** A way through the program that is being gone, of a match that would begin at `start`. */
interface Thread {
  readonly pc: number;
  readonly start: number;
}

class PatternFinder implements LongFinder {
  readonly #program: Program;
  /** The character at which the threads stand. */
  #position: number;
  /** Where the next match may begin. */
  #from: number;
  /** The character before the position; -1 before the text. */
  #before = -1;
  /** In the order of their precedence. */
  #threads: Thread[] = [];
  #match: { start: number; end: number } | undefined;
  readonly #visited: Uint32Array;
  #visit = 0;

  constructor(program: Program, from: number) {
    this.#program = program;
    this.#position = from;
    this.#from = from;
    this.#visited = new Uint32Array(program.instructions.length);
  }

  scan(text: string, isEnd: boolean, found: (span: LongSpan) => void): number {
    while (this.#position < text.length) {
      if (this.#threads.length === 0 && this.#match === undefined && this.#skip(text)) continue;
      const rune = text.codePointAt(this.#position) ?? -1;
      const width = rune > 0xffff ? 2 : 1;
      // Half of a pair.
      if (!isEnd && isHigh(rune) && this.#position + 1 === text.length) break;
      this.#step(rune, width, this.#position >= this.#from);
      this.#position += width;
      this.#before = rune;
      this.#settle(text, found);
    }
    if (isEnd) this.#finish(text, found);
    return this.#open(text);
  }

  moved(by: number): void {
    this.#position -= by;
    this.#from -= by;
    this.#threads = this.#threads.map(({ pc, start }) => ({ pc, start: start - by }));
    if (this.#match !== undefined)
      this.#match = { start: this.#match.start - by, end: this.#match.end - by };
  }

  /** True when no match begins with the character at the position. */
  #skip(text: string): boolean {
    const code = text.charCodeAt(this.#position);
    if (code >= 128 || this.#program.begins[code] !== 0) return false;
    this.#before = code;
    this.#position += 1;
    return true;
  }

  #open(text: string): number {
    let open = Math.min(this.#position, this.#match?.start ?? text.length);
    for (const { start } of this.#threads) if (start < open) open = start;
    return open;
  }

  /** The end of the text is seen: what holds there only is looked at. */
  #finish(text: string, found: (span: LongSpan) => void): void {
    while (this.#threads.length > 0 || this.#match !== undefined) {
      this.#step(-1, 0, false);
      this.#threads = [];
      this.#settle(text, found);
      if (this.#position >= text.length) continue;
      this.scan(text, true, found);
      return;
    }
  }

  /** The match is certain once no thread goes on; what failed threads had read is looked at again. */
  #settle(text: string, found: (span: LongSpan) => void): void {
    if (this.#match === undefined || this.#threads.length > 0) return;
    const { start, end } = this.#match;
    this.#match = undefined;
    if (end > start) found({ start, end, isLong: false, resumes: false });
    const next = end > start ? end : end + ((text.codePointAt(end) ?? 0) > 0xffff ? 2 : 1);
    this.#from = next;
    if (next >= this.#position) return;
    this.#position = next;
    this.#before = text.codePointAt(isLow(text.charCodeAt(next - 1)) ? next - 2 : next - 1) ?? -1;
  }

  #step(rune: number, width: number, mayBegin: boolean): void {
    const flags = flagsBetween(this.#before, rune);
    const position = this.#position;
    const next: Thread[] = [];
    this.#visit += 1;
    for (const { pc, start } of this.#threads) {
      if (position - start > longestMatch) continue;
      if (this.#follow(pc, start, rune, flags, next)) {
        this.#threads = next;
        return;
      }
    }
    if (mayBegin && width > 0 && this.#match === undefined)
      this.#follow(this.#program.start, position, rune, flags, next);
    this.#threads = next;
  }

  /** True when it reached a match: what comes after it in precedence is given up. */
  #follow(pc: number, start: number, rune: number, flags: number, next: Thread[]): boolean {
    if (this.#visited[pc] === this.#visit) return false;
    this.#visited[pc] = this.#visit;
    const instruction = this.#program.instructions[pc];
    if (instruction === undefined) return false;
    switch (instruction.op) {
      case alt:
      case altMatch:
        return (
          this.#follow(instruction.out, start, rune, flags, next) ||
          this.#follow(instruction.arg, start, rune, flags, next)
        );
      case capture:
      case nop:
        return this.#follow(instruction.out, start, rune, flags, next);
      case emptyWidth:
        return (
          (instruction.arg & ~flags) === 0 &&
          this.#follow(instruction.out, start, rune, flags, next)
        );
      case match:
        this.#match = { start, end: this.#position };
        return true;
      case fail:
        return false;
      default:
        if (rune >= 0 && takes(instruction, rune)) next.push({ pc: instruction.out, start });
        return false;
    }
  }
}

function flagsBetween(before: number, after: number): number {
  let flags = isWord(before) === isWord(after) ? noWordBoundary : wordBoundary;
  if (before < 0) flags |= beginText | beginLine;
  if (before === 0x0a) flags |= beginLine;
  if (after < 0) flags |= endText | endLine;
  if (after === 0x0a) flags |= endLine;
  return flags;
}

function isWord(rune: number): boolean {
  return (
    (rune >= 0x30 && rune <= 0x39) ||
    (rune >= 0x41 && rune <= 0x5a) ||
    rune === 0x5f ||
    (rune >= 0x61 && rune <= 0x7a)
  );
}

function isHigh(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}

function isLow(code: number): boolean {
  return code >= 0xdc00 && code <= 0xdfff;
}
