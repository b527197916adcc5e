// How tolerant servers read a path or a parameter's name: other letters, a final slash or dot, a format behind it. A Deny is held against each
// such reading, so that a spelling that the server forgives cannot lead around it. A permission is only ever held against what was written.

/** Suffixes that frameworks cut off to choose the format of an answer (Rails, Django REST, Spring before 5.3, Phoenix). Others are not known. */
const format = /\.(?:json|xml|html?|csv|txt|pdf|ya?ml|js|rss|atom|action|do|aspx?|php|jsp)$/;
/** Windows drops these at the end of a name. */
const dropped = /[. ]+(?=\/|$)/g;
const ascii = /^[\x20-\x7e]*$/;
/** Nothing in it that anybody folds, drops or cuts off, as in most paths. */
const settled = /^[-_~a-z0-9/]*$/;

/**
 * Without letters' case and compatible forms, and without what file systems drop.
 *
 * @param path decoded, or a pattern: `*` stays what it is
 */
export function foldPath(path: string): string {
  const whole = ascii.test(path) ? path : path.normalize("NFKC").toUpperCase();
  const folded = whole.toLowerCase();
  return folded.includes(".") || folded.includes(" ") ? folded.replace(dropped, "") : folded;
}

/** Every way in which a tolerant server could read the path, folded, with and without a final slash. */
export function tolerantReadings(path: string): readonly string[] {
  if (settled.test(path)) return withAndWithoutSlash(path);
  const folded = foldPath(path);
  const readings = withAndWithoutSlash(folded);
  // A server that decodes before it looks for the query or fragment.
  const end = folded.search(/[?#]/);
  if (end > 0) readings.push(...withAndWithoutSlash(folded.slice(0, end)));
  const bare = (readings[0] ?? "").replace(format, "");
  if (bare !== readings[0]) readings.push(...withAndWithoutSlash(bare));
  return readings;
}

/** Without it first. */
function withAndWithoutSlash(path: string): string[] {
  if (path === "/" || path === "") return ["/"];
  const bare = path.endsWith("/") ? path.slice(0, -1) : path;
  return [bare, `${bare}/`];
}

/** PHP cuts a name at `[…]`, skips blanks before it and reads `.`, ` ` and a lone `[` as `_`; ASP.NET and others ignore case. */
export function foldParameter(name: string): string {
  const bracket = name.indexOf("[", 1);
  const bare = bracket < 0 || !name.includes("]", bracket) ? name : name.slice(0, bracket);
  return bare.trimStart().toLowerCase().replace(/[. []/g, "_");
}
