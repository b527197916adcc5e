// Takes the credential out of texts that are kept, and out of what an answer says in its fields: an upstream may write what it was sent there. Pure.
import type { Lease } from "../../../contract/control.ts";
import { percentEncoded } from "./query.ts";

/** Shorter ones occur by themselves. */
const shortestTelling = 6;
/** In fields, which mean something to the agent: a password may be a word of theirs (`no-transform`). */
const shortestInField = 16;
/** What stands in their place in a recording. */
const concealed = "[credential]";

export function concealCredential(lease: Lease): (text: string) => string {
  const known = concealers.get(lease);
  if (known !== undefined) return known;
  const made = concealerOf(lease);
  concealers.set(lease, made);
  return made;
}

/** By lease, which serves many requests. */
const concealers = new WeakMap<Lease, (text: string) => string>();

function concealerOf(lease: Lease): (text: string) => string {
  const spellings = spellingsIn(lease, shortestTelling);
  return (text) => spellings.reduce((left, spelling) => left.replaceAll(spelling, concealed), text);
}

/** For values of an answer's fields; undefined where nothing is taken out. One that travels in a query is found by its parameter, too (query.ts). */
export function concealInFields(lease: Lease): ((value: string) => string) | undefined {
  const spellings = spellingsIn(lease, shortestInField);
  const shortest = spellings.at(-1)?.length;
  if (shortest === undefined) return undefined;
  // Most values are shorter than a credential.
  return (value) =>
    value.length < shortest
      ? value
      : spellings.reduce((left, spelling) => left.replaceAll(spelling, concealed), value);
}

/** The longest first. */
function spellingsIn(lease: Lease, least: number): readonly string[] {
  return [...new Set(secretsOf(lease).flatMap(spellingsOf))]
    .filter((spelling) => spelling.length >= least)
    .toSorted((a, b) => b.length - a.length);
}

function secretsOf(lease: Lease): readonly string[] {
  switch (lease.kind) {
    case "headers":
      return lease.headers.flatMap(({ value }) => [value, ...headerParts(value)]);
    case "query":
      return [lease.value];
    case "awsSigV4":
      return [lease.secretAccessKey, lease.sessionToken ?? ""];
    case "password":
      return [lease.password];
    case "none":
      return [];
    default:
      return lease satisfies never;
  }
}

/** `Bearer X` is told apart from X by some; of Basic the password as well. */
function headerParts(value: string): readonly string[] {
  const [scheme = "", ...parts] = value.split(" ");
  if (scheme.toLowerCase() !== "basic") return parts;
  const [, ...password] = Buffer.from(parts.join(""), "base64").toString("utf8").split(":");
  return [...parts, password.join(":")];
}

function spellingsOf(secret: string): readonly string[] {
  return [secret, percentEncoded(secret), JSON.stringify(secret).slice(1, -1)];
}
