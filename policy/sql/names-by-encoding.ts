// Names that a database which is not UTF-8 may read as others than the grammar does: it folds letters beyond ASCII to lower case (downcase_identifier,
// in encodings of one byte a character), and cuts a name behind 63 bytes of its own encoding.
import type { Token } from "./nesting.ts";

/** No server encoding takes more than twice the bytes of UTF-8 for a character, so that these fit into 63. */
const maxBytes = 31;

/** The spelling says the same name in every encoding: in ASCII, or short, and in lower case where it is not quoted. */
function isSameEverywhere(spelled: string): boolean {
  const isEscaped = /^u&"/i.test(spelled);
  if (!isEscaped && !/[^\p{ASCII}]/u.test(spelled)) return true;
  if (Buffer.byteLength(spelled) > maxBytes) return false;
  return spelled.endsWith('"') || spelled === spelled.toLowerCase();
}

/** Whether a name in this text may be another in a database of another encoding. Throws where the lexer fails. */
export function namesVaryByEncoding(
  text: string,
  scan: (text: string) => readonly Token[],
): boolean {
  if (!/[^\p{ASCII}]|u&"/iu.test(text)) return false;
  return scan(text).some((token) => isName(token) && !isSameEverywhere(token.text));
}

function isName({ text, tokenName }: Token): boolean {
  return tokenName === "IDENT" || /^u&"/i.test(text);
}
