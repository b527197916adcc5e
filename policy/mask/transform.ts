// What a mask makes of one whole value. Pure: equal values give equal masks, so rows can still be joined where that is wanted.
import { createHmac } from "node:crypto";
import type { Transform } from "../bundle.ts";
import { partialText } from "./partial.ts";
import { createTokenize } from "./tokenize.ts";

export type MaskValue = (value: string | null) => string | null;

export const redactedText = "[redacted]";
/** 128 bits of HMAC-SHA256: no collisions among the rows of any table, half the width. */
const hashHexLength = 32;

/** @param key of the `hash` and `tokenize` transforms; one per namespace. */
export function createTransform(transform: Transform, key: Uint8Array): MaskValue {
  const mask = maskText(transform, key);
  // NULL stays NULL: it hides nothing that was there.
  return (value) => (value === null ? null : mask(value));
}

function maskText(transform: Transform, key: Uint8Array): (value: string) => string | null {
  switch (transform.kind) {
    case "redact":
      return () => redactedText;
    case "nullify":
      return () => null;
    case "fixed":
      return () => transform.value;
    case "hash":
      return (value) =>
        createHmac("sha256", key).update(value, "utf8").digest("hex").slice(0, hashHexLength);
    case "tokenize":
      return createTokenize(key);
    case "restore":
      // Where nobody keeps what it stands for, it is hidden for good.
      return () => redactedText;
    case "partial":
      return (value) => partialText(value, transform.keepFirst, transform.keepLast);
    case "truncateDate":
      return (value) => truncateDate(value, transform.to) ?? redactedText;
  }
}

export type DatePrecision = Extract<Transform, { kind: "truncateDate" }>["to"];

/** `2024-05-17` or a timestamp beginning so; undefined for every other spelling (other DateStyles, BC, infinity). */
export function truncateDate(value: string, to: DatePrecision): string | undefined {
  const match = /^(\d{4,6})-(\d\d)-(\d\d)(?:[ T][\d:.]+(?:Z|[+-]\d\d(?::?\d\d){0,2})?)?$/.exec(
    value,
  );
  if (match === null) return undefined;
  const [, year = "", month = "", day = ""] = match;
  switch (to) {
    case "year":
      return `${year}-01-01`;
    case "month":
      return `${year}-${month}-01`;
    case "day":
      return `${year}-${month}-${day}`;
  }
}
