// One key for texts that differ only in integers they compare with or assign (`WHERE aid = 17`), so that such statements are understood once.

/** Longer texts are understood one by one; their integers are the smallest part of the work. */
const maxShapedLength = 4 * 1024;
/** Data statements alone: in SET and its like a number is the very thing to be looked at. */
const dataStatement = /^\s*(?:select|insert|update|delete)\b/i;
/** PostgreSQL reads as many as int4, like the 0 that stands for them. */
const maxDigits = 9;

/** What may begin at a character: nothing of interest, a comparison, what `isUnclear` looks for, or something in which a digit may not be what it seems. */
type Role = "plain" | "comparison" | "doubtful" | "unclear";

/** Of ASCII; all else is unclear. */
const roles: readonly Role[] = Array.from({ length: 128 }, (_, code) => {
  const character = String.fromCharCode(code);
  if ("'\"\\`".includes(character)) return "unclear";
  if ("-/$;pP".includes(character)) return "doubtful";
  return "=<>".includes(character) ? "comparison" : "plain";
});

/**
 * The text with a 0 for each whole integer right behind `=`, `<` or `>`: a constant for the grammar wherever it stands, and never a column number as
 * in ORDER BY 2. Undefined where a text is its own shape. Every simple query of a driver comes by here, so it is one pass by hand: with regular
 * expressions it took as long as deciding.
 */
export function shapeOf(text: string): string | undefined {
  if (text.length > maxShapedLength || !dataStatement.test(text)) return undefined;
  let shape = "";
  let copied = 0;
  for (let at = 0; at < text.length; at++) {
    const role = roles[text.charCodeAt(at)] ?? "unclear";
    if (role === "plain") continue;
    if (role === "comparison") {
      if (text.startsWith("=>", at)) return undefined;
      const from = operandOf(text, at, copied);
      const end = from < 0 ? -1 : integerEnd(text, from);
      if (end < 0) continue;
      shape += `${text.slice(copied, from)}0`;
      copied = end;
      at = end - 1;
    } else if (role === "unclear" || isUnclear(text, at)) return undefined;
  }
  shape += text.slice(copied);
  return shape === text ? undefined : shape;
}

/** Comments, quotes by dollars, a second statement; passwords, which are hidden token by token. */
function isUnclear(text: string, at: number): boolean {
  switch (text[at]) {
    case "-":
      return text[at + 1] === "-";
    case "/":
      return text[at + 1] === "*";
    case "$":
      return !isDigit(text.charCodeAt(at + 1));
    case ";":
      return text.length > at + 1 && text.slice(at + 1).trim() !== "";
    default:
      return /^password/i.test(text.slice(at, at + 8));
  }
}

/** Where the operand of the comparison at `at` begins, behind at most one blank of ASCII; -1 where this is no whole `=`, `<`, `>`, `<=` or `>=`. */
function operandOf(text: string, at: number, copied: number): number {
  let behind = at + 1;
  if (text[at] !== "=") {
    if (text[behind] === "=") behind += 1;
  } else if (at <= copied || roles[text.charCodeAt(at - 1)] === "comparison") return -1;
  return /[\t-\r ]/.test(text[behind] ?? "") ? behind + 1 : behind;
}

/** Where the integer that begins here ends; -1 where none does, or one that is more than it seems (`1e5`, `1.5`). */
function integerEnd(text: string, from: number): number {
  let end = from;
  while (isDigit(text.charCodeAt(end))) end += 1;
  if (end === from || end - from > maxDigits) return -1;
  return /[\w.$]/.test(text[end] ?? "") ? -1 : end;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}
