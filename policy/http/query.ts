// The query of a request: its parameters as rules see them, and the one spelling in which they are sent.
import { decode } from "./path.ts";

/** Query parameters looked at; more are refused, since a rule could be hidden from behind them. */
export const maxQueryParameters = 1000;

export type Query = Readonly<Record<string, readonly string[]>>;

/** RFC 3986 section 3.4, without `+`, which is read as a space, and with `;`, which `readQuery` judges. */
const settled = /^[-A-Za-z0-9._~!$&'()*,;=:@/?]*$/;
const unreserved = /[-A-Za-z0-9._~]/;

const noParameters = Object.freeze({ value: Object.freeze({}) });

/**
 * Every occurrence of every parameter, decoded as forms are (`+` is a space).
 *
 * @param text behind the `?`
 */
export function readQuery(text: string): { readonly value: Query } | { readonly problem: string } {
  if (text === "") return noParameters;
  if (!/^[!-"$-~]*$/.test(text))
    return { problem: "the query contains a character that has to be percent-encoded" };
  if (text.includes(";"))
    return { problem: "the query contains `;`, which some servers read as `&`" };
  const pairs = text.split("&").filter((pair) => pair !== "");
  if (pairs.length > maxQueryParameters)
    return { problem: `the query has more than ${maxQueryParameters} parameters` };
  const query: Record<string, string[]> = Object.create(null);
  for (const pair of pairs) {
    const equals = pair.indexOf("=");
    const name = decode((equals < 0 ? pair : pair.slice(0, equals)).replaceAll("+", " "));
    const value = decode((equals < 0 ? "" : pair.slice(equals + 1)).replaceAll("+", " "));
    if (name === undefined || value === undefined)
      return { problem: "the query has an invalid percent-encoding or is no UTF-8" };
    if (name.includes("\0") || value.includes("\0"))
      return { problem: "the query contains a NUL, at which some servers end a text" };
    (query[name] ??= []).push(value);
  }
  return { value: query };
}

/**
 * The spelling that is sent (RFC 3986 section 6.2.2): unreserved characters as they are, what may not stand in a query
 * as `%XX`, capitals in every `%XX`. Reserved characters stay as the client wrote them, since servers that check a
 * signature over the text do. `+` becomes `%20`: all servers read that as the space that was decided on.
 */
export function spellQuery(text: string): string {
  if (settled.test(text)) return text;
  return text.replace(/%[0-9A-Fa-f]{2}|[^-A-Za-z0-9._~!$&'()*,;=:@/?%]/g, (found) => {
    if (found === "+") return "%20";
    if (found.length === 1) return `%${found.charCodeAt(0).toString(16).toUpperCase()}`;
    const character = String.fromCharCode(Number.parseInt(found.slice(1), 16));
    return unreserved.test(character) ? character : found.toUpperCase();
  });
}
