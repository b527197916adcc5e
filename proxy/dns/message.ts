// Reads a DNS query and writes its answer (RFC 1035, EDNS of RFC 6891 as far as a query may carry it). Pure, strict: what a resolver of a
// C library does not send is refused.
import { isHostName } from "../net/host-name.ts";

export interface Query {
  readonly id: number;
  /** As it was asked, for the answer: resolvers compare it, capitals included. */
  readonly question: Buffer;
  /** Lower case, dots between labels, without the last; undefined where it is no host name. */
  readonly name: string | undefined;
  readonly type: number;
  readonly class: number;
  readonly wantsRecursion: boolean;
  readonly hasEdns: boolean;
  readonly ednsVersion: number;
}

/** What cannot be answered as asked; `id` undefined: nothing is answered at all (it is no query, or too short to say whose). */
export interface BadQuery {
  readonly id: number | undefined;
  readonly rcode: number;
}

export const types = { a: 1, aaaa: 28, any: 255 } as const;
export const internet = 1;
export const rcodes = {
  noError: 0,
  formatError: 1,
  nameError: 3,
  notImplemented: 4,
  refused: 5,
  badVersion: 16,
} as const;

/** A question has at most 255 + 4 bytes; what is left are options of EDNS, of which cookies and padding are the longest. */
export const maxQueryBytes = 1_232;

const headerBytes = 12;
const maxNameBytes = 255;
const maxLabelBytes = 63;
const optType = 41;
const optBytes = 11;
/** As much as crosses any link unfragmented (DNS flag day 2020); no answer of ours comes near it. */
const ourPayloadBytes = 1_232;
/** A name that the question already spelled: where the question stands. */
const namePointer = 0xc0_0c;

export function readQuery(message: Buffer): Query | BadQuery {
  if (message.length < headerBytes) return { id: undefined, rcode: rcodes.formatError };
  const id = message.readUInt16BE(0);
  const flags = message.readUInt16BE(2);
  // An answer is never answered, or two servers could go on for ever.
  if ((flags & 0x8000) !== 0) return { id: undefined, rcode: rcodes.formatError };
  if ((flags & 0x7800) !== 0) return { id, rcode: rcodes.notImplemented };
  const additional = message.readUInt16BE(10);
  if (
    message.length > maxQueryBytes ||
    message.readUInt16BE(4) !== 1 ||
    message.readUInt16BE(6) !== 0 ||
    message.readUInt16BE(8) !== 0 ||
    additional > 1
  )
    return { id, rcode: rcodes.formatError };
  const labels = readLabels(message);
  if (labels === undefined || labels.end + 4 > message.length)
    return { id, rcode: rcodes.formatError };
  const end = labels.end + 4;
  const edns = additional === 0 ? { end, version: 0 } : readOpt(message, end);
  if (edns === undefined || edns.end !== message.length) return { id, rcode: rcodes.formatError };
  const name = labels.texts.join(".").toLowerCase();
  return {
    id,
    question: message.subarray(headerBytes, end),
    name: isHostName(name) ? name : undefined,
    type: message.readUInt16BE(labels.end),
    class: message.readUInt16BE(labels.end + 2),
    wantsRecursion: (flags & 0x0100) !== 0,
    hasEdns: additional === 1,
    ednsVersion: edns.version,
  };
}

/** Compression (RFC 1035 section 4.1.4) has nothing to point at in a question. */
function readLabels(
  message: Buffer,
): { readonly texts: string[]; readonly end: number } | undefined {
  const texts: string[] = [];
  let at = headerBytes;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > maxLabelBytes) return undefined;
    at += 1;
    if (length === 0) break;
    if (at + length > message.length || at + length - headerBytes >= maxNameBytes) return undefined;
    texts.push(message.toString("latin1", at, at + length));
    at += length;
  }
  // A dot inside a label would read as two labels in text.
  return texts.some((text) => text.includes(".")) ? { texts: ["?"], end: at } : { texts, end: at };
}

/** RFC 6891 section 6.1.2; the options are skipped, each within its bounds. */
function readOpt(
  message: Buffer,
  start: number,
): { readonly end: number; readonly version: number } | undefined {
  if (start + optBytes > message.length) return undefined;
  if (message[start] !== 0 || message.readUInt16BE(start + 1) !== optType) return undefined;
  const end = start + optBytes + message.readUInt16BE(start + 9);
  if (end > message.length) return undefined;
  let at = start + optBytes;
  while (at < end) {
    if (at + 4 > end) return undefined;
    at += 4 + message.readUInt16BE(at + 2);
  }
  return at === end ? { end, version: message[start + 6] ?? 0 } : undefined;
}

export interface Answer {
  readonly rcode: number;
  /** Address bytes, 4 or 16; at most one fits the only use. */
  readonly address?: Buffer;
  readonly ttlSeconds: number;
}

export function writeAnswer(query: Query, answer: Answer): Buffer {
  const { address } = answer;
  const record =
    address === undefined
      ? Buffer.alloc(0)
      : Buffer.concat([recordHead(query.type, answer.ttlSeconds, address.length), address]);
  const opt = query.hasEdns ? writeOpt(answer.rcode >> 4) : Buffer.alloc(0);
  const header = Buffer.alloc(headerBytes);
  header.writeUInt16BE(query.id, 0);
  // QR, AA, RD as asked, RA: what we do not know does not exist here.
  header.writeUInt16BE(0x8480 | (query.wantsRecursion ? 0x0100 : 0) | (answer.rcode & 0xf), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(address === undefined ? 0 : 1, 6);
  header.writeUInt16BE(query.hasEdns ? 1 : 0, 10);
  return Buffer.concat([header, query.question, record, opt]);
}

/** Without its question, which could not be read. Undefined when nothing is to be said. */
export function writeFailure({ id, rcode }: BadQuery): Buffer | undefined {
  if (id === undefined) return undefined;
  const header = Buffer.alloc(headerBytes);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(0x8080 | (rcode & 0xf), 2);
  return header;
}

function recordHead(type: number, ttlSeconds: number, length: number): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(namePointer, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(internet, 4);
  head.writeUInt32BE(ttlSeconds, 6);
  head.writeUInt16BE(length, 10);
  return head;
}

function writeOpt(extendedRcode: number): Buffer {
  const opt = Buffer.alloc(optBytes);
  opt.writeUInt16BE(optType, 1);
  opt.writeUInt16BE(ourPayloadBytes, 3);
  opt.writeUInt8(extendedRcode, 5);
  return opt;
}
