import assert from "node:assert/strict";
import { test } from "node:test";
import { answerReader } from "../answer.ts";
import { anthropic } from "./provider.ts";

const bytes = (text: string) => Buffer.from(text);

function read(type: string, ...chunks: readonly string[]) {
  const reader = answerReader(anthropic, type);
  for (const chunk of chunks) reader.push(bytes(chunk));
  return reader.finish();
}
const sse = (...events: readonly { type: string }[]) =>
  events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join("");

test("reads a message with thinking, text, a tool call and its cost", () => {
  assert.deepEqual(
    read(
      "application/json",
      JSON.stringify({
        type: "message",
        content: [
          { type: "thinking", thinking: "Hm.", signature: "x" },
          { type: "text", text: "Paid." },
          { type: "tool_use", id: "t", name: "pay", input: { n: 7 } },
        ],
        usage: {
          input_tokens: 10,
          cache_read_input_tokens: 100,
          cache_creation_input_tokens: 5,
          output_tokens: 3,
        },
      }),
    ),
    {
      text: "Paid.",
      thinking: "Hm.",
      toolCalls: [{ name: "pay", arguments: '{"n":7}' }],
      usage: { input: 115, output: 3, cacheRead: 100, cacheWrite: 5 },
      truncated: false,
    },
  );
});

const stream = [
  {
    type: "message_start",
    message: { content: [], usage: { input_tokens: 10, output_tokens: 1 } },
  },
  { type: "content_block_start", index: 0, content_block: { type: "thinking", thinking: "" } },
  { type: "content_block_delta", index: 0, delta: { type: "thinking_delta", thinking: "H" } },
  { type: "ping" },
  { type: "content_block_delta", index: 0, delta: { type: "thinking_delta", thinking: "m." } },
  { type: "content_block_stop", index: 0 },
  { type: "content_block_start", index: 1, content_block: { type: "text", text: "" } },
  { type: "content_block_delta", index: 1, delta: { type: "text_delta", text: "Pa" } },
  { type: "content_block_delta", index: 1, delta: { type: "text_delta", text: "id." } },
  { type: "content_block_stop", index: 1 },
  {
    type: "content_block_start",
    index: 2,
    content_block: { type: "tool_use", name: "pay", input: {} },
  },
  {
    type: "content_block_delta",
    index: 2,
    delta: { type: "input_json_delta", partial_json: '{"n"' },
  },
  {
    type: "content_block_delta",
    index: 2,
    delta: { type: "input_json_delta", partial_json: ":7}" },
  },
  { type: "content_block_stop", index: 2 },
  { type: "message_delta", delta: { stop_reason: "tool_use" }, usage: { output_tokens: 30 } },
  { type: "message_stop" },
];

test("reads the same of a stream, with the usage that comes last", () => {
  assert.deepEqual(read("text/event-stream", ...sse(...stream).split(/(?<=a)/)), {
    text: "Paid.",
    thinking: "Hm.",
    toolCalls: [{ name: "pay", arguments: '{"n":7}' }],
    usage: { input: 10, output: 30 },
    truncated: false,
  });
});

test("tells what was generated so far, while the stream still comes", () => {
  const reader = answerReader(anthropic, "text/event-stream");
  reader.push(bytes(sse(...stream.slice(0, 9))));
  assert.deepEqual(reader.progress(), { generated: 8, usage: { input: 10, output: 1 } });
});

test("reads the error of a body, and one in the middle of a stream", () => {
  const error = { type: "error", error: { type: "overloaded_error", message: "Overloaded" } };
  assert.equal(read("application/json", JSON.stringify(error)).error, "Overloaded");
  const broken = read("text/event-stream", sse(...stream.slice(0, 8), error));
  assert.deepEqual([broken.text, broken.error], ["Pa", "Overloaded"]);
});

test("reads the results of a batch, which cost nothing a second time", () => {
  const line = (text: string) =>
    `${JSON.stringify({ custom_id: text, result: { type: "succeeded", message: { content: [{ type: "text", text }], usage: { input_tokens: 1, output_tokens: 1 } } } })}\n`;
  const failed = `${JSON.stringify({ custom_id: "x", result: { type: "errored", error: { type: "error", error: { message: "no" } } } })}\n`;
  assert.deepEqual(read("application/x-jsonl", line("one"), line("two"), failed), {
    text: "one\n\ntwo",
    toolCalls: [],
    error: "no",
    truncated: false,
  });
});

test("what is no message is truncated or nothing, and never an error of ours", () => {
  for (const body of ["", "[]", "null", '{"content":7}', '{"content":[7,{"type":"tool_use"}]}'])
    assert.deepEqual(read("application/json", body).text, "");
  assert.equal(read("application/json", "{").truncated, true);
  assert.equal(read("text/event-stream", "data: {\n\ndata: 7\n\n").truncated, true);
});
