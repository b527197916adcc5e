// A first look at the bytes of a text: which detectors could find something in it. One pass, no decoding; most cells end here.
//
// It may only err on one side: what it does not name, the detector itself must not find (a property test compares them).
import { bitOf, type Suspects } from "./detector-bits.ts";
import type { DetectorName } from "./detectors.ts";
import { DigitGroups } from "./digit-groups.ts";

/** Which of the detectors it was made for may find something in these UTF-8 bytes; 0 when none can. */
export type Look = (bytes: Uint8Array, start: number, end: number) => Suspects;

const bit = {
  email: bitOf("email"),
  ip: bitOf("ip"),
  jwt: bitOf("jwt"),
  privateKey: bitOf("private-key"),
  aws: bitOf("aws-key"),
  cloud: bitOf("cloud-key"),
};
const byDigit = (["credit-card", "iban", "us-ssn", "phone", "ip", "national-id"] as const)
  .map(bitOf)
  .reduce((bits, one) => bits | one, 0);
/** No detector: a character that a reader of JSON is shown in any case. */
const shown: Suspects = 1 << 29;

/** What a byte makes us look at; every other byte costs one load. */
const digit = 1;
const at = 2;
const colon = 3;
const dot = 4;
const dash = 5;
const capitalI = 6;
const letterW = 7;
const underscore = 8;
const equals = 9;
const letterK = 10;
const ofJson = 11;

const triggers: readonly (readonly [string, number, Suspects])[] = [
  ["0123456789", digit, byDigit],
  ["@", at, bit.email],
  [":", colon, bit.ip],
  [".", dot, bit.jwt],
  ["-", dash, bit.privateKey | bit.cloud],
  ["I", capitalI, bit.aws | bit.cloud],
  ["wW", letterW, bit.aws | shown],
  ["_", underscore, bit.cloud],
  ["=", equals, bit.cloud],
  ["kK", letterK, shown],
  ['"\\', ofJson, shown],
];

export function createLook(names: readonly DetectorName[]): Look {
  const scan = createScan(wantedOf(names));
  return (bytes, start, end) => scan(bytes, start, end, undefined);
}

/** Places in a text, in their order. */
export interface Marks {
  readonly at: Int32Array;
  count: number;
}

/**
 * Marks in a text of one byte a character the quotes and backslashes, and every place without which nothing is found around it. A
 * string without a mark inside is none that one of the detectors finds something in, nor a name that makes its value a finding.
 *
 * @param into as many places as the text has characters
 */
export type Marker = (characters: Uint8Array, end: number, into: Marks) => void;

export function createMarker(names: readonly DetectorName[]): Marker {
  const scan = createScan(wantedOf(names) | shown);
  return (characters, end, into) => {
    into.count = 0;
    scan(characters, 0, end, into);
  };
}

function wantedOf(names: readonly DetectorName[]): Suspects {
  return names.reduce((bits, name) => bits | bitOf(name), 0);
}

function createScan(
  wanted: Suspects,
): (bytes: Uint8Array, start: number, end: number, into: Marks | undefined) => Suspects {
  const classes = new Uint8Array(256);
  for (const [characters, kind, serves] of triggers)
    if ((wanted & serves) !== 0) for (const byte of Buffer.from(characters)) classes[byte] = kind;
  const groups = new DigitGroups();
  return (bytes, start, end, into) => {
    let found = 0;
    groups.begin();
    let lastColon = -2;
    let colons = 0;
    for (let index = skip(classes, bytes, start, end); index < end;) {
      const kind = classes[bytes[index] ?? 0] ?? 0;
      const place = index;
      let next = index + 1;
      let seen = 0;
      if (kind === digit) {
        while (next < end && isDigit(bytes[next])) next += 1;
        seen = groups.next(bytes, start, index, next);
      } else if (kind === colon) {
        // Groups of an address have at most four digits; `::` stands for any number of them.
        colons = index - lastColon <= 5 ? colons + 1 : 1;
        if (index - lastColon === 1 || colons >= 6) seen = bit.ip;
        lastColon = index;
      } else seen = seenAt(kind, bytes, start, index, end);
      index = skip(classes, bytes, next, end);
      if ((seen & wanted) === 0) continue;
      found |= seen;
      if (into !== undefined) into.at[into.count++] = place;
    }
    return found & wanted;
  };
}

/** The next byte that is looked at. Nearly all are passed over here: as a function of its own, several at a time, it takes a third of the time. */
function skip(classes: Uint8Array, bytes: Uint8Array, from: number, end: number): number {
  let index = from;
  while (
    index < end - 3 &&
    ((classes[bytes[index] ?? 0] ?? 0) |
      (classes[bytes[index + 1] ?? 0] ?? 0) |
      (classes[bytes[index + 2] ?? 0] ?? 0) |
      (classes[bytes[index + 3] ?? 0] ?? 0)) ===
      0
  )
    index += 4;
  while (index < end && classes[bytes[index] ?? 0] === 0) index += 1;
  return index;
}

/** By one character and those beside it. */
function seenAt(
  kind: number,
  bytes: Uint8Array,
  start: number,
  index: number,
  end: number,
): Suspects {
  switch (kind) {
    case ofJson:
      return shown;
    case at:
      return bit.email;
    case dot:
      return is(bytes, index + 1, end, "eyJ") ? bit.jwt : 0;
    case dash:
      if (is(bytes, index + 1, end, "----BEGIN ")) return bit.privateKey;
      return index - start > 1 && isBeforeDash(bytes, index) ? bit.cloud : 0;
    case capitalI:
      // AKIA, ASIA; AIza
      if (bytes[index + 1] === 0x7a) return bit.cloud;
      return bytes[index + 1] === 0x41 && bytes[index - 2] === 0x41 ? bit.aws : 0;
    case underscore:
      return isBehindToken(bytes, index, end) ? bit.cloud : 0;
    case equals:
      // Key=
      return bytes[index - 1] === 0x79 && bytes[index - 3] === 0x4b ? bit.cloud : 0;
    case letterK:
      // A name with `key` in it.
      return isLetter(bytes[index + 1], 0x65) && isLetter(bytes[index + 2], 0x79) ? shown : 0;
    default:
      return isLetter(bytes[index - 1], 0x61) && isLetter(bytes[index + 1], 0x73)
        ? bit.aws | shown
        : 0;
  }
}

/** Before an underscore: gh?_, sk_, rk_; github_pat_ */
function isBehindToken(bytes: Uint8Array, index: number, end: number): boolean {
  return (
    bytes[index - 1] === 0x6b || bytes[index - 3] === 0x67 || is(bytes, index + 1, end, "pat_")
  );
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

/** Before a dash: what GitLab's, Slack's and OpenAI's tokens begin with. */
function isBeforeDash(bytes: Uint8Array, index: number): boolean {
  const last = bytes[index - 1] ?? 0;
  return (
    (last === 0x6b && bytes[index - 2] === 0x73) ||
    (last === 0x74 && bytes[index - 2] === 0x61) ||
    (bytes[index - 2] === 0x78 && bytes[index - 3] === 0x6f)
  );
}

/** Whether it is this letter, in either case. */
function isLetter(byte: number | undefined, lower: number): boolean {
  return byte !== undefined && (byte | 0x20) === lower;
}

function is(bytes: Uint8Array, from: number, end: number, text: string): boolean {
  if (end - from < text.length) return false;
  for (let index = 0; index < text.length; index += 1)
    if (bytes[from + index] !== text.charCodeAt(index)) return false;
  return true;
}
