// A credential that travels as a query parameter: the agent's own copies go before anything is decided, ours comes on last, and answers that repeat it lose it. Pure.

export interface QueryCredential {
  readonly name: string;
  readonly value: string;
}

/** True for a parameter of one of these names (lower case) however it is written. Servers differ in case and in what separates parameters. */
type IsNamed = (name: string) => boolean;

/**
 * The target without parameters of these names. Everything else stays as it was written.
 *
 * @param target path and query as sent
 */
export function withoutParameters(target: string, isNamed: IsNamed): string {
  const mark = target.indexOf("?");
  if (mark < 0) return target;
  const query = target.slice(mark + 1);
  const kept = query
    .split("&")
    .filter((part) => !part.split(";").some((one) => isOf(one, isNamed)));
  const rest = kept.join("&");
  if (rest === query) return target;
  return rest === "" ? target.slice(0, mark) : `${target.slice(0, mark)}?${rest}`;
}

export function withoutParameter(target: string, name: string): string {
  const wanted = name.toLowerCase();
  return withoutParameters(target, (one) => one === wanted);
}

/** The target with the credential as its last parameter. */
export function withCredential(target: string, { name, value }: QueryCredential): string {
  const separator = target.includes("?") ? (target.endsWith("?") ? "" : "&") : "?";
  return `${target}${separator}${percentEncoded(name)}=${percentEncoded(value)}`;
}

function isOf(parameter: string, isNamed: IsNamed): boolean {
  const equals = parameter.indexOf("=");
  return isNamed(decoded(equals < 0 ? parameter : parameter.slice(0, equals)).toLowerCase());
}

/** As lenient as the most lenient server: what is no escape stands for itself. */
function decoded(text: string): string {
  return text
    .replaceAll("+", " ")
    .replaceAll(/%([0-9a-f]{2})/gi, (_escape, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    )
    .trim();
}

/** RFC 3986: every byte but the unreserved ones. */
export function percentEncoded(text: string): string {
  return encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** Shorter texts occur by themselves; they are taken out only where they stand as the parameter. */
const shortestTelling = 6;
/** Encodings inside encodings that are looked through: a redirect's `?next=` carries one. */
const escaped = "%(?:25){0,3}";

/** Takes the credential out of a header of the answer (a Location that repeats the query it was asked with). */
export function hideCredential(credential: QueryCredential): (text: string) => string {
  let hide: ((text: string) => string) | undefined;
  return (text) => {
    // Most headers are shorter than a credential, and its patterns cost more than a request.
    if (text.length < credential.value.length) return text;
    hide ??= compiled(credential);
    return hide(text);
  };
}

function compiled(credential: QueryCredential): (text: string) => string {
  const name = spelled(credential.name);
  const value = spelled(credential.value);
  const parameter = new RegExp(
    `([?&;]|${escaped}(?:3f|26|3b))${name}(?:=|${escaped}3d)${value}(&|${escaped}26|)`,
    "gi",
  );
  const anywhere = credential.value.length < shortestTelling ? undefined : new RegExp(value, "gi");
  return (text) => {
    const without = text.replaceAll(parameter, (_all, before: string, after: string) =>
      after === "" ? "" : before,
    );
    return anywhere === undefined ? without : without.replaceAll(anywhere, "removed");
  };
}

/** A pattern for the text with any of its bytes percent-encoded, also more than once. */
function spelled(text: string): string {
  let pattern = "";
  for (const byte of Buffer.from(text)) {
    const hex = byte.toString(16).padStart(2, "0");
    const plain = byte === 0x20 ? "[ +]" : `\\x${hex}`;
    pattern += `(?:${plain}|${escaped}${hex})`;
  }
  return pattern;
}
