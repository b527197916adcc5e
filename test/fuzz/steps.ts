// A fuzz case as plain data (so that a found one can be kept as JSON) and the bytes it stands for.

/** One thing a client sends. Names, texts and data are latin1 where they carry bytes that are no UTF-8. */
export type Step =
  | { readonly op: "query"; readonly sql: string }
  | {
      readonly op: "parse";
      readonly name: string;
      readonly sql: string;
      readonly types?: readonly number[];
    }
  | {
      readonly op: "bind";
      readonly portal: string;
      readonly name: string;
      /** Texts, `null` or bytes in hex behind `\x`; one format for all. */
      readonly values?: readonly (string | null)[];
      readonly format?: number;
      readonly results?: readonly number[];
    }
  | { readonly op: "execute"; readonly portal: string; readonly rows: number }
  | { readonly op: "describe" | "close"; readonly kind: "S" | "P"; readonly name: string }
  | { readonly op: "sync" | "flush" | "copyDone" | "terminate" }
  | { readonly op: "copyFail"; readonly data: string }
  | { readonly op: "copyData"; readonly data: string; readonly times?: number }
  /** A fast-path call of a function that does not exist. */
  | { readonly op: "functionCall"; readonly oid: number }
  /** Everything before it is answered before anything after it is sent. */
  | { readonly op: "wait" }
  /** A statement that sleeps, and a CancelRequest once it does. */
  | { readonly op: "cancel"; readonly sql: string }
  /** Bytes as they are, in hex. */
  | { readonly op: "raw"; readonly hex: string }
  /** Another step with its length word changed, its end cut off, or its type exchanged. */
  | {
      readonly op: "bent";
      readonly step: Step;
      readonly longer?: number;
      readonly cut?: number;
      readonly extra?: string;
      readonly type?: number;
    };

export interface FuzzCase {
  readonly steps: readonly Step[];
  /** Where the stream is split: positions (modulo its length), or at every byte. */
  readonly cuts: readonly number[] | "every";
  /** Why it is kept. */
  readonly note?: string;
}

/** What is sent between two waits. */
export interface Burst {
  readonly bytes: Buffer;
  readonly ends: "wait" | "cancel" | "end";
}

export function burstsOf(steps: readonly Step[]): Burst[] {
  const bursts: Burst[] = [];
  let parts: Buffer[] = [];
  const close = (ends: Burst["ends"]): void => {
    bursts.push({ bytes: Buffer.concat(parts), ends });
    parts = [];
  };
  for (const step of steps) {
    if (step.op === "cancel") parts.push(encode({ op: "query", sql: step.sql }));
    else if (step.op !== "wait") parts.push(encode(step));
    if (step.op === "cancel" || step.op === "wait") close(step.op);
  }
  close("end");
  return bursts;
}

export function encode(step: Step): Buffer {
  switch (step.op) {
    case "query":
    case "cancel":
      return frame("Q", text(step.sql));
    case "parse":
      return frame(
        "P",
        text(step.name),
        text(step.sql),
        int16((step.types ?? []).length),
        ...(step.types ?? []).map(int32),
      );
    case "bind":
      return bind(step);
    case "execute":
      return frame("E", text(step.portal), int32(step.rows));
    case "describe":
      return frame("D", Buffer.from(step.kind), text(step.name));
    case "close":
      return frame("C", Buffer.from(step.kind), text(step.name));
    case "sync":
      return frame("S");
    case "flush":
      return frame("H");
    case "copyDone":
      return frame("c");
    case "terminate":
      return frame("X");
    case "copyData":
      return frame("d", Buffer.from(step.data.repeat(step.times ?? 1), "latin1"));
    case "copyFail":
      return frame("f", text(step.data));
    case "functionCall":
      return frame("F", int32(step.oid), int16(0), int16(0), int16(0));
    case "wait":
      return Buffer.alloc(0);
    case "raw":
      return Buffer.from(step.hex, "hex");
    case "bent":
      return bend(step);
  }
}

function bind(step: Extract<Step, { op: "bind" }>): Buffer {
  const values = step.values ?? [];
  const results = step.results ?? [];
  return frame(
    "B",
    text(step.portal),
    text(step.name),
    int16(step.format === undefined ? 0 : 1),
    ...(step.format === undefined ? [] : [int16(step.format)]),
    int16(values.length),
    ...values.map(valueBytes),
    int16(results.length),
    ...results.map(int16),
  );
}

function valueBytes(value: string | null): Buffer {
  if (value === null) return int32(-1);
  const bytes = value.startsWith("\\x")
    ? Buffer.from(value.slice(2), "hex")
    : Buffer.from(value, "utf8");
  return Buffer.concat([int32(bytes.length), bytes]);
}

function bend({ step, longer, cut, extra, type }: Extract<Step, { op: "bent" }>): Buffer {
  const whole = encode(step);
  if (whole.length < 5) return whole;
  const bent = Buffer.concat([
    whole.subarray(0, Math.max(5, whole.length - (cut ?? 0))),
    Buffer.from(extra ?? "", "hex"),
  ]);
  // Only `longer` lies about the length; the others are whole messages that say something wrong.
  bent.writeInt32BE(Math.max(-(2 ** 31), bent.length - 1 + (longer ?? 0)), 1);
  if (type !== undefined) bent[0] = type;
  return bent;
}

export function frame(type: string, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const head = Buffer.alloc(5);
  head.write(type, "latin1");
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`, "utf8");
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value | 0);
  return bytes;
}

/** Types a client may send, as the server knows them (SocketBackend of PostgreSQL 18). */
const clientTypes: ReadonlySet<number> = new Set(Buffer.from("QPBECDHSXdcfF"));

/**
 * Whether the stream is nothing but whole messages of known types: then everything behind it is read as what it is.
 *
 * @param begins where one of them must begin
 */
export function isFramed(stream: Buffer, begins: number): boolean {
  let at = 0;
  let begun = false;
  while (at < stream.length) {
    begun ||= at === begins;
    if (!clientTypes.has(stream[at] ?? 0) || at + 5 > stream.length) return false;
    const length = stream.readInt32BE(at + 1);
    if (length < 4) return false;
    at += 1 + length;
  }
  return begun && at === stream.length;
}
