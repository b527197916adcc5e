// Every bind parameter as texts that detectors can look at, whatever its format and type.
import { textOfBytes } from "../../policy/sql/readings.ts";
import type { Spoken } from "../../policy/sql/findings.ts";
import { binaryTexts } from "./binary-texts.ts";
import { readBytea } from "./bytea-text.ts";
import { readInt16, readInt32 } from "./decode.ts";

const bytea = 17;

/** @param parameters of a Bind message, from its formats on; it has been read before, so its lengths are right */
export function parameterTexts(parameters: Buffer, types: readonly number[]): Spoken {
  const end = parameters.length;
  const formats = readInt16(parameters, 0, end);
  const texts: string[] = [];
  const unread: string[] = [];
  let at = 2 + 2 * formats;
  const count = readInt16(parameters, at, end);
  at += 2;
  for (let index = 0; index < count; index++) {
    const length = readInt32(parameters, at, end);
    at += 4;
    if (length < 0) continue;
    const bytes = parameters.subarray(at, at + length);
    at += length;
    const format = formats === 0 ? 0 : parameters.readInt16BE(2 + 2 * (formats === 1 ? 0 : index));
    const type = types[index] ?? 0;
    if (format === 0) texts.push(...writtenTexts(bytes, type));
    else if (!binaryTexts(bytes, type, texts))
      unread.push(
        `parameter ${index + 1} (binary, ${type === 0 ? "no type said" : `type ${type}`})`,
      );
  }
  return { texts, unread: unread.length === 0 ? undefined : unread.slice(0, maxNamed).join(", ") };
}

/** Parameters that a message names. */
const maxNamed = 5;

function writtenTexts(bytes: Buffer, type: number): string[] {
  const text = textOfBytes(bytes);
  return type === bytea ? [text, textOfBytes(readBytea(bytes, 0, bytes.length))] : [text];
}
