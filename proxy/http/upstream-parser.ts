// Reads the answers of one upstream connection (RFC 9112, HTTP/1.1 and 1.0) from bytes in any pieces. Pure: no socket, no clock.
// What two readers could read differently is refused, not repaired: bare CR or LF, folded lines, two lengths, any coding but `chunked`.
import { FieldLines, type FieldFaults } from "./field-lines.ts";
import { Gathered } from "./gathered.ts";
import { ProxyError } from "../errors.ts";

export type AnswerHeaders = Readonly<Record<string, string | string[]>>;

export interface AnswerSink {
  /** Also for 1xx answers, which `isFinal` tells apart: the real one follows. */
  head(status: number, headers: AnswerHeaders, isFinal: boolean): void;
  /** @param chunk valid only while this is called, as what was pushed is */
  data(chunk: Buffer): void;
  end(trailers: AnswerHeaders): void;
}

/** Of one head, trailers among it. Node's own default is a quarter. */
export const maxHeadBytes = 64 * 1024;
/** Of one answer; a server that sends more means harm. */
export const maxHeaderLines = 1_000;
/** 1xx answers before the real one. */
export const maxInformational = 32;
/** Sizes up to 2^52; larger ones no number holds exactly. */
const maxChunkDigits = 13;
/** A chunk's size and extensions, which nobody uses. */
const maxChunkLine = 4 * 1024;

const statusLinePattern = /^HTTP\/1\.[01] [1-9]\d\d(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const codeStart = "HTTP/1.1 ".length;
const chunkLinePattern = /^([0-9a-f]+)[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?$/i;
/** More than a read brings; longer sizes, and those with extensions, are read by the pattern. */
const shortChunkDigits = 6;
const noDigit = 16;
const hexDigits = new Uint8Array(256).fill(noDigit);
for (const [value, digits] of [
  "0",
  "1",
  "2",
  "3",
  "4",
  "5",
  "6",
  "7",
  "8",
  "9",
  "aA",
  "bB",
  "cC",
  "dD",
  "eE",
  "fF",
].entries())
  for (const byte of Buffer.from(digits)) hexDigits[byte] = value;
const versionStart = "HTTP/1.";
const lengthPattern = /^\d{1,15}$/;

type State =
  | "idle"
  | "head"
  | "length"
  | "close"
  | "chunk-line"
  | "chunk"
  | "chunk-end"
  | "trailers";

const noHeaders: AnswerHeaders = Object.freeze({});

export class AnswerParser {
  readonly #sink: AnswerSink;
  readonly #fieldLines = new FieldLines(faults);
  #state: State = "idle";
  /** Bytes of a head, chunk line or trailers that are not whole yet. A server can send them one at a time. */
  readonly #rest = new Gathered();
  /** So many bytes of them were searched for their end. */
  #scanned = 0;
  #left = 0;
  /** Of what the chunks of this read carry: where it stands, in the bytes of the read as long as it is one piece; -1 where there is none. */
  #gathered: Buffer | undefined;
  #from = 0;
  #to = -1;
  #isHead = false;
  #informational = 0;
  #keepsAlive = true;
  #keepAliveSeconds: number | undefined;

  constructor(sink: AnswerSink) {
    this.#sink = sink;
  }

  /** False when the connection cannot carry another request. */
  get keepsAlive(): boolean {
    return this.#keepsAlive;
  }

  /** What the server promises (`Keep-Alive: timeout=N`), in seconds. */
  get keepAliveSeconds(): number | undefined {
    return this.#keepAliveSeconds;
  }

  /** A request was sent: its answer may come. */
  expect(method: string): void {
    this.#state = "head";
    this.#isHead = method === "HEAD";
    this.#informational = 0;
  }

  /** Throws ProxyError UpstreamProtocol; then the connection is of no use any more. */
  push(bytes: Buffer): void {
    let chunk = bytes;
    if (this.#rest.length > 0) {
      this.#rest.add(bytes);
      chunk = this.#rest.whole();
    }
    try {
      this.#read(chunk);
    } finally {
      this.#tell(chunk);
    }
  }

  #read(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      const next = this.#step(chunk, at);
      if (next < 0) {
        this.#keep(chunk, at);
        return;
      }
      this.#scanned = 0;
      at = next;
    }
    if (this.#rest.length > 0) this.#rest.clear();
  }

  #keep(chunk: Buffer, at: number): void {
    this.#scanned = chunk.length - at;
    if (this.#rest.length > 0) {
      if (at === 0) return;
      this.#rest.clear();
    }
    this.#rest.add(chunk.subarray(at));
  }

  /** Where the search for an end of so many bytes goes on, in what begins there. */
  #searchFrom(at: number, endBytes: number): number {
    return Math.max(at, at + this.#scanned - endBytes + 1);
  }

  /** -1, as long as what has come may become a head; what ends its lines with a bare line feed would never be whole. */
  #needMore(chunk: Buffer, at: number, most: number): -1 {
    if (chunk.length - at > most) throw tooLarge();
    let end = chunk.indexOf(0x0a, this.#searchFrom(at, 2));
    for (; end >= 0; end = chunk.indexOf(0x0a, end + 1))
      if (chunk[end - 1] !== 0x0d) throw malformed("a line ends without a carriage return");
    return -1;
  }

  /** What the chunks of one read carry goes on in one piece: a stream of small ones costs no more than a large one. */
  #gather(chunk: Buffer, from: number, end: number): void {
    if (this.#to < 0) {
      this.#from = from;
      this.#to = end;
      return;
    }
    if (this.#gathered === undefined) {
      this.#gathered = Buffer.allocUnsafe(chunk.length - this.#from);
      chunk.copy(this.#gathered, 0, this.#from, this.#to);
      this.#to -= this.#from;
      this.#from = 0;
    }
    chunk.copy(this.#gathered, this.#to, from, end);
    this.#to += end - from;
  }

  #tell(chunk: Buffer): void {
    if (this.#to < 0) return;
    const bytes = (this.#gathered ?? chunk).subarray(this.#from, this.#to);
    this.#gathered = undefined;
    this.#to = -1;
    this.#sink.data(bytes);
  }

  /** The server closed its side. True when that ends an answer, false when it cuts one off. */
  finish(): boolean {
    this.#keepsAlive = false;
    if (this.#state !== "close") return this.#state === "idle";
    this.#end(noHeaders);
    return true;
  }

  /** Where reading goes on, or -1 when more bytes are needed first. */
  #step(chunk: Buffer, at: number): number {
    switch (this.#state) {
      case "idle":
        throw malformed("it sent something that no request asked for");
      case "head":
        return this.#readHead(chunk, at);
      case "length":
      case "chunk":
        return this.#readCounted(chunk, at);
      case "close":
        this.#sink.data(at === 0 ? chunk : chunk.subarray(at));
        return chunk.length;
      case "chunk-line":
        return this.#readChunkLine(chunk, at);
      case "chunk-end":
        return this.#readChunkEnd(chunk, at);
      case "trailers":
        return this.#readTrailers(chunk, at);
      default:
        return this.#state satisfies never;
    }
  }

  #readHead(chunk: Buffer, at: number): number {
    const end = chunk.indexOf("\r\n\r\n", this.#searchFrom(at, 4), "latin1");
    if (end < 0) {
      // A server of another protocol may wait for us to go on.
      const start = chunk.toString("latin1", at, at + versionStart.length);
      if (!versionStart.startsWith(start)) throw notHttp();
      return this.#needMore(chunk, at, maxHeadBytes);
    }
    if (end - at > maxHeadBytes) throw tooLarge();
    const text = chunk.toString("latin1", at, end);
    const lineEnd = text.indexOf("\r\n");
    const statusLine = lineEnd < 0 ? text : text.slice(0, lineEnd);
    if (!statusLinePattern.test(statusLine)) throw notHttp();
    const status = Number(statusLine.slice(codeStart, codeStart + 3));
    const isOld = statusLine[versionStart.length] === "0";
    const headers = lineEnd < 0 ? noHeaders : this.#fields(text, lineEnd + 2);
    this.#begin(status, isOld, headers);
    return end + 4;
  }

  #begin(status: number, isOld: boolean, headers: AnswerHeaders): void {
    if (status < 200) {
      this.#informational += 1;
      if (status === 101) throw malformed("it switched protocols unasked");
      if (this.#informational > maxInformational) throw malformed("it sent too many 1xx answers");
      this.#sink.head(status, headers, false);
      return;
    }
    this.#keepsAlive = !isOld && !says(headers["connection"], "close");
    this.#keepAliveSeconds = promised(headers["keep-alive"]);
    const length = lengthOf(headers, isOld);
    const hasBody = !this.#isHead && status !== 204 && status !== 304;
    this.#sink.head(status, headers, true);
    if (!hasBody || length === 0) this.#end(noHeaders);
    else if (length === "chunked") this.#state = "chunk-line";
    else if (length === undefined) {
      this.#keepsAlive = false;
      this.#state = "close";
    } else {
      this.#left = length;
      this.#state = "length";
    }
  }

  #readCounted(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + this.#left);
    this.#left -= end - at;
    if (this.#state === "chunk") {
      this.#gather(chunk, at, end);
      if (this.#left === 0) this.#state = "chunk-end";
      return end;
    }
    this.#sink.data(at === 0 && end === chunk.length ? chunk : chunk.subarray(at, end));
    if (this.#left === 0) this.#end(noHeaders);
    return end;
  }

  #readChunkLine(chunk: Buffer, at: number): number {
    let digitsEnd = at;
    let size = 0;
    for (; digitsEnd - at <= shortChunkDigits; digitsEnd += 1) {
      const digit = hexDigits[chunk[digitsEnd] ?? 0] ?? noDigit;
      if (digit === noDigit) break;
      size = size * 16 + digit;
    }
    const isPlain = chunk[digitsEnd] === 0x0d && chunk[digitsEnd + 1] === 0x0a && digitsEnd > at;
    if (!isPlain) return this.#readLongChunkLine(chunk, at);
    this.#left = size;
    this.#state = size === 0 ? "trailers" : "chunk";
    return digitsEnd + 2;
  }

  #readLongChunkLine(chunk: Buffer, at: number): number {
    const end = chunk.indexOf("\r\n", this.#searchFrom(at, 2), "latin1");
    if (end < 0) return this.#needMore(chunk, at, maxChunkLine);
    const [, digits] = chunkLinePattern.exec(chunk.toString("latin1", at, end)) ?? [];
    if (digits === undefined || digits.length > maxChunkDigits || end - at > maxChunkLine)
      throw malformed("the size of a chunk cannot be read");
    this.#left = Number.parseInt(digits, 16);
    this.#state = this.#left === 0 ? "trailers" : "chunk";
    return end + 2;
  }

  #readChunkEnd(chunk: Buffer, at: number): number {
    if (chunk.length - at < 2) return chunk[at] === 0x0d ? -1 : misplaced();
    if (chunk[at] !== 0x0d || chunk[at + 1] !== 0x0a) misplaced();
    this.#state = "chunk-line";
    return at + 2;
  }

  #readTrailers(chunk: Buffer, at: number): number {
    if (chunk.length - at < 2) return -1;
    this.#tell(chunk);
    if (chunk[at] === 0x0d && chunk[at + 1] === 0x0a) {
      this.#end(noHeaders);
      return at + 2;
    }
    const end = chunk.indexOf("\r\n\r\n", this.#searchFrom(at, 4), "latin1");
    if (end < 0) return this.#needMore(chunk, at, maxHeadBytes);
    if (end - at > maxHeadBytes) throw tooLarge();
    this.#end(this.#fields(chunk.toString("latin1", at, end), 0));
    return end + 4;
  }

  #end(trailers: AnswerHeaders): void {
    this.#state = "idle";
    this.#sink.end(trailers);
  }

  /** Field lines from `from` on, without the empty line behind them. */
  #fields(text: string, from: number): AnswerHeaders {
    const flat: string[] = [];
    this.#fieldLines.read(text, from, maxHeaderLines, flat);
    const headers: Record<string, string | string[]> = Object.create(null);
    for (let at = 0; at + 1 < flat.length; at += 2)
      note(headers, flat[at] ?? "", flat[at + 1] ?? "");
    return headers;
  }
}

/** RFC 9112 section 6.3; undefined: everything until the server closes. */
function lengthOf(headers: AnswerHeaders, isOld: boolean): number | "chunked" | undefined {
  const coding = headers["transfer-encoding"];
  const length = headers["content-length"];
  if (coding !== undefined) {
    if (
      isOld ||
      length !== undefined ||
      typeof coding !== "string" ||
      coding.toLowerCase() !== "chunked"
    )
      throw malformed("its Transfer-Encoding is not `chunked` alone");
    return "chunked";
  }
  if (length === undefined) return undefined;
  if (typeof length !== "string" || !lengthPattern.test(length))
    throw malformed("its Content-Length is not one number");
  return Number(length);
}

function note(headers: Record<string, string | string[]>, name: string, value: string): void {
  const before = headers[name];
  if (before === undefined) headers[name] = value;
  else if (typeof before === "string") headers[name] = [before, value];
  else before.push(value);
}

function says(header: string | string[] | undefined, option: string): boolean {
  if (header === undefined) return false;
  return String(header)
    .toLowerCase()
    .split(",")
    .some((one) => one.trim() === option);
}

function promised(header: string | string[] | undefined): number | undefined {
  if (header === undefined) return undefined;
  const [, seconds] = /(?:^|[,\s])timeout\s*=\s*(\d{1,6})/i.exec(String(header)) ?? [];
  return seconds === undefined ? undefined : Number(seconds);
}

function misplaced(): never {
  throw malformed("a chunk is not as long as it said");
}

function notHttp(): ProxyError {
  return malformed("its status line is not of that version");
}

function tooLarge(): ProxyError {
  return new ProxyError("UpstreamProtocol", "the headers of the upstream's answer are too large");
}

function malformed(what: string): ProxyError {
  return new ProxyError("UpstreamProtocol", `the upstream did not answer in HTTP/1.1: ${what}`);
}

const faults: FieldFaults = { malformed, tooMany: tooLarge };
