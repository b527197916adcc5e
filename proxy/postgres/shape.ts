// One key for texts that differ only in integers they compare with or assign (`WHERE aid = 17`), so that such statements are understood once.

/** Longer texts are understood one by one; their integers are the smallest part of the work. */
const maxShapedLength = 4 * 1024;
/** Data statements alone: in SET and its like a number is the very thing to be looked at. */
const dataStatement = /^\s*(?:select|insert|update|delete)\b/i;
/** Quotes of any kind, comments, escapes, a second statement and what is not ASCII: there a digit may not be what it seems. Passwords are hidden token by token. */
const unclear = /['"\\`\u0080-\uffff]|--|\/\*|\$[^\d]|\$$|;\s*\S|=>|password/i;
/**
 * A whole integer right behind `=`, `<` or `>`: a constant for the grammar wherever it stands, and never a column number as
 * in ORDER BY 2. At most nine digits, which PostgreSQL reads as int4 like the 0 that stands for them. Not behind `=>`.
 */
const compared = /((?:[^=<>]=|[<>]=?)\s?)\d{1,9}(?![\w.$])/g;

/** Undefined where a text is its own shape. */
export function shapeOf(text: string): string | undefined {
  if (text.length > maxShapedLength || !dataStatement.test(text) || unclear.test(text))
    return undefined;
  const shape = text.replace(compared, "$10");
  return shape === text ? undefined : shape;
}
