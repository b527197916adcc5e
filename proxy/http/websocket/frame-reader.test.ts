// Our frames and our reading of them, judged by the receiver of `ws`.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import * as ws from "ws";

import { applyMask, closePayload, encodeFrame, opcodes, WebSocketViolation } from "./frame.ts";
import type { Opcode } from "./frame.ts";
import { FrameReader } from "./frame-reader.ts";

const maxMessageBytes = 100_000;
const key = Buffer.from([0x12, 0x34, 0x56, 0x78]);

type Heard = readonly string[];

/** What the reader says of these pieces: messages put together, controls in their order, and what ended it. */
function read(pieces: readonly Buffer[], sender: "client" | "server" = "client"): Heard {
  const heard: string[] = [];
  let parts: Buffer[] = [];
  const reader = new FrameReader(
    sender,
    {
      data(kind, bytes, isFirst, isLast) {
        assert.equal(isFirst, parts.length === 0);
        parts.push(Buffer.from(bytes));
        if (!isLast) return;
        heard.push(`${kind} ${Buffer.concat(parts).toString("hex")}`);
        parts = [];
      },
      control: (kind, payload) => heard.push(`${kind} ${payload.toString("hex")}`),
      close: (code, reason) => heard.push(`close ${code ?? 1005} ${reason}`),
    },
    maxMessageBytes,
  );
  try {
    for (const piece of pieces) reader.push(Buffer.from(piece));
  } catch (error) {
    assert.ok(error instanceof WebSocketViolation);
    heard.push(`violation ${error.code}`);
  }
  return heard;
}

interface WsReceiver {
  on(event: string, listener: (...args: never[]) => void): this;
  write(chunk: Buffer): boolean;
}

/** The same by `ws`. */
async function wsReads(bytes: Buffer, isServer = true): Promise<Heard> {
  const heard: string[] = [];
  const { Receiver } = ws as unknown as {
    Receiver: new (options: object) => WsReceiver;
  };
  const receiver = new Receiver({
    isServer,
    maxPayload: maxMessageBytes,
    binaryType: "nodebuffer",
    allowSynchronousEvents: true,
    skipUTF8Validation: false,
  });
  receiver.on("message", (data: Buffer, isBinary: boolean) =>
    heard.push(`${isBinary ? "binary" : "text"} ${data.toString("hex")}`),
  );
  receiver.on("ping", (data: Buffer) => heard.push(`ping ${data.toString("hex")}`));
  receiver.on("pong", (data: Buffer) => heard.push(`pong ${data.toString("hex")}`));
  receiver.on("conclude", (code: number, reason: Buffer) =>
    heard.push(`close ${code} ${reason.toString()}`),
  );
  receiver.on("error", (error: Error) => {
    const [status] = Object.getOwnPropertySymbols(error).map(
      (symbol) => (error as unknown as Record<symbol, unknown>)[symbol],
    );
    heard.push(`violation ${String(status)}`);
  });
  receiver.write(bytes);
  await new Promise((resolve) => setImmediate(resolve));
  return heard;
}

const text = fc.string({ unit: "grapheme", maxLength: 40 }).map((value) => Buffer.from(value));
const payload = fc.oneof(
  text,
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(125, 126, 127, 65_535, 65_536).map((length) => Buffer.alloc(length, "a")),
);
const dataOpcode = fc.constantFrom<Opcode>(opcodes.text, opcodes.binary);
const control = fc
  .tuple(
    fc.constantFrom<Opcode>(opcodes.ping, opcodes.pong),
    fc.uint8Array({ maxLength: 125 }).map((bytes) => Buffer.from(bytes)),
  )
  .map(([opcode, bytes]) => encodeFrame(opcode, true, bytes, key));

/** One message cut into frames, controls between them. */
const message = fc
  .tuple(
    dataOpcode,
    payload,
    fc.array(fc.nat(300), { maxLength: 4 }),
    fc.array(control, { maxLength: 2 }),
  )
  .map(([opcode, bytes, cuts, controls]) => {
    const points = [...new Set(cuts.map((cut) => Math.min(cut, bytes.length)))].sort(
      (a, b) => a - b,
    );
    const edges = [0, ...points, bytes.length];
    const frames: Buffer[] = [];
    for (let index = 0; index + 1 < edges.length; index++) {
      const isLast = index + 2 === edges.length;
      frames.push(
        encodeFrame(
          index === 0 ? opcode : opcodes.continuation,
          isLast,
          bytes.subarray(edges[index], edges[index + 1]),
          key,
        ),
      );
      if (!isLast) frames.push(...controls);
    }
    return Buffer.concat(frames);
  });

const ending = fc.option(
  fc
    .tuple(fc.constantFrom(undefined, 1000, 1001, 1011, 3000, 4999), fc.string({ maxLength: 60 }))
    .map(([code, reason]) => encodeFrame(opcodes.close, true, closePayload(code, reason), key)),
  { nil: Buffer.alloc(0) },
);
const conversation = fc
  .tuple(fc.array(fc.oneof(message, control), { maxLength: 5 }), ending)
  .map(([frames, end]) => Buffer.concat([...frames, end]));

/** Ours may have heard less before a violation: it refuses text as soon as it is wrong, and lengths that are not the shortest. */
function agrees(ours: Heard, theirs: Heard): void {
  const last = ours.at(-1) ?? "";
  if (!last.startsWith("violation")) assert.deepEqual(ours, theirs);
  else assert.deepEqual(ours.slice(0, -1), theirs.slice(0, ours.length - 1));
}

test("whatever frames a client sends are read as `ws` reads them", async () => {
  await fc.assert(
    fc.asyncProperty(conversation, async (bytes) => agrees(read([bytes]), await wsReads(bytes))),
    { numRuns: 150 },
  );
});

test("every split point of a conversation gives the same", () => {
  fc.assert(
    fc.property(conversation, fc.array(fc.nat(100_000), { maxLength: 8 }), (bytes, cuts) => {
      const points = cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b);
      const edges = [0, ...points, bytes.length];
      const pieces = edges.slice(1).map((end, index) => bytes.subarray(edges[index], end));
      assert.deepEqual(read(pieces), read([bytes]));
      if (bytes.length < 600)
        assert.deepEqual(read([...bytes].map((byte) => Buffer.of(byte))), read([bytes]));
    }),
    { numRuns: 150 },
  );
});

test("whatever bytes are changed, what is taken is what `ws` takes, and what `ws` refuses is refused", async () => {
  let taken = 0;
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(
      conversation,
      fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { minLength: 1, maxLength: 3 }),
      async (bytes, changes) => {
        if (bytes.length === 0) return;
        const changed = Buffer.from(bytes);
        for (const [at, value] of changes) changed[at % changed.length] = value;
        const ours = read([changed]);
        const theirs = await wsReads(changed);
        if (ours.at(-1)?.startsWith("violation") === true) refused++;
        else taken++;
        agrees(ours, theirs);
      },
    ),
    { numRuns: 500 },
  );
  assert.ok(taken > 30 && refused > 100, `${taken} taken, ${refused} refused`);
});

test("random bytes never throw anything but a violation", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, isClient) => {
      read([Buffer.from(bytes)], isClient ? "client" : "server");
    }),
  );
});

test("what we write is read by `ws` as it was meant, masked and not", async () => {
  await fc.assert(
    fc.asyncProperty(dataOpcode, payload, fc.boolean(), async (opcode, bytes, isMasked) => {
      const isText = opcode === opcodes.text;
      const sent = isText ? Buffer.from(bytes.toString("utf8")) : bytes;
      const frame = encodeFrame(opcode, true, sent, isMasked ? key : undefined);
      const kind = isText ? "text" : "binary";
      assert.deepEqual(await wsReads(frame, isMasked), [`${kind} ${sent.toString("hex")}`]);
    }),
    { numRuns: 100 },
  );
});

const mask = (bytes: readonly number[]): number[] => {
  const masked = Buffer.from(bytes);
  applyMask(masked, key, 0);
  return [...key, ...masked];
};
const long = (...bytes: number[]): number[] => [
  ...Array.from({ length: 8 - bytes.length }, () => 0),
  ...bytes,
];

const wrong: readonly (readonly [what: string, bytes: readonly number[], code: number])[] = [
  ["reserved bit 1", [0xc1, 0x80, ...mask([])], 1002],
  ["reserved bit 2", [0xa1, 0x80, ...mask([])], 1002],
  ["reserved bit 3", [0x91, 0x80, ...mask([])], 1002],
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map(
    (opcode) => [`the opcode ${opcode}`, [0x80 | opcode, 0x80, ...mask([])], 1002] as const,
  ),
  ["a frame that is not masked", [0x81, 0x01, 0x61], 1002],
  ["a continuation of nothing", [0x80, 0x80, ...mask([])], 1002],
  ["a message within a message", [0x01, 0x80, ...mask([]), 0x81, 0x80, ...mask([])], 1002],
  ["a ping in pieces", [0x09, 0x80, ...mask([])], 1002],
  ["a ping of 126 bytes", [0x89, 0xfe, 0, 126, ...mask([])], 1002],
  ["a close of one byte", [0x88, 0x81, ...mask([3])], 1002],
  ["a close of one byte that never comes", [0x88, 0x81, ...key], 1002],
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535].map(
    (code) =>
      [`the close code ${code}`, [0x88, 0x82, ...mask([code >> 8, code & 255])], 1002] as const,
  ),
  ["a close whose reason is not UTF-8", [0x88, 0x83, ...mask([3, 0xe8, 0xff])], 1007],
  ["a length of 16 bits for 5 bytes", [0x82, 0xfe, 0, 5, ...mask([1, 2, 3, 4, 5])], 1002],
  ["a length of 64 bits for 5 bytes", [0x82, 0xff, ...long(5), ...mask([1, 2, 3, 4, 5])], 1002],
  ["a negative length", [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, ...mask([])], 1002],
  [
    "a length beyond the bound",
    [0x82, 0xff, ...long(0x7f, 0xff, 0xff, 0xff, 0xff), ...mask([])],
    1009,
  ],
  ["text that is not UTF-8", [0x81, 0x81, ...mask([0xff])], 1007],
  ["an overlong slash", [0x81, 0x82, ...mask([0xc0, 0xaf])], 1007],
  ["half of a surrogate pair", [0x81, 0x83, ...mask([0xed, 0xa0, 0x80])], 1007],
  ["text that ends within a character", [0x81, 0x82, ...mask([0xe2, 0x82])], 1007],
];

for (const [what, bytes, code] of wrong)
  test(`${what} is a violation of ${code}`, () =>
    assert.deepEqual(read([Buffer.from(bytes)]), [`violation ${code}`]));

test("text is refused at its first wrong byte, not at the end of its message", () => {
  const begun = encodeFrame(opcodes.text, false, Buffer.from([0x61, 0xf4, 0x90]), key);
  assert.deepEqual(read([begun]), ["violation 1007"]);
});

test("a character may be cut between two frames", () => {
  const euro = Buffer.from("€");
  const frames = [
    encodeFrame(opcodes.text, false, euro.subarray(0, 1), key),
    encodeFrame(opcodes.ping, true, Buffer.alloc(0), key),
    encodeFrame(opcodes.continuation, true, euro.subarray(1), key),
  ];
  assert.deepEqual(read(frames), ["ping ", `text ${euro.toString("hex")}`]);
});

test("frames of a server are not masked, and one that is, is a violation", () => {
  assert.deepEqual(read([encodeFrame(opcodes.text, true, Buffer.from("a"), undefined)], "server"), [
    "text 61",
  ]);
  assert.deepEqual(read([encodeFrame(opcodes.text, true, Buffer.from("a"), key)], "server"), [
    "violation 1002",
  ]);
});

test("messages add up over their frames: many small ones meet the bound as one large one does", () => {
  const frames = Array.from({ length: 12 }, (_, index) =>
    encodeFrame(
      index === 0 ? opcodes.binary : opcodes.continuation,
      false,
      Buffer.alloc(10_000),
      key,
    ),
  );
  assert.deepEqual(read(frames), ["violation 1009"]);
});

test("nothing is read after a Close", () => {
  const close = encodeFrame(opcodes.close, true, closePayload(1000, "done"), key);
  const more = encodeFrame(opcodes.text, true, Buffer.from("late"), key);
  assert.deepEqual(read([Buffer.concat([close, more]), more]), ["close 1000 done"]);
});

test("a long reason is cut between characters to what a Close frame holds", () => {
  const payloadOf = closePayload(1008, "ä".repeat(100));
  assert.equal(payloadOf.length, 2 + 122);
  assert.equal(payloadOf.subarray(2).toString(), "ä".repeat(61));
});
