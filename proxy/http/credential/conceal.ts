// Takes the credential out of texts that are kept: an upstream may write what it was sent into its answer. Pure.
import type { Lease } from "../../../contract/control.ts";
import { percentEncoded } from "./query.ts";

/** Shorter ones occur by themselves. */
const shortestTelling = 6;
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
  const spellings = [...new Set(secretsOf(lease).flatMap(spellingsOf))]
    .filter((spelling) => spelling.length >= shortestTelling)
    .toSorted((a, b) => b.length - a.length);
  return (text) => spellings.reduce((left, spelling) => left.replaceAll(spelling, concealed), text);
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
