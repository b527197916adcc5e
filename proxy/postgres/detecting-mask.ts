// Detectors over the cells of one column: texts are rewritten; a binary value that no text can be put into becomes NULL when something is found in it.
import { isUtf8 } from "node:buffer";
import type { TextMasker } from "../../policy/mask/detect.ts";
import { readBytea, writeBytea } from "./bytea-text.ts";
import type { Field } from "./decode.ts";
import type { CellMask, Detected } from "./masking.ts";

/** Types whose values are no text: bool, numbers, dates and times, uuid. Every other type is looked at. */
const withoutText: ReadonlySet<number> = new Set([
  16, 20, 21, 23, 26, 700, 701, 790, 1082, 1083, 1114, 1184, 1186, 1266, 1700, 2950,
]);
/** name, text, json, xml, unknown, bpchar, varchar: their binary format is their text. */
const textInBinary: ReadonlySet<number> = new Set([19, 25, 114, 142, 705, 1042, 1043]);
const json: ReadonlySet<number> = new Set([114, 3802]);
const jsonb = 3802;
/** Its bytes are looked at as the text that they may be. */
const bytea = 17;

/** Undefined where a column of this type holds no text. */
export function createDetectingMask(
  masker: TextMasker,
  field: Field,
  detected: Detected,
): CellMask | undefined {
  if (withoutText.has(field.type)) return undefined;
  const { look, mask } = masker;
  /** The masked text of these bytes; undefined where nothing was found. */
  const masked = (
    buffer: Buffer,
    start: number,
    end: number,
    encoding: "utf8" | "latin1" = "utf8",
  ): string | undefined => {
    const suspects = look(buffer, start, end);
    if (suspects === 0) return undefined;
    const text = buffer.toString(encoding, start, end);
    const found = mask(text, suspects);
    if (found.text === text) return undefined;
    for (const [detector, count] of Object.entries(found.counts))
      detected.set(detector, (detected.get(detector) ?? 0) + count);
    return json.has(field.type) ? asJson(found.text) : found.text;
  };
  if (field.type === bytea)
    return (buffer, start, end) => {
      const value =
        field.format === 0 ? readBytea(buffer, start, end) : buffer.subarray(start, end);
      // What is no UTF-8 keeps its other bytes as they are.
      const encoding = isUtf8(value) ? "utf8" : "latin1";
      const text = masked(value, 0, value.length, encoding);
      if (text === undefined) return undefined;
      const hidden = Buffer.from(text, encoding);
      return field.format === 0 ? writeBytea(hidden) : hidden;
    };
  if (field.format === 0 || textInBinary.has(field.type))
    return (buffer, start, end) => bytes(masked(buffer, start, end));
  if (field.type === jsonb)
    return (buffer, start, end) => {
      const text = masked(buffer, start + 1, end);
      return text === undefined ? undefined : Buffer.from(`\u0001${text}`);
    };
  return (buffer, start, end) => (masked(buffer, start, end) === undefined ? undefined : null);
}

function bytes(text: string | undefined): Buffer | undefined {
  return text === undefined ? undefined : Buffer.from(text);
}

/** A masked number inside JSON may leave it broken; then the whole becomes one string. */
function asJson(text: string): string {
  try {
    JSON.parse(text);
    return text;
  } catch {
    return JSON.stringify(text);
  }
}
