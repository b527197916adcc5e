// Where something stands in a text, and the checks that several detectors share.

export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Only for patterns whose every repetition is bounded, so that each start costs a constant. */
export function spansOf(text: string, pattern: RegExp): Span[] {
  return Array.from(text.matchAll(pattern), (match) => ({
    start: match.index,
    end: match.index + match[0].length,
  }));
}

export function isDigit(character: string): boolean {
  return character >= "0" && character <= "9";
}

/** ISO/IEC 7812-1, annex B: over the digits, the check digit last. */
export function passesLuhn(digits: string): boolean {
  let sum = 0;
  for (let index = 0; index < digits.length; index += 1) {
    const digit = Number(digits[digits.length - 1 - index]);
    const doubled = index % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}
