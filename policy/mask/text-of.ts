// Which transforms may be applied to the text that PostgreSQL makes of a value, as in `born::text`.
//
// DateStyle, TimeZone, IntervalStyle, extra_float_digits and bytea_output are the session's to set. A transform that leaves part of
// a text must not meet the same value in several spellings: each would leave another part.
import type { MaskedColumn } from "./masked-columns.ts";

/** name, text, char, varchar; bool, integers, oid, json, xml, cidr, inet, macaddr8, macaddr, numeric, uuid, jsonb. */
const onlySpelling: ReadonlySet<number> = new Set([
  19, 25, 1042, 1043, 16, 20, 21, 23, 26, 114, 142, 650, 869, 774, 829, 1700, 2950, 3802,
]);
/** bytea, date, time, timestamp, timestamptz, interval, timetz: several spellings, each of the whole value. Floats can be rounded. */
const wholeSpellings: ReadonlySet<number> = new Set([17, 1082, 1083, 1114, 1184, 1186, 1266]);
/**
 * Texts, date, timestamp: cut where they are written as ISO 8601 says, hidden whole otherwise. A timestamptz would move with the
 * session's time zone.
 */
const dates: ReadonlySet<number> = new Set([19, 25, 1042, 1043, 1082, 1114]);

export function masksTextOf({ transform, type }: MaskedColumn): boolean {
  switch (transform.kind) {
    case "redact":
    case "nullify":
    case "fixed":
      return true;
    case "hash":
      return onlySpelling.has(type) || wholeSpellings.has(type);
    case "truncateDate":
      return dates.has(type);
    case "tokenize":
    case "restore":
    case "partial":
      return onlySpelling.has(type);
  }
}
