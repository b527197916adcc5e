// A text that PostgreSQL's grammar here cannot parse (a newer server's syntax, a fork's) and that a rule may let through by `unrecognised`: one statement
// that, whatever else it does, is none of those by which a session's state is kept track of. The lexer tells: it has not changed for as long as there is one.
import type { Token } from "./nesting.ts";

/** What a statement that begins so does to transactions, settings, cursors, or by code or files nobody sees. */
const neverFirst: ReadonlySet<string> = new Set([
  "abort",
  "begin",
  "call",
  "checkpoint",
  "close",
  "commit",
  "do",
  "end",
  "exec",
  "fetch",
  "load",
  "move",
  "release",
  "reset",
  "rollback",
  "savepoint",
  "set",
  "show",
  "start",
  "use",
]);
/** Wherever these stand, a name, a cursor or the protocol's COPY may be meant. */
const nowhere: ReadonlySet<string> = new Set([
  "copy",
  "deallocate",
  "declare",
  "discard",
  "execute",
  "prepare",
  "program",
]);
/** Settings are stored with these, for sessions to come. */
const keepers: ReadonlySet<string> = new Set([
  "database",
  "group",
  "role",
  "session",
  "system",
  "user",
]);

/** Why no rule lets such a text through; empty where one may. */
export function neverUnparsed(text: string, scan: (text: string) => readonly Token[]): string {
  let words: readonly string[];
  try {
    words = scan(text)
      .filter(({ tokenName }) => !tokenName.endsWith("_COMMENT"))
      .map((token) => wordOf(token));
  } catch {
    return "nobody can tell where its words end";
  }
  const [first = "", second = ""] = words;
  const end = words.indexOf(";");
  if (end >= 0 && end < words.length - 1) return "it is more than one statement";
  if (!/^[a-z_]/.test(first)) return "it does not begin with the name of a statement";
  if (neverFirst.has(first) || (first === "alter" && keepers.has(second)))
    return `it begins like ${first.toUpperCase()}, which would change the session unseen`;
  const known = words.find((word) => nowhere.has(word));
  return known === undefined ? "" : `${known.toUpperCase()} in it might change the session unseen`;
}

/** Quoted names and texts are no words of the language. */
function wordOf({ text, tokenName }: Token): string {
  return tokenName === "SCONST" || text.startsWith('"') || text.startsWith("'")
    ? ""
    : text.toLowerCase();
}
