// Bounds how many tokens a statement has before it is parsed: the parser's time and the size of its tree follow their number, not that of the bytes.

/** 64 KiB hold 32,000 of one character each, which take the parser and the walkers half a second; a list of numbers has some 20 thousand. */
export const maxTokens = 20_000;

/** Blanks, or one token that is no quotation and no comment. Names take in digits, dollars and whatever is not ASCII. */
const plain = /\s+|[a-z_\u0080-\uffff][\w$\u0080-\uffff]*|\d+(?:\.\d+)?|\$\d+|[^]/giy;
const escapeString = /[^'\\]*(?:\\[^][^'\\]*|''[^'\\]*)*/y;
const dollarTag = /\$(?:[a-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/iy;

/** At least as many as PostgreSQL's lexer would find, as far as the text is well-formed; linear in the text. */
export function exceedsTokens(text: string, limit: number = maxTokens): boolean {
  // So few characters cannot hold more.
  if (text.length <= limit) return false;
  // Comments nest: where there are any, everything counts, quoted or not.
  const skipsQuoted = !text.includes("/*");
  let count = 0;
  let at = 0;
  while (at < text.length) {
    const end = skipsQuoted ? quotedEnd(text, at) : undefined;
    if (end === undefined) {
      plain.lastIndex = at;
      const [found = ""] = plain.exec(text) ?? [];
      at += Math.max(1, found.length);
      if (/^\s/.test(found)) continue;
    } else at = end;
    count += 1;
    if (count > limit) return true;
  }
  return false;
}

/** Where the quotation or line comment that begins here ends; the end of the text where it has none, for there the lexer stops. */
function quotedEnd(text: string, at: number): number | undefined {
  switch (text[at]) {
    case "'":
    case '"':
      return doubledEnd(text, at);
    case "e":
    case "E":
      return text[at + 1] === "'" ? escapedEnd(text, at + 2) : undefined;
    case "-":
      return text[at + 1] === "-" ? after(text, "\n", at) : undefined;
    case "$": {
      dollarTag.lastIndex = at;
      const tag = dollarTag.exec(text)?.[0];
      return tag === undefined ? undefined : after(text, tag, at + tag.length);
    }
    default:
      return undefined;
  }
}

function doubledEnd(text: string, at: number): number {
  const quote = text[at] ?? "'";
  for (let end = text.indexOf(quote, at + 1); end !== -1; end = text.indexOf(quote, end + 2))
    if (text[end + 1] !== quote) return end + 1;
  return text.length;
}

function escapedEnd(text: string, at: number): number {
  escapeString.lastIndex = at;
  escapeString.exec(text);
  return Math.min(text.length, escapeString.lastIndex + 1);
}

function after(text: string, closing: string, from: number): number {
  const end = text.indexOf(closing, from);
  return end === -1 ? text.length : end + closing.length;
}
