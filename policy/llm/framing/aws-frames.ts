// The AWS event stream (application/vnd.amazon.eventstream): frames of headers and a payload with two checksums, read and written.
// https://smithy.io/2.0/aws/amazon-eventstream.html
import { crc32 } from "node:zlib";
import type { JsonObject } from "../json.ts";
import type { NamedEvent } from "../provider.ts";
import { maxEventLength } from "./sse.ts";

/** Lengths of frame and headers, and the checksum of both. */
const preludeLength = 12;
const crcLength = 4;
/** Of one frame; its payload may be no larger. */
export const maxFrameLength = maxEventLength;

export interface FrameHeader {
  readonly name: string;
  /** Of a string, which is all that services of AWS send; others keep their bytes. */
  readonly value: string | undefined;
  /** As it came, type and length included. */
  readonly raw: Uint8Array;
}

export interface Frame {
  readonly headers: readonly FrameHeader[];
  readonly payload: Uint8Array;
}

export interface ReceivedFrame extends Frame {
  /** As it came, checksums included. */
  readonly raw: Uint8Array;
}

/** A frame that nobody may read: a checksum that is wrong, a length that cannot be. */
export class BadFrame extends Error {
  constructor(message: string) {
    super(message);
    this.name = "BadFrame";
  }
}

const stringType = 7;
/** By type: the length of the value, or undefined where it stands before it in two bytes. */
const valueLengths: readonly (number | undefined)[] = [
  0,
  0,
  1,
  2,
  4,
  8,
  undefined,
  undefined,
  8,
  16,
];

const utf8 = new TextDecoder("utf-8", { fatal: true });
const encoder = new TextEncoder();

/** Bytes in any pieces in, whole frames out. */
export class FrameSplitter {
  /** They are put together once there is enough of them, so that many small ones are not copied again and again. */
  #parts: Uint8Array[] = [];
  #length = 0;
  /** What there has to be before anything can be read. */
  #needed = preludeLength;

  /** Throws BadFrame; what stands behind a bad frame is lost with it. */
  push(chunk: Uint8Array): ReceivedFrame[] {
    // A copy, since it may be a part of a socket's buffer that is read into again.
    this.#parts.push(new Uint8Array(chunk));
    this.#length += chunk.length;
    if (this.#length < this.#needed) return [];
    let bytes = concatenated(this.#parts);
    const frames: ReceivedFrame[] = [];
    for (;;) {
      const length = frameLength(bytes);
      this.#needed = length ?? preludeLength;
      if (bytes.length < this.#needed) break;
      frames.push(frameOf(bytes.subarray(0, length)));
      bytes = bytes.subarray(length);
    }
    // A copy, so that a few bytes do not keep many.
    this.#parts = [bytes.slice()];
    this.#length = bytes.length;
    return frames;
  }

  /** What came of a frame that is not whole yet. */
  rest(): Uint8Array {
    return concatenated(this.#parts);
  }

  /** Nothing follows. Throws BadFrame where a frame was cut off. */
  finish(): void {
    if (this.#length > 0) throw new BadFrame("the stream ends inside a frame");
  }
}

function frameLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < preludeLength) return undefined;
  const view = viewOf(bytes);
  const length = view.getUint32(0);
  const headers = view.getUint32(4);
  if (view.getUint32(8) !== crc32(bytes.subarray(0, 8)))
    throw new BadFrame("the checksum of a frame's beginning is wrong");
  if (length > maxFrameLength) throw new BadFrame(`a frame is longer than ${maxFrameLength} bytes`);
  if (length < preludeLength + headers + crcLength)
    throw new BadFrame("a frame is shorter than its headers");
  return length;
}

function frameOf(bytes: Uint8Array): ReceivedFrame {
  const end = bytes.length - crcLength;
  if (viewOf(bytes).getUint32(end) !== crc32(bytes.subarray(0, end)))
    throw new BadFrame("the checksum of a frame is wrong");
  const headersEnd = preludeLength + viewOf(bytes).getUint32(4);
  return {
    headers: headersOf(bytes.subarray(preludeLength, headersEnd)),
    payload: bytes.slice(headersEnd, end),
    raw: bytes,
  };
}

function headersOf(bytes: Uint8Array): FrameHeader[] {
  const headers: FrameHeader[] = [];
  const view = viewOf(bytes);
  try {
    for (let at = 0; at < bytes.length;) {
      const nameEnd = at + 1 + view.getUint8(at);
      const type = view.getUint8(nameEnd);
      const fixed = valueLengths[type];
      if (fixed === undefined && type !== stringType && type !== 6)
        throw new BadFrame("a header is of an unknown type");
      const begin = nameEnd + 1 + (fixed === undefined ? 2 : 0);
      const end = begin + (fixed ?? view.getUint16(nameEnd + 1));
      if (end > bytes.length) throw new BadFrame("a header is longer than the headers");
      headers.push({
        name: utf8.decode(bytes.subarray(at + 1, nameEnd)),
        value: type === stringType ? utf8.decode(bytes.subarray(begin, end)) : undefined,
        raw: bytes.slice(at, end),
      });
      at = end;
    }
  } catch (error) {
    if (error instanceof BadFrame) throw error;
    throw new BadFrame("the headers of a frame cannot be read");
  }
  return headers;
}

export function stringHeader(name: string, value: string): FrameHeader {
  const names = encoder.encode(name);
  const values = encoder.encode(value);
  const raw = concatenated([
    Uint8Array.of(names.length),
    names,
    Uint8Array.of(stringType, values.length >> 8, values.length & 0xff),
    values,
  ]);
  return { name, value, raw };
}

/** With its checksums. */
export function writtenFrame({ headers, payload }: Frame): Uint8Array {
  const head = concatenated(headers.map(({ raw }) => raw));
  const length = preludeLength + head.length + payload.length + crcLength;
  const bytes = new Uint8Array(length);
  const view = viewOf(bytes);
  view.setUint32(0, length);
  view.setUint32(4, head.length);
  view.setUint32(8, crc32(bytes.subarray(0, 8)));
  bytes.set(head, preludeLength);
  bytes.set(payload, preludeLength + head.length);
  view.setUint32(length - crcLength, crc32(bytes.subarray(0, length - crcLength)));
  return bytes;
}

export function headerValue({ headers }: Frame, name: string): string | undefined {
  return headers.find((header) => header.name === name)?.value;
}

/** The event, or the exception, that it holds. */
export function frameName(frame: Frame): string | undefined {
  return headerValue(frame, ":event-type") ?? headerValue(frame, ":exception-type");
}

/** A frame of our own with this event in it. */
export function eventFrame({ name, data }: NamedEvent): Uint8Array {
  return writtenFrame({
    headers: [
      stringHeader(":event-type", name ?? "chunk"),
      stringHeader(":content-type", "application/json"),
      stringHeader(":message-type", "event"),
    ],
    payload: payloadOf(data),
  });
}

export function payloadOf(data: JsonObject): Uint8Array {
  return encoder.encode(JSON.stringify(data));
}

export function concatenated(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
