// Reads the requests of one connection of an agent (RFC 9112, HTTP/1.1 and 1.0) from bytes in any pieces. Pure: no socket, no clock.
// What two readers could read differently is refused, not repaired: bare CR or LF, folded lines, two lengths, any coding but `chunked`.
import { FieldLines, type FieldFaults } from "./field-lines.ts";
import { ProxyError } from "../errors.ts";
import type { ProxyErrorCode } from "../errors.ts";
import { cleartextReason, cleartextRefusal } from "./h2-cleartext.ts";
import type { FlatHeaders } from "./inbound.ts";
import { misplaced, saysWhatMessageIs } from "./trailer-names.ts";

/** What cannot be read as HTTP/1.1, and the status that says so more closely than its code. */
export class Unreadable extends ProxyError {
  readonly answerStatus: number;
  /** What is said in place of an answer, to a client that would not read one. */
  readonly answerBytes: Buffer | undefined;

  constructor(answerStatus: number, code: ProxyErrorCode, message: string, answerBytes?: Buffer) {
    super(code, message);
    this.answerStatus = answerStatus;
    this.answerBytes = answerBytes;
  }
}

export interface ReadRequest {
  readonly method: string;
  readonly target: string;
  /** HTTP/1.0: no chunks, no 1xx, and the connection closes behind the answer. */
  readonly isOld: boolean;
  readonly headers: FlatHeaders;
  /** Of the body; undefined where it comes in chunks. */
  readonly length: number | undefined;
  /** Its sender will not send another. */
  readonly isLast: boolean;
  /** Waits for `100 Continue` before it sends its body. */
  readonly expectsContinue: boolean;
}

export interface RequestSink {
  /** Without a body there is no `end`. Nothing more is read until `resume` where this pauses, and behind the request until `next`. */
  head(request: ReadRequest): void;
  /**
   * @param chunk valid only while this is called, as what was pushed is
   * @param isOwn it was copied, and nobody else keeps it
   */
  data(chunk: Buffer, isOwn: boolean): void;
  end(trailers: FlatHeaders): void;
}

/** Of one head; Node's own default is half of it, and agents carry cookies and long tokens. */
export const maxHeadBytes = 32 * 1024;
/** Of one request. */
export const maxHeaders = 200;
const maxTrailerBytes = 8 * 1024;
/** Sizes up to 2^52; larger ones no number holds exactly. */
const maxChunkDigits = 13;
/** A chunk's size and its extensions, which nobody uses. */
const maxChunkLine = 1024;
/** Extensions of all chunks of one body together; Node's own bound. */
const maxExtensionBytes = 16 * 1024;
/** Longer ones no registry has. */
const maxMethodLength = 32;

const requestLinePattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [\x21-\x7e]+ HTTP\/\d\.\d$/;
const versionMark = " HTTP/";
const versionLength = " HTTP/1.1".length;
/** Without the blanks around its marks that RFC 9112 section 7.1.1 has for recipients alone. */
const chunkLinePattern =
  /^([0-9a-f]+)((?:;[!#$%&'*+\-.^_`|~0-9a-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9a-z]+|"[\t\x20\x21\x23-\x5b\x5d-\x7e]*"))?)*)$/i;
const lengthPattern = /^\d{1,15}$/;
/** Their clients say nothing before the answer (RFC 6455 section 4.1, RFC 7540 section 3.2): refused or declined, the connection goes on. */
const waitingUpgrades: ReadonlySet<string> = new Set(["websocket", "h2c"]);

const cr = 0x0d;
const lf = 0x0a;
const nothing = Buffer.alloc(0);
const noTrailers: FlatHeaders = Object.freeze([]);

type State = "between" | "head" | "length" | "chunk-line" | "chunk" | "chunk-end" | "trailers";

export class RequestParser {
  readonly #sink: RequestSink;
  readonly #fieldLines = new FieldLines(faults);
  /** Of the request before. */
  #last: Fields = noFields;
  #state: State = "head";
  #bytes: Buffer = nothing;
  #at = 0;
  /** What waits is a copy. */
  #isOwn = false;
  /** Bytes of a head that were looked at before the rest of it came. */
  #scanned = 0;
  #left = 0;
  #extensionBytes = 0;
  #isPaused = false;
  #isRunning = false;

  constructor(sink: RequestSink) {
    this.#sink = sink;
  }

  /** Bytes that wait to be read. */
  get waiting(): number {
    return this.#bytes.length - this.#at;
  }

  /** In the middle of a head: the client owes the rest of it. */
  get isInHead(): boolean {
    return this.#state === "head" && this.waiting > 0;
  }

  /**
   * Throws Unreadable; then nothing that follows on the connection can be read.
   *
   * @param bytes valid only while this is called
   */
  push(bytes: Buffer): void {
    this.#isOwn = this.waiting > 0;
    this.#bytes = this.#isOwn ? Buffer.concat([this.#bytes.subarray(this.#at), bytes]) : bytes;
    this.#at = 0;
    this.#run();
    if (this.waiting === 0 || this.#isOwn) return;
    this.#bytes = Buffer.from(this.rest());
    this.#isOwn = true;
  }

  /** Within a body: nothing is handed out until `resume`. */
  pause(): void {
    this.#isPaused = true;
  }

  /** Throws Unreadable. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#run();
  }

  /** The request before is answered: the next may come. Throws Unreadable. */
  next(): void {
    if (this.#state !== "between") return;
    this.#state = "head";
    this.#isPaused = false;
    this.#run();
  }

  /** What waits, for another protocol. */
  rest(): Buffer {
    const rest = this.#bytes.subarray(this.#at);
    this.#bytes = nothing;
    this.#at = 0;
    return rest;
  }

  /** What a sink asks for while it is called is done when it has returned: a thousand requests in one piece make no stack of a thousand. */
  #run(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      while (this.#at < this.#bytes.length && !this.#isHeld() && this.#step());
    } finally {
      this.#isRunning = false;
    }
    if (this.#at === this.#bytes.length) this.rest();
  }

  #isHeld(): boolean {
    return this.#state === "between" || (this.#isPaused && this.#state !== "head");
  }

  /** False when more bytes are needed first. */
  #step(): boolean {
    switch (this.#state) {
      case "between":
        return false;
      case "head":
        return this.#readHead();
      case "length":
      case "chunk":
        return this.#readCounted();
      case "chunk-line":
        return this.#readChunkLine();
      case "chunk-end":
        return this.#readChunkEnd();
      case "trailers":
        return this.#readTrailers();
      default:
        return this.#state satisfies never;
    }
  }

  #readHead(): boolean {
    const bytes = this.#bytes;
    const at = this.#at;
    // RFC 9112 section 2.2: empty lines before a request, as old clients send one behind a body.
    if (bytes[at] === cr) {
      if (this.waiting < 2) return false;
      if (bytes[at + 1] !== lf) throw notHttp();
      this.#at = at + 2;
      return true;
    }
    const end = bytes.indexOf("\r\n\r\n", Math.max(at, at + this.#scanned - 3), "latin1");
    if (end < 0) {
      this.#checkPartOfHead();
      return false;
    }
    if (end - at > maxHeadBytes) throw headTooLarge();
    const text = bytes.toString("latin1", at, end);
    this.#at = end + 4;
    this.#scanned = 0;
    this.#begin(text);
    return true;
  }

  /** A client of another protocol may wait for us to go on: what cannot become a request is refused before it is whole. */
  #checkPartOfHead(): void {
    const bytes = this.#bytes;
    if (this.waiting > maxHeadBytes) throw headTooLarge();
    const first = bytes[this.#at] ?? 0;
    if (first < 0x21 || first > 0x7e) throw notHttp();
    let isFirst = bytes.indexOf(lf, this.#at) >= this.#at + this.#scanned;
    for (
      let lineEnd = bytes.indexOf(lf, this.#at + this.#scanned);
      lineEnd >= 0;
      lineEnd = bytes.indexOf(lf, lineEnd + 1)
    ) {
      if (bytes[lineEnd - 1] !== cr) throw bareLineFeed();
      if (isFirst) requestLine(bytes.toString("latin1", this.#at, lineEnd - 1));
      isFirst = false;
    }
    this.#scanned = this.waiting;
  }

  #begin(text: string): void {
    const found = text.indexOf("\r\n");
    const lineEnd = found < 0 ? text.length : found;
    const { method, target, isOld } = requestLine(text.slice(0, lineEnd));
    const { headers, says } = this.#fieldsOf(text.slice(lineEnd + 2));
    const length = lengthOf(says, isOld);
    const expectsContinue = says.expect !== undefined && !isOld;
    if (expectsContinue && says.expect?.toLowerCase() !== "100-continue")
      throw new Unreadable(417, "MalformedRequest", "the request expects more than 100-continue");
    if (method === "CONNECT" && length !== 0) throw malformed("CONNECT has no body");
    this.#left = length ?? 0;
    this.#extensionBytes = 0;
    this.#isPaused = false;
    if (length === undefined) this.#state = "chunk-line";
    else this.#state = length === 0 ? "between" : "length";
    this.#sink.head({
      method,
      target,
      isOld,
      headers,
      length,
      // A tunnel is not to be told from the requests behind it, nor is another protocol.
      isLast: isOld || method === "CONNECT" || says.switches || closes(says.connection),
      expectsContinue: expectsContinue && length !== 0,
    });
  }

  #readCounted(): boolean {
    const at = this.#at;
    const end = Math.min(this.#bytes.length, at + this.#left);
    const chunk = this.#bytes.subarray(at, end);
    this.#at = end;
    this.#left -= end - at;
    const isChunk = this.#state === "chunk";
    const isWhole = this.#left === 0;
    if (isWhole && isChunk) this.#state = "chunk-end";
    this.#sink.data(chunk, this.#isOwn);
    if (isWhole && !isChunk) this.#end(noTrailers);
    return true;
  }

  #readChunkLine(): boolean {
    const end = this.#bytes.indexOf("\r\n", this.#at, "latin1");
    const length = (end < 0 ? this.#bytes.length : end) - this.#at;
    if (length > maxChunkLine) throw chunkFault();
    if (end < 0) {
      // A size that ends with a bare line feed would wait for ever.
      if (this.#bytes.indexOf(lf, this.#at) >= 0) throw bareLineFeed();
      return false;
    }
    const [, digits, extensions = ""] =
      chunkLinePattern.exec(this.#bytes.toString("latin1", this.#at, end)) ?? [];
    if (digits === undefined || digits.length > maxChunkDigits) throw chunkFault();
    this.#extensionBytes += extensions.length;
    if (this.#extensionBytes > maxExtensionBytes) throw chunkFault();
    this.#at = end + 2;
    this.#left = Number.parseInt(digits, 16);
    this.#state = this.#left === 0 ? "trailers" : "chunk";
    return true;
  }

  #readChunkEnd(): boolean {
    const at = this.#at;
    if (this.#bytes[at] !== cr || (this.waiting > 1 && this.#bytes[at + 1] !== lf))
      throw malformed("a chunk of the body is not as long as it said");
    if (this.waiting < 2) return false;
    this.#at = at + 2;
    this.#state = "chunk-line";
    return true;
  }

  #readTrailers(): boolean {
    const bytes = this.#bytes;
    const at = this.#at;
    if (this.waiting < 2) return false;
    if (bytes[at] === cr && bytes[at + 1] === lf) {
      this.#at = at + 2;
      this.#end(noTrailers);
      return true;
    }
    const end = bytes.indexOf("\r\n\r\n", at, "latin1");
    if ((end < 0 ? bytes.length : end) - at > maxTrailerBytes)
      throw new Unreadable(431, "TooLarge", `trailers may have at most ${maxTrailerBytes} bytes`);
    if (end < 0) return false;
    this.#at = end + 4;
    const trailers: string[] = [];
    this.#fields(bytes.toString("latin1", at, end), 0, trailers, maxHeaders);
    for (let index = 0; index < trailers.length; index += 2)
      if (saysWhatMessageIs(trailers[index] ?? "")) throw malformed(misplaced);
    this.#end(trailers);
    return true;
  }

  #end(trailers: FlatHeaders): void {
    this.#state = "between";
    this.#sink.end(trailers);
  }

  /** The same list again for the same lines: a client sends most of them with each request, often all. */
  #fieldsOf(lines: string): Fields {
    if (lines === "") return noFields;
    if (lines === this.#last.lines) return this.#last;
    const headers: string[] = [];
    const says = this.#fields(lines, 0, headers, maxHeaders);
    this.#last = { lines, headers, says };
    return this.#last;
  }

  /** Field lines from `from` on, without the empty line behind them; `into` gets names and values. */
  #fields(text: string, from: number, into: string[], most: number): Framing {
    const says = noFraming();
    this.#fieldLines.read(text, from, most, into);
    for (let at = 0; at + 1 < into.length; at += 2) frame(says, into[at] ?? "", into[at + 1] ?? "");
    return says;
  }
}

/** The field lines of a head, as sent and as read. */
interface Fields {
  readonly lines: string;
  readonly headers: FlatHeaders;
  readonly says: Readonly<Framing>;
}

/** What frames a message. */
interface Framing {
  length: string | undefined;
  coding: string | undefined;
  connection: string | undefined;
  expect: string | undefined;
  /** To another protocol, whose client may not wait for the answer. */
  switches: boolean;
}

function noFraming(): Framing {
  return {
    length: undefined,
    coding: undefined,
    connection: undefined,
    expect: undefined,
    switches: false,
  };
}

const noFields: Fields = { lines: "", headers: Object.freeze([]), says: noFraming() };

function frame(says: Framing, name: string, value: string): void {
  switch (name) {
    case "content-length":
      if (says.length !== undefined || !lengthPattern.test(value))
        throw malformed("the Content-Length is not one number");
      says.length = value;
      break;
    case "transfer-encoding":
      if (says.coding !== undefined || value.toLowerCase() !== "chunked")
        throw malformed("the Transfer-Encoding is not exactly `chunked`");
      says.coding = value;
      break;
    case "connection":
      says.connection = says.connection === undefined ? value : `${says.connection},${value}`;
      break;
    case "expect":
      says.expect = says.expect === undefined ? value : `${says.expect},${value}`;
      break;
    case "upgrade":
      says.switches ||= !waitingUpgrades.has(value.toLowerCase());
      break;
    default:
  }
}

/** RFC 9112 section 6.3; undefined: in chunks. */
function lengthOf({ length, coding }: Readonly<Framing>, isOld: boolean): number | undefined {
  if (coding === undefined) return length === undefined ? 0 : Number(length);
  if (length !== undefined)
    throw malformed("the request has both Content-Length and Transfer-Encoding");
  if (isOld) throw malformed("HTTP/1.0 has no Transfer-Encoding");
  return undefined;
}

function closes(connection: string | undefined): boolean {
  if (connection === undefined || connection === "keep-alive") return false;
  return connection
    .toLowerCase()
    .split(",")
    .some((option) => option.trim() === "close");
}

interface RequestLine {
  readonly method: string;
  readonly target: string;
  readonly isOld: boolean;
}

function requestLine(line: string): RequestLine {
  if (!requestLinePattern.test(line)) throw notHttp();
  const methodEnd = line.indexOf(" ");
  const targetEnd = line.length - versionLength;
  const method = line.slice(0, methodEnd);
  const version = line.slice(targetEnd + versionMark.length);
  if (method.length > maxMethodLength)
    throw new Unreadable(501, "NotSupported", "the method of the request is not known");
  if (method === "PRI" && version === "2.0")
    throw new Unreadable(505, "NotSupported", cleartextReason, cleartextRefusal());
  if (version !== "1.1" && version !== "1.0")
    throw new Unreadable(505, "NotSupported", "HTTP/1.1 is spoken here, and HTTP/1.0");
  return { method, target: line.slice(methodEnd + 1, targetEnd), isOld: version === "1.0" };
}

function notHttp(): Unreadable {
  return malformed("the request is not well-formed HTTP/1.1");
}

function bareLineFeed(): Unreadable {
  return malformed("a line of the request ends without a carriage return");
}

function chunkFault(): Unreadable {
  return malformed("the size of a chunk cannot be read");
}

function headTooLarge(): Unreadable {
  return new Unreadable(
    431,
    "TooLarge",
    `the headers of a request may have at most ${maxHeadBytes} bytes`,
  );
}

function malformed(message: string): Unreadable {
  return new Unreadable(400, "MalformedRequest", message);
}

const faults: FieldFaults = {
  malformed,
  tooMany: (most) => new Unreadable(431, "TooLarge", `a request may have at most ${most} headers`),
};
