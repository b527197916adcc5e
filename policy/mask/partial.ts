// The `partial` transform: all but the ends of a value becomes stars, counted in code points. For strings, and for UTF-8 bytes without decoding them.

const star = 0x2a;

/** A value that is no longer than what would be kept is hidden whole. */
export function partialText(value: string, keepFirst: number, keepLast: number): string {
  const points = Array.from(value);
  const middle = points.length - keepFirst - keepLast;
  if (middle <= 0) return "*".repeat(points.length);
  return (
    points.slice(0, keepFirst).join("") +
    "*".repeat(middle) +
    points.slice(points.length - keepLast).join("")
  );
}

/** The same of well-formed UTF-8; a byte that begins no code point counts with the one before it. */
export function partialBytes(value: Buffer, keepFirst: number, keepLast: number): Buffer {
  let points = 0;
  for (let index = 0; index < value.length; index += 1) if (begins(value[index])) points += 1;
  const middle = points - keepFirst - keepLast;
  if (middle <= 0) return Buffer.alloc(points, star);
  const first = offsetOf(value, points, keepFirst);
  const last = offsetOf(value, points, points - keepLast);
  const masked = Buffer.allocUnsafe(first + middle + value.length - last);
  for (let index = 0; index < first; index += 1) masked[index] = value[index] ?? 0;
  for (let index = first; index < first + middle; index += 1) masked[index] = star;
  for (let index = last; index < value.length; index += 1)
    masked[index - last + first + middle] = value[index] ?? 0;
  return masked;
}

function begins(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) !== 0x80;
}

/** Where the code point of this number begins, of `points`. */
function offsetOf(value: Buffer, points: number, point: number): number {
  if (points === value.length) return point;
  let seen = 0;
  for (let index = 0; index < value.length; index += 1) {
    if (!begins(value[index])) continue;
    if (seen === point) return index;
    seen += 1;
  }
  return value.length;
}
