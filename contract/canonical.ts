// Writes canonical JSON (RFC 8785) as the UTF-8 bytes that are hashed, spooled and sent, without making a text of them first.
import { hash as digest } from "node:crypto";
import { MemberOrders } from "./member-order.ts";

/** Deeper JSON is refused: nothing we record nests like this, and a recursive walk must end before the stack does. */
export const maxJsonDepth = 64;

/** Thrown for what JSON or RFC 8785 cannot carry: NaN, bigint, functions, lone surrogates, cycles. */
export class NotCanonical extends TypeError {
  override readonly name = "NotCanonical";
}

/** Room for nearly every event without growing. */
const initialBytes = 16 * 1024;
/** What grew beyond this for a large text is given back. */
const maxKeptBytes = 256 * 1024;
/** Of UTF-8 for one UTF-16 code unit, at most. */
const bytesPerUnit = 3;
/** A longer string is searched and copied by the engine; for a short one a loop costs less than the two calls. */
const shortString = 28;

const quote = 0x22;
const comma = 0x2c;
const backslash = 0x5c;
const zero = 0x30;
/** ASCII that stands in JSON as it is. */
const isPlain = Uint8Array.from({ length: 128 }, (_, code) =>
  code >= 0x20 && code < 0x7f && code !== quote && code !== backslash ? 1 : 0,
);
const isNotPlain = /[^ !#-[\]-~]/;
/** Beyond ASCII nothing needs an escape but halves of surrogate pairs, and they cannot be written at all. */
const needsEscape = /[^ !#-[\]-\ud7ff\ue000-\uffff]/;
const point = 0x2e;
/** Whole numbers below this, and tenths of them, are written digit by digit: counts, sizes and durations. */
const manyDigits = 100_000_000;

/** Empty until it is first written. Weak, so it needs no bound of its own. */
const stableForms = new WeakMap<object, Uint8Array>();
const unwritten = new Uint8Array();

/**
 * Says that this object and all in it never change again: its canonical form is written once and kept with it. The
 * subject, the connection and the decision of a rule stand in every event of a session.
 */
export function stable<T extends object>(value: T): T {
  if (!stableForms.has(value)) stableForms.set(value, unwritten);
  return value;
}

export class CanonicalWriter {
  #bytes = Buffer.allocUnsafeSlow(initialBytes);
  #length = 0;
  readonly #orders = new MemberOrders((name) => Buffer.from(`,${quoted(name)}:`));

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** Starts anew; what `view` gave before is overwritten. */
  reset(): void {
    this.#length = 0;
    if (this.#bytes.length > maxKeptBytes) this.#bytes = Buffer.allocUnsafeSlow(initialBytes);
  }

  /** What was written from here on; valid until more is written or it starts anew. */
  view(from: number): Buffer {
    return this.#bytes.subarray(from, this.#length);
  }

  toString(): string {
    return this.#bytes.toString("utf8", 0, this.#length);
  }

  /** `sha256-` + base64url(SHA-256) of what was written from here on. */
  hash(from: number): string {
    return `sha256-${digest("sha256", this.view(from), "base64url")}`;
  }

  /** Text as it stands. */
  raw(text: string): void {
    this.#reserve(text.length * bytesPerUnit);
    this.#length += this.#bytes.write(text, this.#length, "utf8");
  }

  /** ASCII as it stands. */
  ascii(text: string): void {
    this.#reserve(text.length);
    this.#length += this.#bytes.write(text, this.#length, "latin1");
  }

  /** What was written between two places, once more. */
  again(from: number, to: number): void {
    this.#reserve(to - from);
    this.#bytes.copyWithin(this.#length, from, to);
    this.#length += to - from;
  }

  /** Plain data. Members that are `undefined` are left out, as JSON.stringify does. Throws NotCanonical, having written some of it. */
  value(value: unknown, depth = 0): void {
    switch (typeof value) {
      case "string":
        this.string(value);
        return;
      case "number":
        this.number(value);
        return;
      case "boolean":
        this.ascii(value ? "true" : "false");
        return;
      case "object":
        if (value === null) this.ascii("null");
        else if (depth === maxJsonDepth)
          throw new NotCanonical(`nested deeper than ${maxJsonDepth}`);
        else if (Array.isArray(value)) this.#array(value, depth + 1);
        else this.#object(value, depth + 1);
        return;
      default:
        throw new NotCanonical(`a ${typeof value} has no place in JSON`);
    }
  }

  number(value: number): void {
    if (value >= 0 && value < manyDigits) {
      const whole = Math.floor(value);
      if (whole === value) {
        this.#digits(whole);
        return;
      }
      const tenths = Math.round(value * 10);
      // No shorter decimal is nearer to it, so that this is its ECMAScript form.
      if (tenths / 10 === value) {
        this.#digits(whole);
        this.#byte(point);
        this.#digits(tenths - whole * 10);
        return;
      }
    }
    if (!Number.isFinite(value)) throw new NotCanonical("a number is not finite");
    // ECMAScript's own form is the one that RFC 8785 section 3.2.2.3 asks for.
    this.ascii(String(value));
  }

  string(value: string): void {
    if (value.length <= shortString) this.#shortString(value);
    else if (isNotPlain.test(value)) this.raw(quoted(value));
    else {
      this.#reserve(value.length + 2);
      this.#bytes[this.#length] = quote;
      this.#length += 1 + this.#bytes.write(value, this.#length + 1, "latin1");
      this.#bytes[this.#length++] = quote;
    }
  }

  #shortString(value: string): void {
    this.#reserve(shortString + 2);
    const bytes = this.#bytes;
    let at = this.#length;
    bytes[at++] = quote;
    for (let index = 0; index < value.length; index += 1) {
      const code = value.charCodeAt(index);
      if (isPlain[code] !== 1) {
        this.raw(quoted(value));
        return;
      }
      bytes[at++] = code;
    }
    bytes[at++] = quote;
    this.#length = at;
  }

  #digits(value: number): void {
    let count = 1;
    for (let unit = 10; unit <= value; unit *= 10) count += 1;
    this.#reserve(count);
    let rest = value;
    for (let at = this.#length + count - 1; at >= this.#length; at -= 1) {
      const tens = Math.floor(rest / 10);
      this.#bytes[at] = zero + rest - tens * 10;
      rest = tens;
    }
    this.#length += count;
  }

  #array(items: readonly unknown[], depth: number): void {
    const start = this.#length;
    for (let index = 0; index < items.length; index += 1) {
      const item = items[index];
      this.#byte(comma);
      this.value(item === undefined ? null : item, depth);
    }
    this.#enclose(start, 0x5b, 0x5d);
  }

  #object(object: object, depth: number): void {
    const kept = stableForms.get(object);
    if (kept !== undefined && kept.length > 0) {
      this.#copy(kept);
      return;
    }
    const start = this.#length;
    const values: readonly unknown[] = Object.values(object);
    for (const { at, lead } of this.#orders.of(Object.keys(object))) {
      const value = values[at];
      if (value === undefined) continue;
      this.#copy(lead);
      this.value(value, depth);
    }
    this.#enclose(start, 0x7b, 0x7d);
    if (kept !== undefined) stableForms.set(object, Buffer.from(this.view(start)));
  }

  #copy(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** The comma before the first member makes room for the bracket. */
  #enclose(start: number, open: number, close: number): void {
    if (this.#length === start) this.#byte(open);
    else this.#bytes[start] = open;
    this.#byte(close);
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = byte;
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2));
    this.#bytes.copy(grown, 0, 0, this.#length);
    this.#bytes = grown;
  }
}

/** For those that need one now and then, one after another: nothing that is written calls back. */
const shared = new CanonicalWriter();

/** RFC 8785 form of plain data. Members that are `undefined` are left out, as JSON.stringify does. */
export function canonicalJson(value: unknown): string {
  shared.reset();
  shared.value(value);
  return shared.toString();
}

/** `sha256-` + base64url(SHA-256) of its canonical form. */
export function hashCanonical(value: unknown): string {
  shared.reset();
  shared.value(value);
  return shared.hash(0);
}

/** `sha256-` + base64url(SHA-256(text as UTF-8)). */
export function sha256(text: string): string {
  return `sha256-${digest("sha256", text, "base64url")}`;
}

/** A string as JSON has it. */
function quoted(value: string): string {
  if (!needsEscape.test(value)) return `"${value}"`;
  if (!value.isWellFormed()) throw new NotCanonical("a string holds half of a surrogate pair");
  return JSON.stringify(value);
}
