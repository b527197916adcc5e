// Texts for the tests of masks: what findings are made of, whole and in pieces, and what joins them.
import fc from "fast-check";

const findings = [
  "jane@example.com|müller@bücher.example|@|a@b.io|mail|.com|4111 1111 1111 1111|4111|1111|378282246310005|5555-5555-5555-4444",
  "DE89 3704 0044 0532 0130 00|DE89|DE|gb82west12345698765432|GB82|123-45-6789|123 45 6789|123|45|6789",
  "(212) 555-2368|212.555.2368|+49 (0)30 123456-78|+1|212|555|2368|+|192.168.0.1|10.|0.|255|fe80::1ff|::|2001:db8:0:0:0:0:2:1|ffff",
  "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.sig|eyJhbGciOiJIUzI1NiJ9|.eyJzdWIiOiIxMjM0In0|.sig|eyJ|ey",
  "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----|-----BEGIN RSA PRIVATE KEY-----|-----END RSA PRIVATE KEY-----|-----BEGIN |PRIVATE KEY-----",
  "AKIAIOSFODNN7EXAMPLE|AWS secret: |aws_secret_access_key=|wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY|aws|secret",
  "12345678Z|X1234567L|X|RSSMRA85T10A562S|1 85 05 78 006 084 91|123.456.789-09|44051401359|86095742719|2341 2341 2346",
  "130 692 544|19811218-9876|AB123456C|AB 12 34 56 C|AB |12|34|56 C",
  "AIza|SyA1234567890123456789012345678901234|ghp_|glpat-|xoxb-|sk-|sk_live_|AccountKey=|abcdefghij0123456789ABCDEFGHIJ0123456789abcd",
]
  .join("|")
  .split("|");
const joins = ' |-|.|(|)| (|) |,|x|é|你|😀|\n|0|7|42| the |: |"|='.split("|");

export const pieces = fc.constantFrom(...findings, ...joins);

export const texts = fc.oneof(
  fc.array(pieces, { maxLength: 14 }).map((parts) => parts.join("")),
  fc.array(pieces, { maxLength: 9 }).map((parts) => parts.join(" ")),
  fc.string({
    unit: fc.constantFrom(..."0123456789 -.:()+@AKIeyJwsXZ_=".split("")),
    maxLength: 60,
  }),
  fc.string({ unit: "binary", maxLength: 60 }),
);

/** A text cut into pieces: where each of them ends, as parts of its length. */
export const cuts = fc.oneof(
  fc.constant("each" as const),
  fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
);

export function cutAt(text: string, at: "each" | readonly number[]): string[] {
  if (at === "each") return text.split("");
  const ends = at.map((part) => Math.round(part * text.length)).toSorted((a, b) => a - b);
  return [...ends, text.length].map((end, index) => text.slice(ends[index - 1] ?? 0, end));
}

/** Processor time of this process since then: what linear work takes, however busy the machine is. */
export function cpuMs(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1_000;
}
