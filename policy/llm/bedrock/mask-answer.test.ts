import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { cutAt, cuts, texts } from "../../mask/stream-fixture.ts";
import { NotMaskable } from "../../mask/stream-json.ts";
import {
  concatenated,
  FrameSplitter,
  headerValue,
  maxFrameLength,
  stringHeader,
  writtenFrame,
} from "../framing/aws-frames.ts";
import { bodyMasker } from "../mask-answer.ts";
import { chunksOf, maskedBody, masker } from "../mask-fixture.ts";
import { bedrock } from "./provider.ts";

type Cut = "each" | readonly number[];
const media = "application/vnd.amazon.eventstream";
const signature = Buffer.from("only the provider reads this ".repeat(4)).toString("base64");

const frame = (name: string, data: unknown): Uint8Array =>
  writtenFrame({
    headers: [
      stringHeader(":event-type", name),
      stringHeader(":content-type", "application/json"),
      stringHeader(":message-type", "event"),
    ],
    payload: Buffer.from(JSON.stringify(data)),
  });

interface Event {
  readonly name: string;
  readonly data: Record<string, unknown>;
}

/** Throws where a checksum is wrong. */
function eventsIn(bytes: Uint8Array): Event[] {
  const splitter = new FrameSplitter();
  const frames = splitter.push(bytes);
  splitter.finish();
  return frames.map((one) => ({
    name: headerValue(one, ":event-type") ?? headerValue(one, ":exception-type") ?? "",
    data: JSON.parse(Buffer.from(one.payload).toString("utf8")),
  }));
}

const said = fc.record({
  thought: texts,
  text: texts,
  args: fc.record({ to: texts, aws_secret: texts }),
});
type Said = typeof said extends fc.Arbitrary<infer T> ? T : never;

const usage = { inputTokens: 10, outputTokens: 20, totalTokens: 30 };

const converseAnswer = ({ thought, text, args }: Said) => ({
  output: {
    message: {
      role: "assistant",
      content: [
        { reasoningContent: { reasoningText: { text: thought, signature } } },
        { text },
        { toolUse: { toolUseId: "tooluse_1", name: "mail", input: args } },
      ],
    },
  },
  stopReason: "tool_use",
  usage,
  metrics: { latencyMs: 12 },
});

function converseStream({ thought, text, args }: Said, cut: Cut): Buffer {
  const delta = (contentBlockIndex: number, one: object) =>
    frame("contentBlockDelta", { contentBlockIndex, delta: one, p: "abcdefgh" });
  const stop = (contentBlockIndex: number) =>
    frame("contentBlockStop", { contentBlockIndex, p: "ab" });
  return Buffer.concat([
    frame("messageStart", { role: "assistant", p: "abc" }),
    ...cutAt(thought, cut).map((piece) => delta(0, { reasoningContent: { text: piece } })),
    delta(0, { reasoningContent: { signature } }),
    stop(0),
    ...cutAt(text, cut).map((piece) => delta(1, { text: piece })),
    stop(1),
    frame("contentBlockStart", {
      contentBlockIndex: 2,
      start: { toolUse: { toolUseId: "tooluse_1", name: "mail" } },
    }),
    ...cutAt(JSON.stringify(args), cut).map((piece) => delta(2, { toolUse: { input: piece } })),
    stop(2),
    frame("messageStop", { stopReason: "tool_use", p: "abcd" }),
    frame("metadata", { usage, metrics: { latencyMs: 12 }, p: "abcde" }),
  ]);
}

interface Delta {
  readonly text?: string;
  readonly toolUse?: { readonly input: string };
  readonly reasoningContent?: { readonly text?: string; readonly signature?: string };
}

/** As an SDK puts a message together from its events. */
function assembled(events: readonly Event[]): unknown[] {
  let thought = "";
  let text = "";
  let input = "";
  let signed: string | undefined;
  const stopped = new Set<unknown>();
  for (const { name, data } of events) {
    const { contentBlockIndex: index } = data;
    if (name === "contentBlockStop") stopped.add(index);
    if (name !== "contentBlockDelta") continue;
    assert.ok(!stopped.has(index), "a delta outside of its block");
    const delta = data["delta"] as Delta;
    text += delta.text ?? "";
    input += delta.toolUse?.input ?? "";
    if (delta.reasoningContent?.text !== undefined) {
      assert.equal(signed, undefined, "thinking after its signature");
      thought += delta.reasoningContent.text;
    }
    signed ??= delta.reasoningContent?.signature;
  }
  return [
    { reasoningContent: { reasoningText: { text: thought, signature: signed } } },
    { text },
    { toolUse: { toolUseId: "tooluse_1", name: "mail", input: JSON.parse(input) as unknown } },
  ];
}

describe("Converse", () => {
  test("says the same masked text streamed as it says whole, however it is cut", () => {
    fc.assert(
      fc.property(said, cuts, cuts, (what, cut, chunks) => {
        const whole = JSON.parse(
          maskedBody(
            bedrock,
            "application/json",
            chunksOf(JSON.stringify(converseAnswer(what)), chunks),
          ).text,
        );
        const { bytes } = maskedBody(bedrock, media, chunksOf(converseStream(what, cut), chunks));
        const events = eventsIn(bytes);
        assert.deepEqual(assembled(events), whole.output.message.content);
        assert.deepEqual(whole.usage, usage);
        assert.deepEqual(events.at(-1)?.data["usage"], usage);
        assert.equal(events.at(-2)?.data["stopReason"], "tool_use");
      }),
      { numRuns: 200 },
    );
  });

  test("frames that stay as they are keep their very bytes", () => {
    const body = converseStream(
      { thought: "So. ", text: "All is well. ", args: { to: "x", aws_secret: "" } },
      [1],
    );
    assert.deepEqual(maskedBody(bedrock, media, [body]).bytes, body);
  });
});

describe("a stream of the model's own events", () => {
  const chunk = (inner: unknown) =>
    frame("chunk", { bytes: Buffer.from(JSON.stringify(inner)).toString("base64"), p: "abc" });
  const innerOf = (bytes: Uint8Array): Record<string, never>[] =>
    eventsIn(bytes).map(({ name, data }) => {
      assert.equal(name, "chunk");
      return JSON.parse(Buffer.from(String(data["bytes"]), "base64").toString("utf8"));
    });
  const streams: readonly (readonly [
    model: string,
    events: (pieces: readonly string[]) => readonly unknown[],
    text: (event: Record<string, never>) => string | undefined,
  ])[] = [
    [
      "Claude",
      (pieces) => [
        { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
        ...pieces.map((text) => ({
          type: "content_block_delta",
          index: 0,
          delta: { type: "text_delta", text },
        })),
        { type: "content_block_stop", index: 0 },
        { type: "message_stop", "amazon-bedrock-invocationMetrics": { inputTokenCount: 1 } },
      ],
      (event) => event["delta"]?.["text"],
    ],
    [
      "Nova",
      (pieces) => [
        ...pieces.map((text) => ({ contentBlockDelta: { delta: { text }, contentBlockIndex: 0 } })),
        { contentBlockStop: { contentBlockIndex: 0 } },
        { messageStop: { stopReason: "end_turn" } },
      ],
      (event) => event["contentBlockDelta"]?.["delta"]?.["text"],
    ],
    [
      "Titan",
      (pieces) =>
        pieces.map((outputText, at) => ({
          outputText,
          index: 0,
          completionReason: at === pieces.length - 1 ? "FINISH" : null,
        })),
      (event) => event["outputText"],
    ],
    [
      "Llama",
      (pieces) =>
        pieces.map((generation, at) => ({
          generation,
          stop_reason: at === pieces.length - 1 ? "stop" : null,
        })),
      (event) => event["generation"],
    ],
    [
      "Mistral",
      (pieces) =>
        pieces.map((text, at) => ({
          outputs: [{ text, stop_reason: at === pieces.length - 1 ? "stop" : null }],
        })),
      (event) => event["outputs"]?.[0]?.["text"],
    ],
  ];
  for (const [model, events, textOf] of streams)
    test(`of ${model} says the masked text, however it is cut`, () => {
      fc.assert(
        fc.property(texts, cuts, cuts, (text, cut, chunks) => {
          const body = Buffer.concat(events(cutAt(text, cut)).map(chunk));
          const { bytes } = maskedBody(bedrock, media, chunksOf(body, chunks));
          const shown = innerOf(bytes).map((event) => textOf(event) ?? "");
          assert.equal(shown.join(""), masker.whole(text, {}));
        }),
        { numRuns: 100 },
      );
    });

  test("that is no JSON is refused", () => {
    const bad = frame("chunk", { bytes: Buffer.from("jane@example.com").toString("base64") });
    assert.throws(() => maskedBody(bedrock, media, [Buffer.from(bad)]), NotMaskable);
  });
});

describe("frames", () => {
  const good = Buffer.from(
    frame("contentBlockDelta", { contentBlockIndex: 0, delta: { text: "jane@example.com" } }),
  );
  const masked = (...parts: readonly Uint8Array[]) => {
    const body = bodyMasker(media, bedrock, masker, {});
    assert.ok(typeof body === "object" && "push" in body);
    return Buffer.concat([...parts.map((part) => body.push(part)), body.end()] as Uint8Array[]);
  };

  test("with any bit of them turned over are refused, and nothing of them is passed on", () => {
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(7), (at, bit) => {
        const bad = Buffer.from(good);
        bad[at] = (bad[at] ?? 0) ^ (1 << bit);
        assert.throws(() => masked(bad), NotMaskable);
      }),
    );
  });

  test("cut off anywhere are refused at the end", () => {
    for (const at of [1, 11, 12, 40, good.length - 1])
      assert.throws(() => masked(good.subarray(0, at)), /inside a frame/);
  });

  test("longer than what is kept are refused at their first twelve bytes", () => {
    const long = Buffer.from(
      writtenFrame({ headers: [], payload: new Uint8Array(maxFrameLength) }).subarray(0, 12),
    );
    assert.throws(() => masked(long), /longer than 4194304 bytes/);
  });

  test("with a payload that is no JSON are refused, those without one are passed on", () => {
    const headers = [stringHeader(":message-type", "event")];
    assert.throws(
      () => masked(writtenFrame({ headers, payload: Buffer.from("jane@example.com") })),
      NotMaskable,
    );
    const empty = Buffer.from(writtenFrame({ headers, payload: new Uint8Array(0) }));
    assert.deepEqual(masked(empty), empty);
  });

  test("of an exception come after what was held back, their sentence masked", () => {
    const exception = writtenFrame({
      headers: [
        stringHeader(":exception-type", "modelStreamErrorException"),
        stringHeader(":message-type", "exception"),
        stringHeader(":error-message", "ask jane@example.com"),
      ],
      payload: Buffer.from(JSON.stringify({ message: "ask jane@example.com" })),
    });
    const shown = masked(concatenated([good, exception]));
    assert.ok(!shown.toString("latin1").includes("jane"));
    assert.deepEqual(
      eventsIn(shown).map(({ name }) => name),
      ["contentBlockDelta", "contentBlockDelta", "modelStreamErrorException"],
    );
  });

  test("keep headers that are no text", () => {
    const number = {
      name: "n",
      value: undefined,
      raw: Buffer.from("\u0001n\u0004\0\0\0\u0007", "latin1"),
    };
    const bytes = Buffer.from(writtenFrame({ headers: [number], payload: Buffer.from("{}") }));
    assert.deepEqual(masked(bytes), bytes);
  });
});
