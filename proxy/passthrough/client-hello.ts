// Reads the name out of a TLS ClientHello (RFC 8446 section 4.1.2, RFC 6066 section 3), in whatever pieces of TCP and of TLS records it
// comes. Pure; what two readers could read differently, or what hides the name, is refused.
import { isIP } from "node:net";

import { isHostName } from "../net/host-name.ts";

/** `alert`: how TLS says it (RFC 8446 section 6.2). */
export interface HelloProblem {
  readonly problem: string;
  readonly alert: number;
}

export type HelloAnswer = "more" | { readonly host: string } | HelloProblem;

/** Alerts of TLS, by their numbers. */
export const alerts = {
  unexpectedMessage: 10,
  recordOverflow: 22,
  handshakeFailure: 40,
  accessDenied: 49,
  decodeError: 50,
  protocolVersion: 70,
  internalError: 80,
  missingExtension: 109,
  unrecognizedName: 112,
} as const;

/** With a post-quantum key share a ClientHello has 1.6 kB; large tickets make it a few more. */
export const maxHelloBytes = 16 * 1024;
const recordHeaderBytes = 5;
const messageHeaderBytes = 4;
const handshakeRecord = 22;
const clientHello = 1;
/** Bytes of records of one byte each would be six times those of the message: no client does that. */
const maxRecords = 64;

const serverName = 0;
const encryptedClientHello = 0xfe0d;
/** The draft before it, which some clients still send. */
const encryptedServerName = 0xffce;

class Unreadable extends Error {
  readonly answer: HelloProblem;

  constructor(problem: string, alert: number) {
    super(problem);
    this.name = "Unreadable";
    this.answer = { problem, alert };
  }
}

/** For one connection. Say `push` for each piece until it answers something else than `more`. */
export class ClientHelloReader {
  #pending: Buffer = Buffer.alloc(0);
  #message: Buffer = Buffer.alloc(0);
  #bytes = 0;
  #records = 0;
  #answer: HelloAnswer = "more";

  push(chunk: Buffer): HelloAnswer {
    if (this.#answer !== "more") return this.#answer;
    try {
      this.#answer = this.#read(chunk);
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      this.#answer = error.answer;
    }
    return this.#answer;
  }

  #read(chunk: Buffer): HelloAnswer {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    for (;;) {
      const record = this.#nextRecord();
      if (record === undefined) return "more";
      this.#message = Buffer.concat([this.#message, record]);
      const length = messageLength(this.#message);
      if (length === undefined || this.#message.length < length) continue;
      // Whatever follows in the same record would belong to an answer that was not given yet.
      if (this.#message.length > length)
        throw new Unreadable("more than a ClientHello", alerts.unexpectedMessage);
      return { host: hostOf(this.#message.subarray(messageHeaderBytes)) };
    }
  }

  /** The content of the next record, or undefined when it is not here yet. */
  #nextRecord(): Buffer | undefined {
    const bytes = this.#pending;
    // Judged as soon as it is here: a client of another protocol may wait for us to speak.
    if (bytes.length > 0 && bytes[0] !== handshakeRecord)
      throw new Unreadable("no TLS handshake", alerts.unexpectedMessage);
    if (bytes.length > 1 && bytes[1] !== 3)
      throw new Unreadable("no TLS version that is spoken", alerts.protocolVersion);
    if (bytes.length < recordHeaderBytes) return undefined;
    const length = bytes.readUInt16BE(3);
    if (length === 0) throw new Unreadable("an empty TLS record", alerts.unexpectedMessage);
    this.#bound(length);
    if (bytes.length < recordHeaderBytes + length) return undefined;
    this.#bytes += length;
    this.#records += 1;
    this.#pending = bytes.subarray(recordHeaderBytes + length);
    return bytes.subarray(recordHeaderBytes, recordHeaderBytes + length);
  }

  #bound(length: number): void {
    if (this.#bytes + length > maxHelloBytes || this.#records >= maxRecords)
      throw new Unreadable(
        `a ClientHello of more than ${maxHelloBytes} bytes or ${maxRecords} records`,
        alerts.recordOverflow,
      );
  }
}

/** Header included; undefined while it is not here. */
function messageLength(message: Buffer): number | undefined {
  if (message.length > 0 && message[0] !== clientHello)
    throw new Unreadable("no ClientHello", alerts.unexpectedMessage);
  if (message.length < messageHeaderBytes) return undefined;
  const length = message.readUIntBE(1, 3);
  if (length > maxHelloBytes)
    throw new Unreadable(
      `a ClientHello of more than ${maxHelloBytes} bytes`,
      alerts.recordOverflow,
    );
  return messageHeaderBytes + length;
}

/** Reads vectors one after the other; a length that does not fit is an error of the whole. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isDone(): boolean {
    return this.#at === this.#bytes.length;
  }

  take(length: number): Buffer {
    if (this.#at + length > this.#bytes.length) throw malformed();
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  number(bytes: 1 | 2): number {
    return this.take(bytes).readUIntBE(0, bytes);
  }

  /** A vector with its length in front (RFC 8446 section 3.4). */
  vector(lengthBytes: 1 | 2): Buffer {
    return this.take(this.number(lengthBytes));
  }
}

function hostOf(hello: Buffer): string {
  const reader = new Reader(hello);
  if (reader.number(2) >> 8 !== 3)
    throw new Unreadable("no TLS version that is spoken", alerts.protocolVersion);
  reader.take(32); // random
  if (reader.vector(1).length > 32) throw malformed(); // legacy_session_id
  const suites = reader.vector(2);
  if (suites.length < 2 || suites.length % 2 === 1) throw malformed();
  if (reader.vector(1).length === 0) throw malformed(); // compression methods
  const extensions = reader.isDone ? Buffer.alloc(0) : reader.vector(2);
  if (!reader.isDone) throw malformed();
  const name = readExtensions(new Reader(extensions));
  if (name === undefined)
    throw new Unreadable(
      "a ClientHello without a server name (SNI), which is all that could be decided on",
      alerts.missingExtension,
    );
  return readName(new Reader(name));
}

/** What the extension server_name says; no extension may come twice (RFC 8446 section 4.2). */
function readExtensions(reader: Reader): Buffer | undefined {
  const seen = new Set<number>();
  let name: Buffer | undefined;
  while (!reader.isDone) {
    const type = reader.number(2);
    const content = reader.vector(2);
    if (seen.has(type)) throw malformed();
    seen.add(type);
    if (type === encryptedClientHello || type === encryptedServerName)
      throw new Unreadable(
        "an encrypted ClientHello (ECH), whose real name cannot be seen: turn ECH off in the client",
        alerts.handshakeFailure,
      );
    if (type === serverName) name = content;
  }
  return name;
}

function readName(reader: Reader): string {
  const list = new Reader(reader.vector(2));
  if (!reader.isDone) throw malformed();
  const type = list.number(1);
  const name = list.vector(2);
  // Of each type one name at most, and no other type was ever defined (RFC 6066 section 3).
  if (!list.isDone || type !== 0) throw malformed();
  const host = name.toString("latin1").toLowerCase();
  if (!isHostName(host) || isIP(host) !== 0)
    throw new Unreadable("a server name (SNI) that is no host name", alerts.decodeError);
  return host;
}

function malformed(): Unreadable {
  return new Unreadable("a malformed ClientHello", alerts.decodeError);
}
