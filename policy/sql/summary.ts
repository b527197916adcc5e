// Rewrites a statement for people: without its comments (the agent wrote them to be read by someone), without controls,
// and, where it is only shown, in one bounded line.
import type { Token } from "./nesting.ts";

/** One line of a terminal or a table; approvers fetch the whole statement. */
export const maxSummaryLength = 512;

type Scan = (text: string) => readonly Token[];

/** One line without comments, controls and passwords; cut at 512 characters. */
export function summarise(text: string, scan: Scan): string {
  const line = needsTokens(text) ? fromTokens(text, scan) : text;
  const shown = isPlainLine(line)
    ? line
    : line.replaceAll(/\s+/g, " ").replaceAll(invisible, "\u00b7").trim();
  if (shown.length <= maxSummaryLength) return shown;
  return `${shown.slice(0, maxSummaryLength - 1).toWellFormed()}…`;
}

/**
 * The same statement for PostgreSQL (its syntax tree is equal), with comments gone and blanks made single. Undefined when
 * the lexer cannot read the text.
 */
export function deparseForApproval(text: string, scan: Scan): string | undefined {
  try {
    return joined(text, scan(text), (token) => withoutInnerComments(token.text));
  } catch {
    return undefined;
  }
}

/** Controls and characters that reorder or hide text: what an approver sees must be what runs. */
const invisible = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\u2028\u2029\u115f\u1160\u3164\uffa0]/gu;

/** Printable ASCII with single blanks between its words, as most statements are: there is nothing to be rewritten. */
function isPlainLine(line: string): boolean {
  let wasBlank = true;
  for (let at = 0; at < line.length; at++) {
    const code = line.charCodeAt(at);
    const isBlank = code === 0x20;
    if (code < 0x20 || code > 0x7e || (isBlank && wasBlank)) return false;
    wasBlank = isBlank;
  }
  return !wasBlank;
}

function needsTokens(text: string): boolean {
  return text.includes("--") || text.includes("/*") || /password/i.test(text);
}

function fromTokens(text: string, scan: Scan): string {
  try {
    let secretNext = false;
    return joined(text, scan(text), (token) => {
      const secret = secretNext && isStringToken(token.text);
      secretNext = token.text.toLowerCase() === "password" || (secretNext && token.text === "=");
      return secret ? "'[redacted]'" : withoutInnerComments(token.text);
    });
  } catch {
    return "(a statement that cannot be read)";
  }
}

function joined(text: string, tokens: readonly Token[], write: (token: Token) => string): string {
  const parts: string[] = [];
  let position = 0;
  for (const token of tokens) {
    const at = text.indexOf(token.text, position);
    const apart = at > position;
    position = at + token.text.length;
    if (token.tokenName === "SQL_COMMENT" || token.tokenName === "C_COMMENT") {
      parts.push(" ");
      continue;
    }
    if (apart) parts.push(" ");
    parts.push(write(token));
  }
  return parts.join("").replace(/^ +| +$/g, "");
}

function isStringToken(token: string): boolean {
  return /^(?:[eEnNbBxX]|[uU]&)?'/.test(token) || token.startsWith("$");
}

/**
 * PostgreSQL joins literals that a line break separates, and the gap may hold a `--` comment: the token is then
 * `'a' -- words \n 'b'`. The pieces stay, the gap becomes a line break.
 */
function withoutInnerComments(token: string): string {
  if (!token.includes("\n") || token.startsWith("$") || !isStringToken(token)) return token;
  const backslashes = /^[eE]'/.test(token);
  let out = "";
  let inside = false;
  for (let index = 0; index < token.length; index += 1) {
    const character = token[index] ?? "";
    if (!inside) {
      if (character === "'") {
        if (out.endsWith("'")) out += "\n";
        out += character;
        inside = true;
      } else if (out === "" || /^(?:[uU]&?|[a-zA-Z])$/.test(out)) out += character;
      else if (character === "-") index = endOfLine(token, index);
    } else {
      out += character;
      if (backslashes && character === "\\") {
        out += token[index + 1] ?? "";
        index += 1;
      } else if (character === "'") {
        if (token[index + 1] === "'") {
          out += "'";
          index += 1;
        } else inside = false;
      }
    }
  }
  return out;
}

function endOfLine(text: string, from: number): number {
  const end = text.slice(from).search(/[\n\r]/);
  return end === -1 ? text.length : from + end;
}
