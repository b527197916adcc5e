// Reads WebSocket frames in whatever pieces they come, and refuses what RFC 6455 does not allow. Pure; a payload is handed on as it
// arrives, so nothing but a control frame is ever held.
import {
  applyMask,
  closeCodes,
  isCloseCode,
  maxControlBytes,
  opcodes,
  WebSocketViolation,
} from "./frame.ts";
import type { MessageKind } from "./frame.ts";

export interface FrameSink {
  /**
   * A piece of a message, unmasked; text is valid UTF-8 as far as it goes.
   *
   * @param bytes valid only while this is called; may be empty
   */
  data(kind: MessageKind, bytes: Buffer, isFirst: boolean, isLast: boolean): void;
  control(kind: "ping" | "pong", payload: Buffer): void;
  /** Nothing is read after it. @param code undefined where the frame names none */
  close(code: number | undefined, reason: string): void;
}

interface Message {
  readonly kind: MessageKind;
  bytes: number;
  /** A piece of it was handed on. */
  hasBegun: boolean;
  readonly decoder: InstanceType<typeof TextDecoder> | undefined;
}

interface Frame {
  readonly opcode: number;
  readonly isFinal: boolean;
  readonly key: Buffer | undefined;
  readonly length: number;
  read: number;
}

/** FIN, RSV and opcode; MASK and length; up to 8 bytes of length; 4 of key. */
const maxHeadBytes = 14;
const reserved = 0x70;
const masked = 0x80;

export class FrameReader {
  readonly #sender: "client" | "server";
  readonly #sink: FrameSink;
  readonly #maxMessageBytes: number;
  readonly #head = Buffer.alloc(maxHeadBytes);
  #headBytes = 0;
  #frame: Frame | undefined;
  #message: Message | undefined;
  readonly #control = Buffer.alloc(maxControlBytes);
  #isClosed = false;

  /** @param sender whose frames they are: a client masks each, a server none (section 5.1) */
  constructor(sender: "client" | "server", sink: FrameSink, maxMessageBytes: number) {
    this.#sender = sender;
    this.#sink = sink;
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** Throws WebSocketViolation; then nothing more can be read. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#isClosed) {
      const frame = this.#frame;
      if (frame === undefined) at = this.#readHead(chunk, at);
      else {
        const end = Math.min(chunk.length, at + frame.length - frame.read);
        this.#readPayload(frame, chunk.subarray(at, end));
        at = end;
      }
    }
  }

  #readHead(chunk: Buffer, from: number): number {
    let at = from;
    while (at < chunk.length) {
      this.#head[this.#headBytes++] = chunk[at++] ?? 0;
      if (this.#headBytes === 1) this.#checkFirst(this.#head[0] ?? 0);
      if (this.#headBytes === 2) this.#checkSecond(this.#head[1] ?? 0);
      if (this.#headBytes >= 2 && this.#headBytes === this.#headLength()) {
        this.#beginFrame();
        return at;
      }
    }
    return at;
  }

  /** As soon as it is here: what cannot be right is not waited for. */
  #checkFirst(first: number): void {
    const opcode = first & 0x0f;
    if ((first & reserved) !== 0)
      throw violation("reserved bits are set, and no extension was agreed on");
    const isControl = opcode >= opcodes.close;
    if (opcode > (isControl ? opcodes.pong : opcodes.binary))
      throw violation(`the opcode ${opcode} is reserved`);
    if (isControl && (first & 0x80) === 0) throw violation("a control frame is fragmented");
    if (opcode === opcodes.continuation && this.#message === undefined)
      throw violation("a continuation of no message");
    if (!isControl && opcode !== opcodes.continuation && this.#message !== undefined)
      throw violation("a message begins within another");
  }

  #checkSecond(second: number): void {
    const isMasked = (second & masked) !== 0;
    if (isMasked !== (this.#sender === "client"))
      throw violation(
        isMasked ? "a frame of a server is masked" : "a frame of a client is not masked",
      );
    const opcode = (this.#head[0] ?? 0) & 0x0f;
    if (opcode >= opcodes.close && (second & 0x7f) > maxControlBytes)
      throw violation(`a control frame has more than ${maxControlBytes} bytes`);
    if (opcode === opcodes.close && (second & 0x7f) === 1)
      throw violation("a Close frame has one byte");
  }

  #headLength(): number {
    const second = this.#head[1] ?? 0;
    const length = second & 0x7f;
    const extended = length === 126 ? 2 : length === 127 ? 8 : 0;
    return 2 + extended + ((second & masked) === 0 ? 0 : 4);
  }

  #beginFrame(): void {
    const head = this.#head.subarray(0, this.#headBytes);
    const first = head[0] ?? 0;
    const opcode = first & 0x0f;
    const frame: Frame = {
      opcode,
      isFinal: (first & 0x80) !== 0,
      key: ((head[1] ?? 0) & masked) === 0 ? undefined : Buffer.from(head.subarray(-4)),
      length: lengthOf(head),
      read: 0,
    };
    this.#headBytes = 0;
    this.#frame = frame;
    if (opcode < opcodes.close) this.#beginData(frame);
    // Nothing more of it will come.
    if (frame.length === 0) this.#readPayload(frame, Buffer.alloc(0));
  }

  #beginData(frame: Frame): void {
    if (frame.opcode !== opcodes.continuation) {
      const kind = frame.opcode === opcodes.text ? "text" : "binary";
      const decoder = kind === "text" ? new TextDecoder("utf-8", fatal) : undefined;
      this.#message = { kind, bytes: 0, hasBegun: false, decoder };
    }
    const bytes = (this.#message?.bytes ?? 0) + frame.length;
    if (bytes > this.#maxMessageBytes)
      throw new WebSocketViolation(
        closeCodes.tooBig,
        `a message has at most ${this.#maxMessageBytes} bytes`,
      );
  }

  #readPayload(frame: Frame, piece: Buffer): void {
    const bytes = Buffer.from(piece);
    if (frame.key !== undefined) applyMask(bytes, frame.key, frame.read);
    const isControl = frame.opcode >= opcodes.close;
    if (isControl) bytes.copy(this.#control, frame.read);
    frame.read += bytes.length;
    const isWhole = frame.read === frame.length;
    if (isWhole) this.#frame = undefined;
    if (!isControl) this.#data(bytes, frame.isFinal && isWhole);
    else if (isWhole) this.#controlFrame(frame);
  }

  #data(bytes: Buffer, isLast: boolean): void {
    const message = this.#message;
    if (message === undefined) return;
    message.bytes += bytes.length;
    try {
      message.decoder?.decode(bytes, { stream: !isLast });
    } catch {
      throw new WebSocketViolation(closeCodes.invalidText, "a text message is not UTF-8");
    }
    if (isLast) this.#message = undefined;
    const isFirst = !message.hasBegun;
    message.hasBegun = true;
    this.#sink.data(message.kind, bytes, isFirst, isLast);
  }

  #controlFrame({ opcode, length }: Frame): void {
    const payload = Buffer.from(this.#control.subarray(0, length));
    if (opcode !== opcodes.close) {
      this.#sink.control(opcode === opcodes.ping ? "ping" : "pong", payload);
      return;
    }
    this.#isClosed = true;
    if (length === 0) {
      this.#sink.close(undefined, "");
      return;
    }
    const code = payload.readUInt16BE(0);
    if (!isCloseCode(code)) throw violation(`a Close frame has the code ${code}`);
    this.#sink.close(code, reasonOf(payload.subarray(2)));
  }
}

function reasonOf(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", fatal).decode(bytes);
  } catch {
    throw new WebSocketViolation(closeCodes.invalidText, "the reason of a Close is not UTF-8");
  }
}

const fatal = { fatal: true, ignoreBOM: true } as const;

/** Of the payload; the shortest way to say it is the only one (section 5.2). */
function lengthOf(head: Buffer): number {
  const short = (head[1] ?? 0) & 0x7f;
  if (short < 126) return short;
  if (short === 126) {
    const length = head.readUInt16BE(2);
    if (length < 126) throw violation("a length is not said in the shortest way");
    return length;
  }
  const long = head.readBigUInt64BE(2);
  if (long < 65_536n || long >> 63n !== 0n)
    throw violation("a length is not said in the shortest way, or is none");
  return Number(long);
}

function violation(reason: string): WebSocketViolation {
  return new WebSocketViolation(closeCodes.protocolError, reason);
}
