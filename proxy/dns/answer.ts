// What the proxy's DNS says to a query: the names of the pod's Connections have their one address each, no other name exists. Pure;
// nothing that is asked goes any further, so that no query carries anything out.
import { isIPv4 } from "node:net";

import { firstVirtualAddress, proofName, virtualIPv6 } from "../../contract/redirect.ts";
import {
  internet,
  rcodes,
  readQuery,
  types,
  writeAnswer,
  writeFailure,
  type Query,
} from "./message.ts";

/** Lower case name to IPv4 address. */
export type NamedAddresses = ReadonlyMap<string, string>;

export interface NamesOptions {
  readonly names: NamedAddresses;
  /** What the pod can dial: a name has no address of a family that it cannot. */
  readonly families: readonly (4 | 6)[];
  /** The search list of the pod's resolv.conf: libraries try every name below each of them first. */
  readonly search: readonly string[];
}

export interface Said {
  /** Undefined: nothing. */
  readonly response: Buffer | undefined;
  /** The name that does not exist here, as the program will have meant it: for the record. */
  readonly unknown?: string;
}

/** Names stay as they are for a pod's life; a library that asks again costs little. */
const ttlSeconds = 60;

export function answerTo(message: Buffer, options: NamesOptions): Said {
  const query = readQuery(message);
  if (!("question" in query)) return { response: writeFailure(query) };
  const rcode = problemOf(query);
  if (rcode !== undefined) return { response: writeAnswer(query, { rcode, ttlSeconds: 0 }) };
  const known = query.name === undefined ? undefined : addressOf(query.name, options.names);
  if (known !== undefined) {
    // The verifier's question is the same in every pod, and nobody dials what it is told.
    const families = query.name === proofName ? ([4, 6] as const) : options.families;
    const address = recordOf(known, query.type, families);
    return {
      response: writeAnswer(query, {
        rcode: rcodes.noError,
        ttlSeconds,
        ...(address !== undefined && { address }),
      }),
    };
  }
  const response = writeAnswer(query, { rcode: rcodes.nameError, ttlSeconds: 0 });
  const unknown = meant(query.name, options);
  return unknown === undefined ? { response } : { response, unknown };
}

function problemOf(query: Query): number | undefined {
  if (query.ednsVersion !== 0) return rcodes.badVersion;
  // ANY and zone transfers (251 to 255) are no look-ups of a program (RFC 8482).
  return query.class !== internet || (query.type > 250 && query.type <= types.any)
    ? rcodes.refused
    : undefined;
}

function addressOf(name: string, names: NamedAddresses): string | undefined {
  return name === proofName ? firstVirtualAddress : names.get(name);
}

/** Undefined: the name is there and has no such record. */
function recordOf(address: string, type: number, families: readonly (4 | 6)[]): Buffer | undefined {
  if (type === types.a && families.includes(4)) return bytesOfIPv4(address);
  return type === types.aaaa && families.includes(6)
    ? bytesOfIPv6(virtualIPv6(address))
    : undefined;
}

/** Without the search domain that a library added; undefined where it is a known name, which the library comes to by itself. */
function meant(name: string | undefined, { names, search }: NamesOptions): string | undefined {
  if (name === undefined) return "(not a host name)";
  const domain = search.find((one) => name.endsWith(`.${one}`));
  const bare = domain === undefined ? name : name.slice(0, -domain.length - 1);
  return names.has(bare) ? undefined : bare;
}

export function bytesOfIPv4(address: string): Buffer {
  if (!isIPv4(address)) throw new TypeError(`${address} is not an IPv4 address`);
  return Buffer.from(address.split(".").map(Number));
}

/** Of an address whose one run of zeros is written `::`. */
export function bytesOfIPv6(address: string): Buffer {
  const [head = "", tail = ""] = address.split("::");
  const groups = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
  const [first, last] = [groups(head), groups(tail)];
  const all = [...first, ...Array<number>(8 - first.length - last.length).fill(0), ...last];
  return Buffer.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}
