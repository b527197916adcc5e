// Durations as manifests write them (`50s`, `1h30m`, `90d`), in seconds.

const secondsPer: Readonly<Record<string, number>> = { d: 86_400, h: 3600, m: 60, s: 1 };

/** Throws on anything else than up to four numbers with d, h, m or s: `10m`, `1h30m`. */
export function parseDuration(text: string): number {
  if (!/^(?:[0-9]{1,5}[dhms]){1,4}$/.test(text)) {
    throw new RangeError(
      `'${text}' is no duration; write a number with d, h, m or s, for example 10m or 1h30m`,
    );
  }
  let seconds = 0;
  for (const [, count, unit] of text.matchAll(/([0-9]+)([dhms])/g)) {
    seconds += Number(count) * (secondsPer[unit ?? ""] ?? 0);
  }
  return seconds;
}

/** Whole days, rounded up: nothing is kept for less long than was asked. */
export function parseDays(text: string): number {
  return Math.ceil(parseDuration(text) / 86_400);
}
