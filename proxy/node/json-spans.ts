// Where the values of a JSON text stand in it, so that a part can be put in or taken out and every other byte stays. Pure; for texts that JSON.parse accepts.

/** From `start` up to, not including, `end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface Member extends Span {
  readonly key: string;
}

/** Values of the object that begins at `at`, each with its key. */
export function membersOf(text: string, at: number): readonly Member[] {
  const found: Member[] = [];
  let next = firstInside(text, at);
  while (next !== undefined) {
    const keyEnd = valueEnd(text, next);
    const start = pastSpace(text, pastSpace(text, keyEnd) + 1);
    const end = valueEnd(text, start);
    found.push({ key: String(JSON.parse(text.slice(next, keyEnd))), start, end });
    next = afterComma(text, end);
  }
  return found;
}

/** Elements of the array that begins at `at`. */
export function elementsOf(text: string, at: number): readonly Span[] {
  const found: Span[] = [];
  let next = firstInside(text, at);
  while (next !== undefined) {
    const end = valueEnd(text, next);
    found.push({ start: next, end });
    next = afterComma(text, end);
  }
  return found;
}

/** Where the document's own value begins. */
export function rootOf(text: string): number {
  return pastSpace(text, 0);
}

function firstInside(text: string, open: number): number | undefined {
  const at = pastSpace(text, open + 1);
  return text[at] === "}" || text[at] === "]" ? undefined : at;
}

function afterComma(text: string, end: number): number | undefined {
  const at = pastSpace(text, end);
  return text[at] === "," ? pastSpace(text, at + 1) : undefined;
}

/** RFC 8259 section 2. */
function pastSpace(text: string, at: number): number {
  return matchEnd(/[ \t\n\r]*/y, text, at);
}

function valueEnd(text: string, at: number): number {
  if (text[at] === '"') return stringEnd(text, at);
  if (text[at] !== "{" && text[at] !== "[") return matchEnd(/[^ \t\n\r,\]}]*/y, text, at);
  let depth = 0;
  for (let next = at; next < text.length;) {
    const char = text[next];
    if (char === '"') {
      next = stringEnd(text, next);
      continue;
    }
    if (char === "{" || char === "[") depth += 1;
    if (char === "}" || char === "]") depth -= 1;
    next += 1;
    if (depth === 0) return next;
  }
  return text.length;
}

function stringEnd(text: string, at: number): number {
  for (let next = at + 1; next < text.length; next += 1) {
    if (text[next] === "\\") next += 1;
    else if (text[next] === '"') return next + 1;
  }
  return text.length;
}

function matchEnd(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  pattern.test(text);
  return pattern.lastIndex;
}
