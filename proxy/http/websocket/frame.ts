// The frames of WebSocket as they are written (RFC 6455 section 5), and what the codes of a Close frame may be. Pure.

export const opcodes = {
  continuation: 0,
  text: 1,
  binary: 2,
  close: 8,
  ping: 9,
  pong: 10,
} as const;

export type Opcode = (typeof opcodes)[keyof typeof opcodes];
/** Of a message: what its first frame says. */
export type MessageKind = "text" | "binary";

/** Of a Close frame (RFC 6455 section 7.4.1 and IANA's registry). */
export const closeCodes = {
  normal: 1000,
  goingAway: 1001,
  protocolError: 1002,
  invalidText: 1007,
  policyViolation: 1008,
  tooBig: 1009,
  tryAgainLater: 1013,
  badGateway: 1014,
} as const;

/** Payload of a control frame (RFC 6455 section 5.5). */
export const maxControlBytes = 125;
/** Two bytes of a Close frame are its code. */
const maxReasonBytes = maxControlBytes - 2;

/** What the other side did against the protocol, and the code that says so. */
export class WebSocketViolation extends Error {
  readonly code: number;

  /** @param reason goes into the Close frame: at most 123 bytes count */
  constructor(code: number, reason: string) {
    super(reason);
    this.name = "WebSocketViolation";
    this.code = code;
  }
}

/** Codes that may stand in a Close frame; 1004, 1005, 1006 and 1015 never do. */
export function isCloseCode(code: number): boolean {
  if (code >= 3000) return code <= 4999;
  return code >= 1000 && code <= 1014 && code !== 1004 && code !== 1005 && code !== 1006;
}

/**
 * One frame.
 *
 * @param key 4 bytes that mask the payload, as a client has to; undefined leaves it as it is
 */
export function encodeFrame(
  opcode: Opcode,
  isFinal: boolean,
  payload: Buffer,
  key: Buffer | undefined,
): Buffer {
  const { length } = payload;
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const head = 2 + extended + (key === undefined ? 0 : 4);
  const frame = Buffer.allocUnsafe(head + length);
  frame[0] = (isFinal ? 0x80 : 0) | opcode;
  frame[1] =
    (key === undefined ? 0 : 0x80) | (extended === 0 ? length : extended === 2 ? 126 : 127);
  if (extended === 2) frame.writeUInt16BE(length, 2);
  else if (extended === 8) frame.writeBigUInt64BE(BigInt(length), 2);
  payload.copy(frame, head);
  if (key === undefined) return frame;
  key.copy(frame, head - 4);
  applyMask(frame.subarray(head), key, 0);
  return frame;
}

/** The payload of a Close frame; the reason is cut to what one holds, between characters. */
export function closePayload(code: number | undefined, reason: string): Buffer {
  if (code === undefined) return Buffer.alloc(0);
  let text = Buffer.from(reason);
  if (text.length > maxReasonBytes) {
    let end = maxReasonBytes;
    while (((text[end] ?? 0) & 0xc0) === 0x80) end--;
    text = text.subarray(0, end);
  }
  return Buffer.concat([Buffer.from([code >> 8, code & 255]), text]);
}

/** In place; masking and unmasking are the same (RFC 6455 section 5.3). @param offset of the first byte in the payload */
export function applyMask(bytes: Buffer, key: Buffer, offset: number): void {
  for (let at = 0; at < bytes.length; at++)
    bytes[at] = (bytes[at] ?? 0) ^ (key[(at + offset) & 3] ?? 0);
}
