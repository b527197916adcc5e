import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { eventFrame, FrameSplitter, frameName } from "../llm/framing/aws-frames.ts";
import type { JsonObject } from "../llm/json.ts";
import { ArrayBlocks } from "./array-blocks.ts";
import { streamEnding } from "./ending.ts";
import { FrameBlocks } from "./frame-blocks.ts";
import { UnreadableStream } from "./stream-blocks.ts";
import type { StreamBlocks, Wire } from "./stream-blocks.ts";

const bytesOf = (pieces: readonly Wire[]): Buffer =>
  Buffer.concat(pieces.map((piece) => Buffer.from(piece)));

/** The bytes in pieces that end at these places. */
function pieces(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, index) => bytes.subarray(at[index] ?? 0, end));
}

const cutsOf = (bytes: Buffer) => fc.array(fc.nat(bytes.length), { maxLength: 12 });

/** What was passed on of the first events, and the end that was written behind them. */
function cutAfter(
  blocks: StreamBlocks,
  bytes: readonly Buffer[],
  events: number,
  last: Parameters<StreamBlocks["written"]>[0],
): Buffer {
  const shown: Wire[] = [];
  let seen = 0;
  for (const piece of bytes)
    for (const block of blocks.push(piece)) {
      if (block.data !== "") seen += 1;
      if (seen > events) return bytesOf([...shown, blocks.written(last)]);
      shown.push(block.raw);
    }
  return bytesOf([...shown, blocks.written(last)]);
}

const frames = bytesOf([
  eventFrame({ name: "messageStart", data: { role: "assistant" } }),
  eventFrame({ name: "contentBlockDelta", data: { delta: { text: "é\u{1f600}" } } }),
  eventFrame({ name: "metadata", data: { usage: {} } }),
]);

test("frames come apart into the same events however their bytes are cut, and keep every byte", () => {
  fc.assert(
    fc.property(cutsOf(frames), (cuts) => {
      const blocks = new FrameBlocks();
      const seen = pieces(frames, cuts).flatMap((piece) => [...blocks.push(piece)]);
      assert.deepEqual(bytesOf([...seen.map(({ raw }) => raw), blocks.end()]), frames);
      assert.deepEqual(
        seen.map(({ name }) => name),
        ["messageStart", "contentBlockDelta", "metadata"],
      );
    }),
  );
});

test("a frame that is cut off stays what it was, and one with a wrong checksum ends the stream", () => {
  const blocks = new FrameBlocks();
  const cut = frames.subarray(0, -3);
  const seen = [...blocks.push(cut)];
  assert.deepEqual(bytesOf([...seen.map(({ raw }) => raw), blocks.end()]), cut);
  const wrong = Buffer.from(frames);
  wrong[20] = (wrong[20] ?? 0) ^ 1;
  assert.throws(() => [...new FrameBlocks().push(wrong)], UnreadableStream);
});

const array = Buffer.from('\n [{"a":"]"}\n,\r\n{"b":"é\\""} , 3, {"c":[]}]\n');

test("an array comes apart into the same elements however its bytes are cut, and says the same", () => {
  fc.assert(
    fc.property(cutsOf(array), (cuts) => {
      const blocks = new ArrayBlocks();
      const seen = pieces(array, cuts).flatMap((piece) => [...blocks.push(piece)]);
      const whole = bytesOf([...seen.map(({ raw }) => raw), blocks.end()]).toString();
      assert.deepEqual(JSON.parse(whole), JSON.parse(array.toString()));
    }),
  );
});

test("an array that is ended anywhere is one, however its bytes were cut", () => {
  fc.assert(
    fc.property(cutsOf(array), fc.nat(4), (cuts, events) => {
      const whole = cutAfter(new ArrayBlocks(), pieces(array, cuts), events, [
        { data: { last: 1 } },
      ]);
      const before = (JSON.parse(array.toString()) as unknown[]).slice(0, events);
      const isWhole = events === 4;
      // Behind the end of the array nothing is written in a real stream: no event follows that could be too much.
      if (!isWhole) assert.deepEqual(JSON.parse(whole.toString()), [...before, { last: 1 }]);
    }),
  );
});

test("what is no array passes as it came, and an array of nonsense does not", () => {
  const blocks = new ArrayBlocks();
  const body = Buffer.from('{"error":{"message":"é"}}');
  const seen = pieces(body, [1, 22]).flatMap((piece) => [...blocks.push(piece)]);
  assert.deepEqual(bytesOf([...seen.map(({ raw }) => raw), blocks.end()]), body);
  assert.throws(() => [...new ArrayBlocks().push(Buffer.from("[,"))], UnreadableStream);
});

/** The events behind the checksums, those of a model unwrapped. */
function eventsIn(bytes: Uint8Array): unknown[] {
  const splitter = new FrameSplitter();
  const read = splitter.push(bytes);
  splitter.finish();
  return read.map((frame) => {
    const data = JSON.parse(Buffer.from(frame.payload).toString()) as { bytes?: string };
    return data.bytes === undefined
      ? [frameName(frame), data]
      : (JSON.parse(Buffer.from(data.bytes, "base64").toString()) as unknown);
  });
}

function ended(events: readonly (readonly [name: string, data: JsonObject])[]): {
  weight: number;
  last: unknown[];
} {
  const ending = streamEnding("bedrock", "chat", "/model/m/converse-stream");
  assert.ok(ending);
  let weight = 0;
  for (const [name, data] of events) {
    weight += ending.weigh(data, name);
    ending.sent(data, name);
  }
  const wire = new FrameBlocks().written(ending.end({ input: 3, output: 2 }));
  return { weight, last: eventsIn(wire) };
}

const chunk = (data: JsonObject) =>
  ["chunk", { bytes: Buffer.from(JSON.stringify(data)).toString("base64"), p: "ab" }] as const;
const usage = { inputTokens: 3, outputTokens: 2, totalTokens: 5 };
const metadata = { usage, metrics: { latencyMs: 0 } };

test("ConverseStream ends with what is open closed, messageStop and the usage; padding and signatures weigh nothing", () => {
  const delta = (contentBlockIndex: number, one: JsonObject) =>
    ["contentBlockDelta", { contentBlockIndex, delta: one, p: "abcdef" }] as const;
  const { weight, last } = ended([
    ["messageStart", { role: "assistant" }],
    delta(0, { reasoningContent: { text: "hm" } }),
    delta(0, { reasoningContent: { signature: "x".repeat(99) } }),
    ["contentBlockStop", { contentBlockIndex: 0 }],
    delta(1, { text: "é" }),
    [
      "contentBlockStart",
      { contentBlockIndex: 2, start: { toolUse: { toolUseId: "t", name: "f" } } },
    ],
    delta(2, { toolUse: { input: '{"a' } }),
  ]);
  assert.equal(weight, 2 + 2 + 1 + 3);
  assert.deepEqual(last, [
    ["contentBlockStop", { contentBlockIndex: 1 }],
    ["contentBlockStop", { contentBlockIndex: 2 }],
    ["messageStop", { stopReason: "max_tokens" }],
    ["metadata", metadata],
  ]);
  assert.deepEqual(ended([["messageStop", { stopReason: "end_turn" }]]).last.slice(1), [
    ["metadata", metadata],
  ]);
});

test("what Claude streams in chunks ends as a message of Anthropic's, in chunks", () => {
  const { weight, last } = ended([
    chunk({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } }),
    chunk({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "four" } }),
  ]);
  assert.equal(weight, 4);
  assert.deepEqual(last, [
    { type: "content_block_stop", index: 0 },
    {
      type: "message_delta",
      delta: { stop_reason: "max_tokens", stop_sequence: null },
      usage: { output_tokens: 2 },
    },
    {
      type: "message_stop",
      "amazon-bedrock-invocationMetrics": { inputTokenCount: 3, outputTokenCount: 2 },
    },
  ]);
});

for (const [model, event, weight, last] of [
  [
    "Nova",
    { contentBlockDelta: { contentBlockIndex: 0, delta: { text: "four" } } },
    4,
    [
      { messageStart: { role: "assistant" } },
      { contentBlockStop: { contentBlockIndex: 0 } },
      { messageStop: { stopReason: "max_tokens" } },
      { metadata },
    ],
  ],
  [
    "Titan",
    { outputText: "four", index: 0, completionReason: null },
    4,
    [
      {
        outputText: "",
        index: 0,
        totalOutputTextTokenCount: 2,
        completionReason: "LENGTH",
        inputTextTokenCount: 3,
      },
    ],
  ],
  [
    "Llama",
    { generation: "four", stop_reason: null },
    4,
    [{ generation: "", prompt_token_count: 3, generation_token_count: 2, stop_reason: "length" }],
  ],
  [
    "Mistral",
    { outputs: [{ text: "four", stop_reason: null }] },
    4,
    [{ outputs: [{ text: "", stop_reason: "length" }] }],
  ],
] satisfies readonly (readonly [string, JsonObject, number, unknown])[])
  test(`what ${model} streams in chunks ends in its own form`, () => {
    assert.deepEqual(ended([chunk(event)]), { weight, last });
  });
