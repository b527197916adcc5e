// What may be said about a case: where two servers read different requests, the origin behind us got neither; where it got one, all read that.
import { normalisePath } from "../../policy/http/path.ts";
import { readQuery } from "../../policy/http/query.ts";
import { spellTarget } from "../../policy/http/target.ts";
import type { Arrived } from "../integration/http-byte-origin.ts";
import type { Read, Reading } from "../http-readers/reader.ts";

export interface Played {
  readonly bytes: string;
  /** What the origin got. */
  readonly arrived: readonly Arrived[];
  readonly faults: readonly string[];
  readonly reads: Readonly<Record<string, Read>>;
}

/**
 * Why the case must not be; undefined when all is well. What the origin got is, in the same order, part of what each other
 * server reads; between and before that stands only what we refused, what all the others read alike, and what none of them
 * refuses or waits for.
 */
export function judge({ arrived, faults, reads }: Played): string | undefined {
  const [fault] = faults;
  if (fault !== undefined) return `the origin got ${fault}`;
  const ours = arrived.filter(({ cut }) => !cut).map(saidByUs);
  if (ours.length === 0) return undefined;
  const others = Object.entries(reads).map(([name, { readings, waits }]) => ({
    name,
    waits,
    said: readings.map(said),
    readings,
  }));
  // Where all the others refuse sooner or later, as far as one of them went.
  const [places] = others
    .map((other) => ({ other, at: placesOf(ours, other.said) }))
    .toSorted((a, b) => b.at.length - a.at.length);
  const isLeft = (places?.at.length ?? 0) < ours.length;
  if (
    places === undefined ||
    places.at.length === 0 ||
    (isLeft && others.some(({ waits }) => waits))
  )
    return `the origin got ${show(ours)}; the others read ${others.map((one) => `${one.name}: ${show(one.said)}`).join("; ")}`;
  const end = (places.at.at(-1) ?? 0) + 1;
  for (let at = 0; at < end; at += 1) {
    const wanted = places.other.said[at];
    for (const { name, waits, said: lines } of others) {
      if (lines[at] === wanted) continue;
      if (lines[at] !== undefined)
        return `request ${at}: ${places.other.name} reads ${show([wanted])}, ${name} ${show([lines[at]])}, the origin got ${show(ours)}`;
      if (waits) return `request ${at}: ${name} waits for more, the origin got ${show(ours)}`;
      if (at < end - 1 && !places.at.includes(at) && !isAmbiguous(places.other.readings[at]))
        return `request ${at} was refused and is refused by ${name}, but the origin got ${show(ours)}`;
      break;
    }
  }
  return undefined;
}

/** Where each of ours stands among theirs, in order. */
function placesOf(ours: readonly string[], theirs: readonly string[]): number[] {
  const places: number[] = [];
  for (const one of ours) {
    const at = theirs.indexOf(one, (places.at(-1) ?? -1) + 1);
    if (at < 0) break;
    places.push(at);
  }
  return places;
}

/** Refused for its target or for whom it names, which say nothing about where it ends. */
function isAmbiguous(reading: Reading | undefined): boolean {
  if (reading !== undefined && !said(reading).endsWith(" a")) return true;
  const [path = "", ...query] = (reading?.target ?? "").split("?");
  return "problem" in normalisePath(path) || "problem" in readQuery(query.join("?"));
}

/** Whether the servers differ among themselves: such cases are what the search is for. */
export function differ({ reads }: Played): boolean {
  const all = Object.values(reads).map(({ readings }) => readings.map(said).join("\n"));
  return new Set(all).size > 1;
}

function said({ method, target, host, body }: Reading): string {
  const local = target.replace(/^https?:\/\/[^/?]*/i, "");
  const path = local.startsWith("/") ? local : `/${local}`;
  const name = host.toLowerCase().replace(/:80$/, "").replace(/\.$/, "");
  return `${method} ${spellTarget(path)} ${body} ${name}`;
}

function saidByUs({ line, body }: Arrived): string {
  const [method = "", target = ""] = line.split(" ");
  return `${method} ${spellTarget(target)} ${Buffer.from(body, "latin1").toString("base64")} a`;
}

function show(said: readonly (string | undefined)[]): string {
  return JSON.stringify(said).slice(0, 300);
}
