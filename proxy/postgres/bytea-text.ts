// bytea as PostgreSQL writes it in the text format (bytea_output hex or escape), read and written.
// https://www.postgresql.org/docs/current/datatype-binary.html

const backslash = 0x5c;
const letterX = 0x78;

/** The bytes of a value: `\x6162` is hex, anything else the escape format, in which `\\` is a backslash and `\ooo` a byte in octal. */
export function readBytea(buffer: Buffer, start: number, end: number): Buffer {
  if (buffer[start] === backslash && buffer[start + 1] === letterX)
    return Buffer.from(buffer.toString("latin1", start + 2, end), "hex");
  const out = Buffer.allocUnsafe(end - start);
  let length = 0;
  for (let at = start; at < end; length += 1) {
    const isOctal = buffer[at] === backslash && buffer[at + 1] !== backslash;
    out[length] = isOctal
      ? Number.parseInt(buffer.toString("latin1", at + 1, at + 4), 8)
      : (buffer[at] ?? 0);
    at += isOctal ? 4 : buffer[at] === backslash ? 2 : 1;
  }
  return out.subarray(0, length);
}

/** Hex is understood by every client, whatever bytea_output says: the value tells which it is. */
export function writeBytea(bytes: Buffer): Buffer {
  return Buffer.from(`\\x${bytes.toString("hex")}`, "latin1");
}
