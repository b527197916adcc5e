// Finds what has no longest form, tokens (JWT) and private keys, in a text that comes in pieces. What goes on for longer than
// `longestHeld` is not held back any more: it is hidden from its beginning to its end, whatever its transform would show of it.
import type { Span } from "./spans.ts";

/** UTF-16 units of a finding that are held back to be masked whole. PGP keys of 4096 bits have 7,000, headers with a token at most 16,384. */
export const longestHeld = 16_384;

export interface LongSpan extends Span {
  /** Longer than what is held: hidden whole, and perhaps not over. */
  readonly isLong: boolean;
  /** What follows of a long one that was told before. */
  readonly resumes: boolean;
}

export interface LongFinder {
  /**
   * Looks at a text of which the last characters may be new, and says where its undecided end begins. Each finding is told once;
   * one that is too long is told with what is there of it, and again with what follows.
   *
   * @param isEnd nothing follows
   */
  scan(text: string, isEnd: boolean, found: (span: LongSpan) => void): number;
  /** The text lost its first characters. */
  moved(by: number): void;
}

const begin = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----/g;
const end = /-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----/g;
/** Of a line that begins or ends a key. */
const longestLine = 80;
const openBegin = /(?:-{1,5}|-----B(?:E(?:G(?:IN?)?)?)?|-----BEGIN [A-Z0-9 ]{0,57}-{0,4})$/;

/** A key whose end is missing is hidden to the end of the text. */
export function privateKeys(from: number): LongFinder {
  /** Where the key that has begun begins; -1 outside of one. */
  let start = -1;
  let isLong = false;
  /** No beginning or end of a key begins before it. */
  let searched = from;

  /** False when the key goes on. */
  function close(text: string, isEnd: boolean, found: (span: LongSpan) => void): boolean {
    const resumes = isLong;
    end.lastIndex = searched;
    const isClosed = end.exec(text) !== null;
    const stop = isClosed ? end.lastIndex : text.length;
    isLong ||= stop - start > longestHeld;
    if (isClosed || isEnd || isLong) found({ start, end: stop, isLong, resumes });
    searched = isClosed ? stop : Math.max(searched, stop - longestLine);
    if (isClosed) {
      start = -1;
      isLong = false;
    }
    return isClosed;
  }

  return {
    scan(text, isEnd, found) {
      for (;;) {
        if (start !== -1 && !close(text, isEnd, found)) {
          if (isEnd) return text.length;
          // Of a long one what could begin its last line stays.
          return isLong ? Math.max(start, searched) : start;
        }
        begin.lastIndex = searched;
        const match = begin.exec(text);
        if (match === null) break;
        start = match.index;
        searched = begin.lastIndex;
      }
      searched = Math.max(searched, text.length - longestLine);
      const open = isEnd ? null : openBegin.exec(text.slice(searched));
      return open === null ? text.length : searched + open.index;
    },
    moved(by) {
      // Of a long one the beginning may be gone.
      if (start !== -1) start = Math.max(0, start - by);
      searched = Math.max(0, searched - by);
    },
  };
}

const partEnd = /[^A-Za-z0-9_-]/g;
const runEnd = /[^A-Za-z0-9_.-]/g;
const shortestHeader = 10;

type Progress =
  | { readonly at: "nothing" }
  /** In the header, or behind its dot. */
  | { readonly at: "header"; readonly start: number }
  /** `eyJ….eyJ` was seen, and perhaps the dot behind the payload. */
  | {
      readonly at: "payload";
      readonly start: number;
      readonly payload: number;
      readonly dots: number;
    }
  | { readonly at: "long" };

const nothing: Progress = { at: "nothing" };

/** Header, payload and signature in base64url; a header or payload begins `eyJ`. A header longer than what is held is none. */
export function webTokens(from: number): LongFinder {
  let progress: Progress = nothing;
  /** Looked at so far. */
  let position = from;

  const indexOf = (pattern: RegExp, text: string): number => {
    pattern.lastIndex = position;
    return pattern.exec(text)?.index ?? text.length;
  };

  function seek(text: string, isEnd: boolean): number | undefined {
    const start = text.indexOf("eyJ", position);
    if (start >= 0) {
      progress = { at: "header", start };
      position = start;
      return undefined;
    }
    const partial = isEnd ? 0 : text.endsWith("ey") ? 2 : text.endsWith("e") ? 1 : 0;
    position = Math.max(position, text.length - partial);
    return text.length - partial;
  }

  function header(text: string, start: number, isEnd: boolean): number | undefined {
    const stop = indexOf(partEnd, text);
    if (stop - start > longestHeld) {
      position = start + longestHeld;
      progress = nothing;
      return undefined;
    }
    position = stop;
    const isOver = stop < text.length && (text[stop] !== "." || stop - start < shortestHeader);
    const next = text.slice(stop + 1, stop + 4);
    if (!isOver && next === "eyJ") {
      progress = { at: "payload", start, payload: stop + 1, dots: 0 };
      position = stop + 1;
      return undefined;
    }
    if (!isOver && !isEnd && (stop === text.length || "eyJ".startsWith(next))) return start;
    progress = nothing;
    return undefined;
  }

  function payload(
    text: string,
    { start, payload: second, dots }: Extract<Progress, { at: "payload" }>,
    isEnd: boolean,
    found: (span: LongSpan) => void,
  ): number | undefined {
    const stop = indexOf(partEnd, text);
    if (stop - start > longestHeld) {
      progress = { at: "long" };
      position = stop;
      found({ start, end: stop, isLong: true, resumes: false });
      return undefined;
    }
    position = stop;
    if (stop === text.length && !isEnd) return start;
    if (dots === 0 && text[stop] === ".") {
      progress = { at: "payload", start, payload: second, dots: 1 };
      position = stop + 1;
      return undefined;
    }
    if (dots === 1) found({ start, end: stop, isLong: false, resumes: false });
    progress = nothing;
    // The payload may be the header of another one.
    position = second;
    return undefined;
  }

  function long(text: string, found: (span: LongSpan) => void): number | undefined {
    const start = position;
    position = indexOf(runEnd, text);
    if (position > start) found({ start, end: position, isLong: true, resumes: true });
    if (position === text.length) return text.length;
    progress = nothing;
    return undefined;
  }

  return {
    scan(text, isEnd, found) {
      for (;;) {
        const open =
          progress.at === "nothing"
            ? seek(text, isEnd)
            : progress.at === "header"
              ? header(text, progress.start, isEnd)
              : progress.at === "payload"
                ? payload(text, progress, isEnd, found)
                : long(text, found);
        if (open !== undefined) return open;
      }
    },
    moved(by) {
      position = Math.max(0, position - by);
      if (progress.at === "header") progress = { at: "header", start: progress.start - by };
      else if (progress.at === "payload")
        progress = { ...progress, start: progress.start - by, payload: progress.payload - by };
    },
  };
}
