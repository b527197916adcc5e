// Frames of HTTP/2 written and read by hand (RFC 9113 section 4.1), for what no client library would send.
import type { TLSSocket } from "node:tls";

export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const flag = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;

export const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export type Field = readonly [name: string, value: string];

export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** RFC 7541 section 5.1, with a prefix of 7 bits. */
function integer(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** Literals without indexing (RFC 7541 section 6.2.2), nothing compressed. */
export function block(fields: readonly Field[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => {
      const nameBytes = Buffer.from(name, "latin1");
      const valueBytes = Buffer.from(value, "latin1");
      return [
        Buffer.from([0]),
        integer(nameBytes.length),
        nameBytes,
        integer(valueBytes.length),
        valueBytes,
      ];
    }),
  );
}

/** A connection on which frames are written by hand; what comes back is kept. */
export class H2Wire {
  readonly socket: TLSSocket;
  readonly frames: Frame[] = [];
  isClosed = false;
  /** A peer that closes while bytes are on their way to it resets the connection, and what it said last may be lost. */
  failure: Error | undefined;
  #rest = Buffer.alloc(0);
  readonly #waiting: { readonly holds: () => boolean; readonly resolve: () => void }[] = [];

  constructor(socket: TLSSocket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", (error) => (this.failure ??= error));
    const closed = (): void => {
      this.isClosed = true;
      this.#settle();
    };
    socket.on("end", closed).on("close", closed);
    socket.on("drain", () => this.#settle());
  }

  /** The preface and a SETTINGS frame. */
  open(settings: readonly (readonly [id: number, value: number])[] = []): void {
    const payload = Buffer.alloc(6 * settings.length);
    settings.forEach(([id, value], at) => {
      payload.writeUInt16BE(id, 6 * at);
      payload.writeUInt32BE(value, 6 * at + 2);
    });
    this.write(preface, frame(frameType.settings, 0, 0, payload));
  }

  write(...bytes: Buffer[]): boolean {
    return this.isClosed ? false : this.socket.write(Buffer.concat(bytes));
  }

  headers(stream: number, fields: readonly Field[], endsStream = true): void {
    const flags = flag.endHeaders | (endsStream ? flag.endStream : 0);
    this.write(frame(frameType.headers, flags, stream, block(fields)));
  }

  data(stream: number, text: string | Buffer, endsStream = false): void {
    this.write(frame(frameType.data, endsStream ? flag.endStream : 0, stream, Buffer.from(text)));
  }

  reset(stream: number, code: number): void {
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(code);
    this.write(frame(frameType.reset, 0, stream, payload));
  }

  /** Resolves when what was written is on its way or the connection is closed. */
  drained(): Promise<void> {
    return this.until("drained", () => !this.socket.writableNeedDrain, 30_000);
  }

  /** Error code of the GOAWAY that came, or of the last one. */
  get goaway(): number | undefined {
    return this.frames.findLast(({ type }) => type === frameType.goaway)?.payload.readUInt32BE(4);
  }

  /** Error code of the RST_STREAM that came for this stream. */
  resetOf(stream: number): number | undefined {
    return this.frames
      .find((one) => one.type === frameType.reset && one.stream === stream)
      ?.payload.readUInt32BE(0);
  }

  /** Resolves when it holds or the connection is closed; throws when neither happens. */
  async until(what: string, holds: () => boolean, withinMs = 10_000): Promise<void> {
    if (this.isClosed || holds()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = setTimeout(
      () => reject(new Error(`never happened: ${what}; came: ${this.#told()}`)),
      withinMs,
    );
    this.#waiting.push({ holds, resolve });
    await promise.finally(() => clearTimeout(timer));
  }

  #told(): string {
    return this.frames.map(({ type, stream }) => `${type}/${stream}`).join(" ");
  }

  #read(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    while (this.#rest.length >= 9) {
      const length = this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < 9 + length) break;
      this.frames.push({
        type: this.#rest.readUInt8(3),
        flags: this.#rest.readUInt8(4),
        stream: this.#rest.readUInt32BE(5) % 0x80000000,
        payload: this.#rest.subarray(9, 9 + length),
      });
      this.#rest = this.#rest.subarray(9 + length);
    }
    this.#settle();
  }

  #settle(): void {
    for (const one of this.#waiting.splice(0))
      if (this.isClosed || one.holds()) one.resolve();
      else this.#waiting.push(one);
  }
}
