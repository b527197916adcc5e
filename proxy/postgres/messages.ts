// The PostgreSQL wire messages this proxy writes itself, and the type bytes of all it reads. Pure: bytes out, no sockets.

/** Type bytes of messages a client sends. */
export const frontend = {
  bind: 0x42, // B
  close: 0x43, // C
  describe: 0x44, // D
  execute: 0x45, // E
  functionCall: 0x46, // F
  flush: 0x48, // H
  parse: 0x50, // P
  query: 0x51, // Q
  sync: 0x53, // S
  terminate: 0x58, // X
  copyDone: 0x63, // c
  copyData: 0x64, // d
  copyFail: 0x66, // f
  password: 0x70, // p
} as const;

/** Type bytes of messages a server sends. */
export const backend = {
  parseComplete: 0x31, // 1
  bindComplete: 0x32, // 2
  closeComplete: 0x33, // 3
  notification: 0x41, // A
  commandComplete: 0x43, // C
  dataRow: 0x44, // D
  error: 0x45, // E
  copyIn: 0x47, // G
  copyOut: 0x48, // H
  emptyQuery: 0x49, // I
  backendKeyData: 0x4b, // K
  notice: 0x4e, // N
  authentication: 0x52, // R
  parameterStatus: 0x53, // S
  rowDescription: 0x54, // T
  functionCallResponse: 0x56, // V
  copyBoth: 0x57, // W
  readyForQuery: 0x5a, // Z
  copyDone: 0x63, // c
  copyData: 0x64, // d
  noData: 0x6e, // n
  portalSuspended: 0x73, // s
  parameterDescription: 0x74, // t
  negotiateProtocolVersion: 0x76, // v
} as const;

export const protocol30 = 0x00030000;
export const sslRequestCode = 80877103;
export const gssEncRequestCode = 80877104;
export const cancelRequestCode = 80877102;

/** `I` idle, `T` in a transaction, `E` in a failed one. */
export type TransactionStatus = "I" | "T" | "E";

export interface ErrorFields {
  readonly severity: "ERROR" | "FATAL";
  readonly sqlstate: string;
  readonly message: string;
  readonly hint?: string;
  /** 1-based character position in the statement. */
  readonly position?: number;
}

export function errorResponse(error: ErrorFields): Buffer {
  const fields = [
    `S${error.severity}`,
    `V${error.severity}`,
    `C${error.sqlstate}`,
    `M${clean(error.message)}`,
  ];
  if (error.hint !== undefined) fields.push(`H${clean(error.hint)}`);
  if (error.position !== undefined && error.position > 0) fields.push(`P${error.position}`);
  return message(backend.error, Buffer.from(`${fields.join("\0")}\0\0`));
}

/** Fields of an ErrorResponse or NoticeResponse, by their one-letter code, written back as a message of `type`. */
export function fieldsMessage(type: number, fields: ReadonlyMap<string, string>): Buffer {
  let text = "";
  for (const [code, value] of fields) text += `${code}${clean(value)}\0`;
  return message(type, Buffer.from(`${text}\0`));
}

export function readyForQuery(status: TransactionStatus): Buffer {
  return message(backend.readyForQuery, Buffer.from(status, "latin1"));
}

export function authenticationOk(): Buffer {
  return message(backend.authentication, Buffer.alloc(4));
}

export function parameterStatus(name: string, value: string): Buffer {
  return message(backend.parameterStatus, Buffer.from(`${clean(name)}\0${clean(value)}\0`));
}

export function backendKeyData(processId: number, secret: Buffer): Buffer {
  const head = Buffer.allocUnsafe(4);
  head.writeInt32BE(processId, 0);
  return message(backend.backendKeyData, Buffer.concat([head, secret]));
}

/** Protocol 3.x asked for, 3.`minor` spoken; names the protocol options that were not understood. */
export function negotiateProtocolVersion(minor: number, options: readonly string[]): Buffer {
  const head = Buffer.alloc(8);
  head.writeInt32BE(protocol30 + minor, 0);
  head.writeInt32BE(options.length, 4);
  const names = options.map((name) => Buffer.from(`${clean(name)}\0`));
  return message(backend.negotiateProtocolVersion, Buffer.concat([head, ...names]));
}

export function startupMessage(parameters: Readonly<Record<string, string>>): Buffer {
  let text = "";
  for (const [name, value] of Object.entries(parameters))
    text += `${clean(name)}\0${clean(value)}\0`;
  const body = Buffer.from(`${text}\0`);
  const head = Buffer.allocUnsafe(8);
  head.writeInt32BE(body.length + 8, 0);
  head.writeInt32BE(protocol30, 4);
  return Buffer.concat([head, body]);
}

export function sslRequest(): Buffer {
  const request = Buffer.allocUnsafe(8);
  request.writeInt32BE(8, 0);
  request.writeInt32BE(sslRequestCode, 4);
  return request;
}

export function cancelRequest(key: Buffer): Buffer {
  const head = Buffer.allocUnsafe(8);
  head.writeInt32BE(8 + key.length, 0);
  head.writeInt32BE(cancelRequestCode, 4);
  return Buffer.concat([head, key]);
}

export function saslInitialResponse(mechanism: string, response: string): Buffer {
  const name = Buffer.from(`${mechanism}\0`);
  const data = Buffer.from(response);
  const length = Buffer.allocUnsafe(4);
  length.writeInt32BE(data.length, 0);
  return message(frontend.password, Buffer.concat([name, length, data]));
}

export function saslResponse(response: string): Buffer {
  return message(frontend.password, Buffer.from(response));
}

export function passwordMessage(text: string): Buffer {
  return message(frontend.password, Buffer.from(`${clean(text)}\0`));
}

export function query(text: string): Buffer {
  return message(frontend.query, Buffer.from(`${clean(text)}\0`));
}

/** @param name as latin1, as it was read */
export function parse(name: string, text: string, types: readonly number[]): Buffer {
  const oids = Buffer.alloc(2 + 4 * types.length);
  oids.writeUInt16BE(types.length, 0);
  for (const [index, type] of types.entries()) oids.writeUInt32BE(type, 2 + 4 * index);
  const names = [Buffer.from(`${name}\0`, "latin1"), Buffer.from(`${clean(text)}\0`)];
  return message(frontend.parse, Buffer.concat([...names, oids]));
}

export function sync(): Buffer {
  return message(frontend.sync, Buffer.alloc(0));
}

export function flush(): Buffer {
  return message(frontend.flush, Buffer.alloc(0));
}

export function terminate(): Buffer {
  return message(frontend.terminate, Buffer.alloc(0));
}

/** Names of portals are the bytes the client chose, kept as latin1. */
export function describePortal(portal: string): Buffer {
  return message(frontend.describe, Buffer.from(`P${portal}\0`, "latin1"));
}

/** @param name bytes as latin1 */
export function closeStatement(name: string): Buffer {
  return message(frontend.close, Buffer.from(`S${name}\0`, "latin1"));
}

export function executePortal(portal: string): Buffer {
  const name = Buffer.from(`${portal}\0`, "latin1");
  return message(frontend.execute, Buffer.concat([name, Buffer.alloc(4)]));
}

/**
 * One statement without parameters under a name of its own, from Parse to Sync (PostgreSQL 18 manual, section 54.2.3): unlike a simple Query it leaves
 * the unnamed statement and the unnamed portal alone. The rows come as text, and nothing describes them.
 *
 * @param name of statement and portal; ASCII
 */
export function namedQuery(name: string, text: string): Buffer {
  const nothing = Buffer.alloc(6);
  const bind = Buffer.concat([Buffer.from(`${name}\0${name}\0`, "latin1"), nothing]);
  return Buffer.concat([
    parse(name, text, []),
    message(frontend.bind, bind),
    executePortal(name),
    closeStatement(name),
    message(frontend.close, Buffer.from(`P${name}\0`, "latin1")),
    sync(),
  ]);
}

export function message(type: number, body: Buffer): Buffer {
  const whole = Buffer.allocUnsafe(5 + body.length);
  whole[0] = type;
  whole.writeInt32BE(4 + body.length, 1);
  body.copy(whole, 5);
  return whole;
}

/** A NUL would end the string early and shift everything after it. */
function clean(text: string): string {
  return text.includes("\0") ? text.replaceAll("\0", "") : text;
}
