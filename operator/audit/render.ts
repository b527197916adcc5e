// One frame of a replay as lines on a terminal: time, connection, label and text in columns; recorded text cannot break out of them.
import type { ReplayFrame } from "./replay.ts";
import { verdictStyle } from "./format.ts";
import { clip, escapeLine, escapeLines, pad, paint, type Style, wrap } from "./terminal.ts";

export interface RenderOptions {
  readonly color: boolean;
  /** Cells of a line. */
  readonly width: number;
}

const timeCells = 9;
const connectionCells = 16;
const labelCells = 13;
/** Narrower terminals get lines that wrap; better than one word a line. */
const minTextCells = 24;
/** Lines of one recorded text; the rest is counted. `chaperone sessions show -o json` has it all. */
export const maxTextLines = 40;

/** The frame, each line ended by a newline. */
export function renderFrame(frame: ReplayFrame, { color, width }: RenderOptions): string {
  const textCells = Math.max(minTextCells, width - timeCells - connectionCells - labelCells - 6);
  const margin = " ".repeat(timeCells + connectionCells + labelCells + 6);
  const head = [
    paint(pad(offset(frame.offsetMs), timeCells), "dim", color),
    paint(pad(clip(escapeLine(frame.connection), connectionCells), connectionCells), "cyan", color),
    paint(pad(clip(escapeLine(frame.label), labelCells), labelCells), labelStyle(frame), color),
  ].join("  ");
  const lines = [
    ...summaryLines(frame, textCells),
    ...frame.texts.flatMap((text) => textLines(text, textCells, color)),
  ];
  const [first = "", ...rest] = lines;
  return [`${head}  ${first}`.trimEnd(), ...rest.map((line) => `${margin}${line}`.trimEnd())]
    .map((line) => `${line}\n`)
    .join("");
}

function summaryLines(frame: ReplayFrame, width: number): readonly string[] {
  const chain =
    frame.chain === undefined || frame.kind !== "request" ? "" : `[${escapeLine(frame.chain)}] `;
  return wrap(`${chain}${escapeLine(frame.summary)}`, width);
}

function textLines(
  { part, text, truncated }: ReplayFrame["texts"][number],
  width: number,
  color: boolean,
): readonly string[] {
  const all = escapeLines(text).flatMap((line) => wrap(line, width - 2));
  const shown = all.slice(0, maxTextLines).map((line) => `${paint("│", "dim", color)} ${line}`);
  const missing = all.length - shown.length;
  const notes = [
    missing > 0 ? `${missing} more lines` : "",
    truncated ? "cut when it was recorded" : "",
  ].filter((note) => note !== "");
  return notes.length === 0
    ? shown
    : [...shown, paint(`└ ${escapeLine(part)}: ${notes.join(", ")}`, "dim", color)];
}

function labelStyle({ kind, label }: ReplayFrame): Style | undefined {
  if (kind === "verdict" || kind === "notice")
    return verdictStyle(label === "unknown" ? "error" : label);
  if (kind === "request") return "bold";
  return kind === "response" ? "blue" : "dim";
}

/** `+0.000s`, `+83.250s`, `+1h02m03s`: as narrow as it can be. */
function offset(ms: number): string {
  if (ms < 1_000_000) return `+${(ms / 1000).toFixed(3)}s`;
  const seconds = Math.floor(ms / 1000);
  const two = (value: number): string => String(value).padStart(2, "0");
  return `+${Math.floor(seconds / 3600)}h${two(Math.floor(seconds / 60) % 60)}m${two(seconds % 60)}`;
}
