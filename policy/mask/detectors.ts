// Finds personal data and secrets in text. Every detector takes time linear in the text, whatever the text.
import { cloudKey } from "./cloud-keys.ts";
import { ibanLength } from "./iban-registry.ts";
import { nationalId } from "./national-ids.ts";
import { isDigit, passesLuhn, spansOf, type Span } from "./spans.ts";

export type Detector = (text: string) => Span[];

export const detectorNames = [
  "email",
  "credit-card",
  "iban",
  "us-ssn",
  "phone",
  "ip",
  "jwt",
  "private-key",
  "aws-key",
  "national-id",
  "cloud-key",
] as const;
export type DetectorName = (typeof detectorNames)[number];

export function isDetectorName(name: string): name is DetectorName {
  return (detectorNames as readonly string[]).includes(name);
}

export const detectors: Readonly<Record<DetectorName, Detector>> = {
  email,
  "credit-card": creditCard,
  iban,
  "us-ssn": (text) =>
    spansOf(text, /(?<![\d-])(?!000|666|9\d\d)\d{3}([- ])(?!00)\d\d\1(?!0000)\d{4}(?![\d-])/g),
  phone,
  ip,
  jwt,
  "private-key": privateKey,
  "aws-key": awsKey,
  "national-id": nationalId,
  "cloud-key": cloudKey,
};

/** RFC 5321: 64 characters before the @, 255 after it. */
const localPart = /[\p{L}\p{N}.!#$%&'*+/=?^_`{|}~-]/u;
const maxLocalPart = 64;

function email(text: string): Span[] {
  const spans: Span[] = [];
  const domain = /[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,62}\.){1,8}[\p{L}]{2,24}/uy;
  for (let at = text.indexOf("@"); at !== -1; at = text.indexOf("@", at + 1)) {
    let start = at;
    const floor = Math.max(spans.at(-1)?.end ?? 0, at - maxLocalPart);
    while (start > floor && localPart.test(text[start - 1] ?? "")) start -= 1;
    while (start < at && text[start] === ".") start += 1;
    domain.lastIndex = at + 1;
    const match = domain.exec(text);
    if (start < at && match !== null) spans.push({ start, end: domain.lastIndex });
  }
  return spans;
}

const shortestCard = 13;
const longestCard = 19;

/** Digits, at most one blank or dash between two of them, that begin like a card and pass Luhn's check. */
function creditCard(text: string): Span[] {
  const spans: Span[] = [];
  const start = /(?<!\d)[2-6]/g;
  for (let match = start.exec(text); match !== null; match = start.exec(text)) {
    const end = longestMatch(text, match.index, longestCard, isDigit, (digits, at) => {
      return digits.length >= shortestCard && !isDigit(text[at] ?? "") && passesLuhn(digits);
    });
    if (end === undefined) continue;
    spans.push({ start: match.index, end });
    start.lastIndex = end;
  }
  return spans;
}

/** The longest run from `from`, separators skipped, that `accept` takes; given its characters and where it ends. */
function longestMatch(
  text: string,
  from: number,
  most: number,
  belongs: (character: string) => boolean,
  accept: (characters: string, end: number) => boolean,
): number | undefined {
  let characters = "";
  let end: number | undefined;
  for (let at = from; characters.length < most;) {
    const character = text[at] ?? "";
    if (belongs(character)) {
      characters += character;
      at += 1;
      if (accept(characters, at)) end = at;
    } else if ((character === " " || character === "-") && belongs(text[at + 1] ?? "")) at += 1;
    else break;
  }
  return end;
}

function iban(text: string): Span[] {
  const spans: Span[] = [];
  const start = /(?<![A-Za-z0-9])[A-Za-z]{2}\d\d/g;
  for (let match = start.exec(text); match !== null; match = start.exec(text)) {
    const length = ibanLength(match[0].slice(0, 2).toUpperCase());
    if (length === undefined) continue;
    const end = longestMatch(
      text,
      match.index,
      length,
      isAlphanumeric,
      (characters) => characters.length === length && passesMod97(characters),
    );
    if (end !== undefined) spans.push({ start: match.index, end });
  }
  return spans;
}

function isAlphanumeric(character: string): boolean {
  return /^[A-Za-z0-9]$/.test(character);
}

function passesMod97(characters: string): boolean {
  let remainder = 0;
  for (const character of (characters.slice(4) + characters.slice(0, 4)).toUpperCase()) {
    const value = isDigit(character) ? Number(character) : character.charCodeAt(0) - 55;
    remainder = (remainder * (value > 9 ? 100 : 10) + value) % 97;
  }
  return remainder === 1;
}

function phone(text: string): Span[] {
  return [
    ...spansOf(text, /(?<![\w.+])\+[1-9](?:[ ().-]{0,2}\d){7,14}(?!\d)/g),
    ...spansOf(text, /(?<![\w.-])(?:\([2-9]\d\d\) ?|[2-9]\d\d[-. ])[2-9]\d\d[-. ]\d{4}(?![\w-])/g),
  ];
}

const octet = String.raw`(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)`;
/** The longest spelling is 45 characters: an IPv4 address at the end of a full IPv6 one. */
const ipv6Candidate = /(?<![\w:.])[0-9a-fA-F:][0-9a-fA-F:.]{1,44}(?![\w:])/g;

function ip(text: string): Span[] {
  const v4 = spansOf(
    text,
    new RegExp(String.raw`(?<![\w.])${octet}(?:\.${octet}){3}(?![\w]|\.\d)`, "g"),
  );
  const v6 = spansOf(text, ipv6Candidate).flatMap(({ start, end }) => {
    // A full stop ends sentences, not addresses.
    const trimmed = text.slice(start, end).replace(/\.$/, "");
    return isIpv6(trimmed) ? [{ start, end: start + trimmed.length }] : [];
  });
  return [...v4, ...v6];
}

function isIpv6(text: string): boolean {
  const [head = "", tail, ...more] = text.split("::");
  if (more.length > 0) return false;
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const all = [...groups(head), ...groups(tail ?? "")];
  const last = all.at(-1) ?? "";
  const v4 = last.includes(".");
  if (v4 && !new RegExp(`^${octet}(?:\\.${octet}){3}$`).test(last)) return false;
  const hex = v4 ? all.slice(0, -1) : all;
  if (!hex.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return false;
  const count = hex.length + (v4 ? 2 : 0);
  // `::` alone and `a::` are more often punctuation than addresses; without `::` all eight groups are there.
  return tail === undefined ? count === 8 : count >= 1 && count < 8 && text.length > 3;
}

/** Runs of base64url and dots, looked at once each: a pattern that began at every `eyJ` would take quadratic time. */
function jwt(text: string): Span[] {
  const spans: Span[] = [];
  for (const match of text.matchAll(/[A-Za-z0-9_.-]+/g)) {
    const parts = match[0].split(".");
    let offset = match.index;
    for (const [index, part] of parts.entries()) {
      const begin = part.indexOf("eyJ");
      const payload = parts[index + 1];
      const signature = parts[index + 2];
      if (
        begin >= 0 &&
        part.length - begin >= 10 &&
        payload?.startsWith("eyJ") === true &&
        signature !== undefined
      ) {
        spans.push({
          start: offset + begin,
          end: offset + part.length + payload.length + signature.length + 2,
        });
      }
      offset += part.length + 1;
    }
  }
  return spans;
}

/** A key whose end is missing (cut off, or still streaming) is hidden to the end of the text. */
function privateKey(text: string): Span[] {
  const spans: Span[] = [];
  const begin = /-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----/g;
  const end = /-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----/g;
  for (let match = begin.exec(text); match !== null; match = begin.exec(text)) {
    end.lastIndex = begin.lastIndex;
    const found = end.exec(text) !== null;
    const stop = found ? end.lastIndex : text.length;
    spans.push({ start: match.index, end: stop });
    if (!found) break;
    begin.lastIndex = stop;
  }
  return spans;
}

function awsKey(text: string): Span[] {
  const ids = spansOf(text, /(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])/g);
  const secrets = Array.from(
    text.matchAll(
      /aws.{0,20}?secret.{0,20}?[\s"':=]{1,6}(?<secret>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])/gis,
    ),
    (match) => ({
      start: match.index + match[0].length - (match.groups?.["secret"]?.length ?? 0),
      end: match.index + match[0].length,
    }),
  );
  return [...ids, ...secrets];
}
