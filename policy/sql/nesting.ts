// Bounds how deep a statement nests before it is parsed, because the WebAssembly grammar recurses on the JavaScript stack.
//
// A stack overflow inside WebAssembly does not restore the module's own stack pointer: some thirty of them leave the
// grammar broken for good. So the depth is bounded from the text alone. The cheap bound counts every character and word
// that can add a level, wherever it stands (a literal counts too, which only over-counts); only a text above it is
// tokenised by PostgreSQL's lexer, which does not recurse, and its real depth is taken.

export interface Token {
  readonly text: string;
  readonly tokenName: string;
}

/**
 * 1 400 nested sub-selects overflow an empty stack of the default size (984 kB), the worst construct measured; the walkers
 * here need more per level than the grammar, and callers have frames of their own.
 */
export const maxNesting = 250;

const levels =
  /[([+\-*/<>=~!@#%^&|`?:]|\b(?:not|case|is|isnull|notnull|like|ilike|similar|in|between|collate|at|operator|join|union|except|intersect|explain|with|create)\b/gi;

const opening = new Set(["(", "["]);
const closing = new Set([")", "]"]);
/** What separates operands that do not nest in one another. */
const separators = new Set([
  ",",
  "and",
  "or",
  "when",
  "then",
  "else",
  "where",
  "on",
  "from",
  "having",
  "values",
  "select",
]);
const setOperations = new Set(["union", "except", "intersect"]);
const levelWord =
  /^(?:not|is|isnull|notnull|like|ilike|similar|in|between|collate|at|operator|join|explain|with|create)$/;
const operatorToken = /^[+\-*/<>=~!@#%^&|`?:]+$/;

export function nestsTooDeep(text: string, scan: (text: string) => readonly Token[]): boolean {
  let count = 0;
  for (const match of text.matchAll(levels)) {
    if (match.length > 0) count += 1;
    if (count > maxNesting) return deepestLevel(scan(text)) > maxNesting;
  }
  return false;
}

interface Level {
  /** CASE … END nests like a pair of brackets; END closes nothing else. */
  readonly opener: "bracket" | "case";
  /** Levels added since the last separator at this bracket depth. */
  operators: number;
  /** Set operations and joins chain across commas. */
  chained: number;
}

function deepestLevel(tokens: readonly Token[]): number {
  const stack: Level[] = [{ opener: "bracket", operators: 0, chained: 0 }];
  let below = 0;
  let deepest = 0;
  const open = (level: Level, opener: Level["opener"]): void => {
    below += 1 + level.operators + level.chained;
    stack.push({ opener, operators: 0, chained: 0 });
  };
  const close = (opener: Level["opener"]): void => {
    if (stack.length === 1 || stack[stack.length - 1]?.opener !== opener) return;
    stack.pop();
    const outer = stack[stack.length - 1];
    below -= outer === undefined ? 0 : 1 + outer.operators + outer.chained;
  };
  for (const token of tokens) {
    if (
      token.tokenName === "SCONST" ||
      token.tokenName === "SQL_COMMENT" ||
      token.tokenName === "C_COMMENT"
    )
      continue;
    const word = token.text.toLowerCase();
    const level = stack[stack.length - 1];
    if (level === undefined) break;
    if (opening.has(word)) open(level, "bracket");
    else if (closing.has(word)) close("bracket");
    else if (word === "case") open(level, "case");
    else if (word === "end") close("case");
    else if (word === ";") {
      level.operators = 0;
      level.chained = 0;
    } else if (separators.has(word)) {
      level.operators = 0;
    } else if (setOperations.has(word) || word === "join") {
      level.chained += 1;
    } else if (levelWord.test(word) || operatorToken.test(word)) {
      level.operators += 1;
    }
    const current = stack[stack.length - 1];
    deepest = Math.max(
      deepest,
      below + (current === undefined ? 0 : current.operators + current.chained),
    );
  }
  return deepest;
}
