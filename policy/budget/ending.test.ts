import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ArrayBlocks } from "./array-blocks.ts";
import { EventBlocks } from "./event-blocks.ts";
import { streamEnding } from "./ending.ts";
import type { StreamEnding } from "./ending.ts";
import type { Tokens } from "./price.ts";
import { UnreadableStream } from "./stream-blocks.ts";

const events = [
  'data: {"a":1}\n\n',
  'event: x\r\ndata: {"b":"é\u{1f600}"}\r\n\r\n',
  ": only a comment\n\n",
  'data: {"c":\rdata: 3}\r\r',
  "data:no space\n\n",
];

test("a stream comes apart into the same events however its bytes are cut, and nothing of it is lost", () => {
  const bytes = Buffer.from(events.join("") + "data: begun");
  fc.assert(
    fc.property(fc.array(fc.nat(bytes.length), { maxLength: 12 }), (cuts) => {
      const blocks = new EventBlocks("events");
      const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
      const seen = at
        .slice(1)
        .flatMap((end, index) => blocks.push(bytes.subarray(at[index] ?? 0, end)));
      assert.equal(seen.map(({ raw }) => raw).join("") + blocks.end(), bytes.toString());
      assert.deepEqual(
        seen.map(({ data }) => data).filter((data) => data !== ""),
        ['{"a":1}', '{"b":"é\u{1f600}"}', '{"c":\n3}', "no space"],
      );
    }),
  );
});

test("an event without an end is no reason to hold it for ever", () => {
  const blocks = new EventBlocks("events");
  const chunk = Buffer.alloc(1024 * 1024, "x");
  assert.throws(() => {
    for (let at = 0; at < 8; at += 1) blocks.push(chunk);
  }, UnreadableStream);
});

/** As server-sent events. */
const textOf = (ending: StreamEnding, tokens: Tokens): string =>
  new EventBlocks("events").written(ending.end(tokens));

const dataOf = (text: string): unknown[] =>
  text
    .split("\n\n")
    .filter((block) => block !== "" && !block.endsWith("[DONE]"))
    .map((block) => JSON.parse(block.slice(block.indexOf("data: ") + 6)) as unknown);

test("a chat ends each choice that has not ended, with the head of its chunks, and its usage where it was asked for", () => {
  const ending = streamEnding("openai", "chat", "/v1/chat/completions");
  assert.ok(ending);
  const head = { id: "c1", object: "chat.completion.chunk", created: 5, model: "m" };
  const chunk = (index: number, content: string, reason: string | null) => ({
    ...head,
    choices: [{ index, delta: { role: "assistant", content }, finish_reason: reason }],
    usage: null,
  });
  assert.equal(ending.weigh(chunk(0, "four", null), undefined), 4);
  for (const one of [chunk(0, "four", null), chunk(1, "é", null), chunk(0, "", "stop")])
    ending.sent(one, undefined);
  const text = textOf(ending, { input: 3, output: 2 });
  assert.ok(text.endsWith("data: [DONE]\n\n"));
  assert.deepEqual(dataOf(text), [
    {
      ...head,
      choices: [{ index: 1, delta: {}, logprobs: null, finish_reason: "length" }],
      usage: null,
    },
    {
      ...head,
      choices: [],
      usage: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
    },
  ]);
});

test("what a model thinks and asks of tools is counted like what it says", () => {
  const ending = streamEnding("openai", "chat", "/v1/chat/completions");
  const delta = {
    role: "assistant",
    reasoning_content: "think",
    tool_calls: [
      { index: 0, id: "call_1", type: "function", function: { name: "f", arguments: '{"a":' } },
    ],
  };
  assert.equal(ending?.weigh({ choices: [{ index: 0, delta }] }, undefined), 5 + 1 + 5);
});

test("a response in the middle of a tool call says that it is incomplete, and does not end the call's arguments", () => {
  const ending = streamEnding("openai", "responses", "/v1/responses");
  assert.ok(ending);
  const call = { id: "fc_1", type: "function_call", name: "f", call_id: "c", arguments: "" };
  for (const event of [
    { type: "response.created", sequence_number: 0, response: { id: "r", status: "in_progress" } },
    { type: "response.output_item.added", sequence_number: 1, output_index: 0, item: call },
    {
      type: "response.function_call_arguments.delta",
      sequence_number: 2,
      output_index: 0,
      item_id: "fc_1",
      delta: '{"city":',
    },
  ])
    ending.sent(event, undefined);
  const [done, last] = dataOf(textOf(ending, { input: 1, output: 2 }));
  const item = { ...call, status: "incomplete", arguments: '{"city":' };
  assert.deepEqual(done, {
    type: "response.output_item.done",
    sequence_number: 3,
    output_index: 0,
    item,
  });
  assert.deepEqual((last as { response: { id: string; output: unknown[] } }).response.output, [
    item,
  ]);
});

test("nobody knows how to end the streams of other operations", () => {
  assert.equal(streamEnding("openai", "other", "/v1/other"), undefined);
});

test("a plain completion ends as one", () => {
  const ending = streamEnding("openai", "completions", "/v1/completions");
  assert.ok(ending);
  const event = {
    id: "c",
    object: "text_completion",
    created: 1,
    model: "m",
    choices: [{ index: 0, text: "one two", finish_reason: null }],
  };
  assert.equal(ending.weigh(event, undefined), 7);
  ending.sent(event, undefined);
  assert.deepEqual(dataOf(textOf(ending, { input: 1, output: 2 })), [
    {
      id: "c",
      object: "text_completion",
      created: 1,
      model: "m",
      choices: [{ index: 0, text: "", logprobs: null, finish_reason: "length" }],
    },
  ]);
});

test("a message of Anthropic's closes the block that is open, then says why it stopped", () => {
  const ending = streamEnding("anthropic", "chat", "/v1/messages");
  assert.ok(ending);
  const delta = (more: object) => ({ type: "content_block_delta", index: 1, delta: more });
  assert.equal(ending.weigh(delta({ type: "thinking_delta", thinking: "hm" }), undefined), 2);
  assert.equal(
    ending.weigh(delta({ type: "signature_delta", signature: "x".repeat(99) }), undefined),
    0,
  );
  assert.equal(
    ending.weigh(delta({ type: "input_json_delta", partial_json: '{"a"' }), undefined),
    4,
  );
  for (const event of [
    { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
    { type: "content_block_stop", index: 0 },
    { type: "content_block_start", index: 1, content_block: { type: "text", text: "" } },
  ])
    ending.sent(event, undefined);
  const text = textOf(ending, { input: 9, output: 4 });
  assert.match(text, /^event: content_block_stop\ndata: /);
  assert.deepEqual(dataOf(text), [
    { type: "content_block_stop", index: 1 },
    {
      type: "message_delta",
      delta: { stop_reason: "max_tokens", stop_sequence: null },
      usage: { output_tokens: 4 },
    },
    { type: "message_stop" },
  ]);
});

test("a chat of Ollama ends with a line that is done because of its length", () => {
  const blocks = new EventBlocks("lines");
  const line = '{"model":"m","created_at":"t","message":{"role":"assistant","content":"hi"}}\n';
  const [block] = blocks.push(Buffer.from(`${line}{"mod`));
  assert.equal(block?.raw, line);
  assert.equal(blocks.end(), '{"mod');
  const ending = streamEnding("openai", "chat", "/api/chat");
  assert.ok(ending);
  const event = JSON.parse(block?.data ?? "") as Record<string, unknown>;
  assert.equal(ending.weigh(event, undefined), 2);
  ending.sent(event, undefined);
  assert.deepEqual(JSON.parse(blocks.written(ending.end({ input: 1, output: 2 }))), {
    model: "m",
    created_at: "t",
    message: { role: "assistant", content: "" },
    done: true,
    done_reason: "length",
    prompt_eval_count: 1,
    eval_count: 2,
  });
});

test("a stream of Gemini's ends with MAX_TOKENS and its usage", () => {
  const ending = streamEnding("gemini", "chat", "/v1beta/models/g:streamGenerateContent");
  assert.ok(ending);
  const event = {
    candidates: [{ content: { parts: [{ text: "four" }], role: "model" }, index: 0 }],
    modelVersion: "g",
    responseId: "r",
  };
  assert.equal(ending.weigh(event, undefined), 4);
  ending.sent(event, undefined);
  const text = textOf(ending, { input: 3, output: 1 });
  const last = {
    candidates: [
      {
        content: { parts: [{ text: "" }], role: "model" },
        finishReason: "MAX_TOKENS",
        index: 0,
      },
    ],
    usageMetadata: { promptTokenCount: 3, candidatesTokenCount: 1, totalTokenCount: 4 },
    modelVersion: "g",
    responseId: "r",
  };
  assert.deepEqual(dataOf(text), [last]);
  const blocks = new ArrayBlocks();
  const shown = [...blocks.push(Buffer.from(`[${JSON.stringify(event)}\n, {"cand`))];
  const whole =
    shown.map(({ raw }) => raw).join("") + blocks.written(ending.end({ input: 3, output: 1 }));
  assert.deepEqual(JSON.parse(whole), [event, last]);
});
