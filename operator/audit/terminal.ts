// Recorded text on a terminal: nothing in it may move the cursor, change colours, hide or reorder what is shown.

/**
 * C0 and C1 controls, DEL, soft hyphen, zero-width and joining characters, line and paragraph separators,
 * bidirectional controls, tags and other format characters, lone surrogates.
 */
const unsafe = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Co}]/gu;
const joiners = new Set(["\u200d"]);

/** One line: every control shows as its escape, `\n` and `\t` too. */
export function escapeLine(text: string): string {
  return text.replaceAll(unsafe, escaped);
}

/** Several lines: line feeds separate, tabs become spaces, everything else is escaped. */
export function escapeLines(text: string): readonly string[] {
  return text
    .replaceAll("\r\n", "\n")
    .split("\n")
    .map((line) => escapeLine(line.replaceAll("\t", "    ")));
}

function escaped(character: string): string {
  switch (character) {
    case "\n":
      return "\\n";
    case "\r":
      return "\\r";
    case "\t":
      return "\\t";
    default:
      if (joiners.has(character)) return character;
      return hexEscape(character.codePointAt(0) ?? 0);
  }
}

function hexEscape(code: number): string {
  const hex = code.toString(16);
  if (code <= 0xff) return `\\x${hex.padStart(2, "0")}`;
  return code <= 0xffff ? `\\u${hex.padStart(4, "0")}` : `\\u{${hex}}`;
}

/** East Asian Wide and Fullwidth, and emoji: two cells. */
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;
const combining = /[\p{Mn}\p{Me}\u200d]/u;

/** Cells that an escaped text takes. */
export function cells(text: string): number {
  let count = 0;
  for (const character of text)
    count += combining.test(character) ? 0 : wide.test(character) ? 2 : 1;
  return count;
}

/** Breaks an escaped line at `width` cells, at a space where there is one in the last third. */
export function wrap(line: string, width: number): readonly string[] {
  const lines: string[] = [];
  let rest = line;
  while (cells(rest) > width) {
    const fits = prefix(rest, width);
    const space = fits.lastIndexOf(" ");
    const cut = space > (fits.length * 2) / 3 ? space + 1 : fits.length;
    lines.push(rest.slice(0, cut).replace(/ +$/, ""));
    rest = rest.slice(cut);
  }
  return [...lines, rest];
}

/** Cuts an escaped line at `width` cells, ending with an ellipsis when something is missing. */
export function clip(line: string, width: number): string {
  return cells(line) <= width ? line : `${prefix(line, Math.max(0, width - 1))}…`;
}

export function pad(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - cells(text)));
}

function prefix(text: string, width: number): string {
  let taken = "";
  let used = 0;
  for (const character of text) {
    used += cells(character);
    if (used > width) break;
    taken += character;
  }
  // At least one character, or a caller that wraps would never end.
  return taken === "" ? (text.match(/^./u)?.[0] ?? "") : taken;
}

const styles = {
  red: 31,
  green: 32,
  yellow: 33,
  blue: 34,
  magenta: 35,
  cyan: 36,
  dim: 2,
  bold: 1,
} as const;

export type Style = keyof typeof styles;

export function paint(text: string, style: Style | undefined, color: boolean): string {
  return color && style !== undefined && text !== ""
    ? `\u001b[${styles[style]}m${text}\u001b[0m`
    : text;
}
