// National identity and tax numbers whose own check digits tell them from other numbers.
import { passesLuhn, type Span } from "./spans.ts";

interface Kind {
  /** As it is written; every repetition bounded. */
  readonly form: RegExp;
  /** Over its characters without blanks, dots and dashes, in capitals. */
  readonly passes: (characters: string) => boolean;
}

const kinds: readonly Kind[] = [
  // Spain: DNI and NIE
  { form: /(?<![\w-])(?:\d{8}|[XYZ]-?\d{7})-?[A-HJ-NP-TV-Z](?![\w-])/gi, passes: passesDni },
  // Italy: codice fiscale
  {
    form: /(?<!\w)[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z](?!\w)/gi,
    passes: passesCodiceFiscale,
  },
  // France: NIR, with its key
  {
    form: /(?<![\w-])[12](?:\d{14}|(?: \d\d){3} \d{3} \d{3} \d\d)(?![\w-])/g,
    passes: passesNir,
  },
  // Brazil: CPF, as it is printed
  { form: /(?<![\w.])\d{3}\.\d{3}\.\d{3}-\d\d(?![\w-])/g, passes: passesCpf },
  // Poland: PESEL
  { form: /(?<![\w.-])\d{11}(?![\w-]|\.\d)/g, passes: passesPesel },
  // Germany: Steuer-ID
  {
    form: /(?<![\w.-])[1-9]\d(?:\d{9}|(?: \d{3}){3})(?![\w-]|\.\d)/g,
    passes: passesSteuerId,
  },
  // India: Aadhaar, as it is printed
  { form: /(?<![\w-])[2-9]\d{3} \d{4} \d{4}(?![\w-]| \d)/g, passes: passesVerhoeff },
  // Canada: SIN, as it is printed
  { form: /(?<![\w-])[1-79]\d\d([ -])\d{3}\1\d{3}(?![\w-])/g, passes: passesLuhn },
  // Sweden: personnummer
  {
    form: /(?<![\w-])(?:19|20)?\d\d(?:0[1-9]|1[0-2])[0-3]\d-\d{4}(?![\w-])/g,
    passes: (digits) => passesLuhn(digits.slice(-10)),
  },
  // United Kingdom: National Insurance number; it has no check digit, but few two letters begin one
  {
    form: /(?<!\w)(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?:\d{6}|(?: \d\d){3} )[A-D](?!\w)/g,
    passes: () => true,
  },
];

export function nationalId(text: string): Span[] {
  return kinds.flatMap((kind) => numbersOf(text, kind));
}

/** What only has the form hides no number that begins within it: `555 130 692 544`. */
function numbersOf(text: string, { form, passes }: Kind): Span[] {
  const spans: Span[] = [];
  form.lastIndex = 0;
  for (let match = form.exec(text); match !== null; match = form.exec(text)) {
    const [number] = match;
    if (passes(number.replaceAll(/[ .-]/g, "").toUpperCase()))
      spans.push({ start: match.index, end: form.lastIndex });
    else form.lastIndex = match.index + 1;
  }
  return spans;
}

/** Orden INT 1751/1990: the letter is the number modulo 23. */
function passesDni(characters: string): boolean {
  const first = "XYZ".indexOf(characters.charAt(0));
  const digits = first < 0 ? characters.slice(0, 8) : `${first}${characters.slice(1, 8)}`;
  return "TRWAGMYFPDXBNJZSQVHLCKE"[Number(digits) % 23] === characters.at(-1);
}

/** Decreto ministeriale 23/12/1976: odd places by this table, even places by their order. */
function passesCodiceFiscale(characters: string): boolean {
  const odd = [
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
  ];
  let sum = 0;
  for (let index = 0; index < 15; index += 1) {
    const code = characters.charCodeAt(index);
    const value = code <= 0x39 ? code - 0x30 : code - 0x41;
    sum += index % 2 === 0 ? (odd[value] ?? 0) : value;
  }
  return characters.charCodeAt(15) === 0x41 + (sum % 26);
}

/** The key is 97 less the number modulo 97 (Corsica's letters are not looked for). */
function passesNir(digits: string): boolean {
  return 97 - (Number(digits.slice(0, 13)) % 97) === Number(digits.slice(13));
}

function passesCpf(digits: string): boolean {
  if (/^(\d)\1+$/.test(digits)) return false;
  const check = (length: number): number => {
    let sum = 0;
    for (let index = 0; index < length; index += 1)
      sum += Number(digits[index]) * (length + 1 - index);
    return ((sum * 10) % 11) % 10;
  };
  return check(9) === Number(digits[9]) && check(10) === Number(digits[10]);
}

/** A date of birth, the month raised by the century, and a weighted sum. */
function passesPesel(digits: string): boolean {
  const month = Number(digits.slice(2, 4)) % 20;
  const day = Number(digits.slice(4, 6));
  if (month < 1 || month > 12 || day < 1 || day > 31) return false;
  const weights = [1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1];
  return weights.reduce((sum, weight, index) => sum + weight * Number(digits[index]), 0) % 10 === 0;
}

/** ISO/IEC 7064 MOD 11,10; of the first ten digits exactly one occurs twice or three times. */
function passesSteuerId(digits: string): boolean {
  const repeated = [...new Set(digits.slice(0, 10))].filter(
    (digit) => digits.slice(0, 10).split(digit).length > 2,
  );
  const [twice, ...more] = repeated;
  if (twice === undefined || more.length > 0 || digits.slice(0, 10).split(twice).length > 4)
    return false;
  let product = 10;
  for (let index = 0; index < 10; index += 1) {
    const sum = (Number(digits[index]) + product) % 10 || 10;
    product = (sum * 2) % 11;
  }
  return (11 - product) % 10 === Number(digits[10]);
}

/** Verhoeff, Error Detecting Decimal Codes (1969): multiplication in the dihedral group D5. */
function passesVerhoeff(digits: string): boolean {
  const times = (a: number, b: number): number => {
    if (a < 5) return b < 5 ? (a + b) % 5 : 5 + ((a + b - 5) % 5);
    return b < 5 ? 5 + ((a - 5 - b + 5) % 5) : (a - b + 5) % 5;
  };
  const step = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
  let check = 0;
  for (let index = 0; index < digits.length; index += 1) {
    let value = Number(digits[digits.length - 1 - index]);
    for (let turn = 0; turn < index % 8; turn += 1) value = step[value] ?? 0;
    check = times(check, value);
  }
  return check === 0;
}
