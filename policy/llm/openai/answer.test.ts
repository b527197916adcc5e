import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { answerReader } from "../answer.ts";
import { maxBodyLength } from "../framing/read.ts";
import { eventStream, maxEventLength } from "../framing/sse.ts";
import { maxAnswerLength } from "../gathering.ts";
import type { Answer } from "../gathering.ts";
import { openAi } from "./provider.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

function read(contentType: string, ...chunks: readonly Uint8Array[]): Answer {
  const reader = answerReader(openAi, contentType);
  for (const chunk of chunks) reader.push(chunk);
  return reader.finish();
}
const readJson = (body: unknown) => read("application/json", bytes(JSON.stringify(body)));
const sse = (...events: readonly unknown[]) =>
  `${events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("")}data: [DONE]\n\n`;
const readStream = (...events: readonly unknown[]) =>
  read("text/event-stream; charset=utf-8", bytes(sse(...events)));

test("reads a chat completion", () => {
  const answer = readJson({
    choices: [
      {
        index: 0,
        message: {
          role: "assistant",
          content: "Paid.",
          tool_calls: [
            { id: "1", type: "function", function: { name: "pay", arguments: '{"n":7}' } },
          ],
        },
      },
    ],
    usage: { prompt_tokens: 12, completion_tokens: 3, total_tokens: 15 },
  });
  assert.deepEqual(answer, {
    text: "Paid.",
    toolCalls: [{ name: "pay", arguments: '{"n":7}' }],
    usage: { input: 12, output: 3 },
    truncated: false,
  });
});

const chatEvents = [
  { choices: [{ index: 0, delta: { role: "assistant", content: "" } }], usage: null },
  { choices: [{ index: 0, delta: { content: "Schön, " } }] },
  { choices: [{ index: 0, delta: { content: "bezahlt 🎉" } }] },
  {
    choices: [
      {
        index: 0,
        delta: {
          tool_calls: [
            { index: 0, id: "1", type: "function", function: { name: "pay", arguments: "" } },
          ],
        },
      },
    ],
  },
  {
    choices: [
      { index: 0, delta: { tool_calls: [{ index: 0, function: { arguments: '{"n":' } }] } },
    ],
  },
  {
    choices: [
      {
        index: 0,
        delta: { tool_calls: [{ index: 1, function: { name: "log", arguments: "{}" } }] },
      },
    ],
  },
  { choices: [{ index: 0, delta: { tool_calls: [{ index: 0, function: { arguments: "7}" } }] } }] },
  { choices: [{ index: 0, delta: {}, finish_reason: "tool_calls" }] },
  { choices: [], usage: { prompt_tokens: 12, completion_tokens: 3 } },
];
const chatAnswer: Answer = {
  text: "Schön, bezahlt 🎉",
  toolCalls: [
    { name: "pay", arguments: '{"n":7}' },
    { name: "log", arguments: "{}" },
  ],
  usage: { input: 12, output: 3 },
  truncated: false,
};

test("reads a streamed chat completion", () => {
  assert.deepEqual(readStream(...chatEvents), chatAnswer);
});

test("reads the same from a stream however it is cut and however its lines end", () => {
  const ending = fc.constantFrom("\n", "\r\n", "\r");
  fc.assert(
    fc.property(ending, fc.array(fc.nat({ max: 2000 }), { maxLength: 8 }), (end, cuts) => {
      const whole = bytes(
        `: comment${end}event: message${end}${sse(...chatEvents).replaceAll("\n", end)}`,
      );
      const places = [
        0,
        ...cuts.filter((cut) => cut < whole.length).sort((a, b) => a - b),
        whole.length,
      ];
      const chunks = places.slice(1).map((place, index) => whole.subarray(places[index], place));
      assert.deepEqual(read("text/event-stream", ...chunks), chatAnswer);
    }),
    { numRuns: 1000 },
  );
});

test("reads the same byte by byte", () => {
  const whole = bytes(sse(...chatEvents).replaceAll("\n", "\r\n"));
  assert.deepEqual(
    read("text/event-stream", ...Array.from(whole, (byte) => Uint8Array.of(byte))),
    chatAnswer,
  );
});

const item = { type: "function_call", name: "pay", call_id: "1", arguments: "" };
test("reads a response and a streamed response alike", () => {
  const usage = { input_tokens: 9, output_tokens: 4 };
  const whole = readJson({
    output: [
      {
        type: "message",
        content: [
          { type: "output_text", text: "Hello " },
          { type: "output_text", text: "there" },
        ],
      },
      { ...item, arguments: '{"n":7}' },
      { type: "web_search_call", status: "completed" },
    ],
    usage,
  });
  const streamed = readStream(
    { type: "response.created", response: { output: [], usage: null } },
    { type: "response.output_item.added", output_index: 0, item: { type: "message", content: [] } },
    { type: "response.output_text.delta", output_index: 0, delta: "Hello " },
    { type: "response.output_text.delta", output_index: 0, delta: "there" },
    { type: "response.output_text.done", output_index: 0, text: "Hello there" },
    { type: "response.output_item.added", output_index: 1, item },
    { type: "response.function_call_arguments.delta", output_index: 1, delta: '{"n":' },
    { type: "response.function_call_arguments.delta", output_index: 1, delta: "7}" },
    { type: "response.output_item.done", output_index: 1, item: { ...item, arguments: '{"n":7}' } },
    { type: "response.output_item.added", output_index: 2, item: { type: "web_search_call" } },
    { type: "response.completed", response: { usage } },
  );
  assert.deepEqual(whole, {
    text: "Hello there",
    toolCalls: [
      { name: "pay", arguments: '{"n":7}' },
      { name: "web_search", arguments: "" },
    ],
    usage: { input: 9, output: 4 },
    truncated: false,
  });
  assert.deepEqual(streamed, whole);
});

test("keeps the provider's error, streamed or not", () => {
  assert.equal(
    readJson({ error: { message: "no such model", type: "invalid_request_error" } }).error,
    "no such model",
  );
  assert.equal(readStream({ error: { message: "overloaded" } }).error, "overloaded");
  assert.equal(
    readStream({ type: "response.failed", response: { error: { message: "broke" } } }).error,
    "broke",
  );
});

test("counts the tokens of embeddings", () => {
  assert.deepEqual(readJson({ data: [], usage: { prompt_tokens: 5, total_tokens: 5 } }).usage, {
    input: 5,
    output: 0,
  });
});

test("several choices are kept apart", () => {
  const delta = (index: number, content: string) => ({ choices: [{ index, delta: { content } }] });
  assert.equal(readStream(delta(1, "b"), delta(0, "a"), delta(1, "B")).text, "a\n\nbB");
});

test("an answer cut off keeps what came", () => {
  assert.equal(read("text/event-stream", bytes(sse(...chatEvents).slice(0, 200))).text, "Schön, ");
});

test("what is not understood is said to be missing, and nothing is thrown", () => {
  assert.equal(read("application/json", bytes("<html>")).truncated, true);
  assert.equal(read("text/event-stream", bytes("data: {oops\n\n")).truncated, true);
  assert.equal(read("application/json").truncated, false);
  fc.assert(
    fc.property(fc.json(), fc.boolean(), (text, streamed) => {
      assert.ok(
        read(
          streamed ? "text/event-stream" : "application/json",
          bytes(streamed ? `data: ${text}\n\n` : text),
        ),
      );
    }),
  );
});

test("an answer is kept up to its bound and says that it is truncated", () => {
  const long = "x".repeat(maxAnswerLength);
  const answer = readStream(
    { choices: [{ delta: { content: long } }] },
    { choices: [{ delta: { content: "more" } }] },
  );
  assert.equal(answer.text.length, maxAnswerLength);
  assert.equal(answer.truncated, true);
  assert.equal(readJson({ x: "y".repeat(maxBodyLength) }).truncated, true);
});

test("an event too long is dropped, and the next one is read", () => {
  const seen: string[] = [];
  let dropped = 0;
  const stream = eventStream(
    (data) => seen.push(data),
    () => dropped++,
  );
  const piece = bytes("x".repeat(64 * 1024));
  stream.push(bytes("data: "));
  for (let sent = 0; sent <= maxEventLength; sent += piece.length) stream.push(piece);
  stream.push(bytes("\ndata: still\n\ndata: next\n\n"));
  assert.deepEqual(seen, ["next"]);
  assert.equal(dropped, 1);
});

test("reads thinking, sound, older completions and what is said of pictures and recordings", () => {
  const text = (body: unknown) => readJson(body).text;
  assert.equal(text({ choices: [{ index: 0, text: "a", finish_reason: "stop" }] }), "a");
  assert.equal(text({ choices: [{ message: { audio: { id: "x", transcript: "b" } } }] }), "b");
  assert.equal(text({ text: "c", usage: { type: "duration", seconds: 1 } }), "c");
  assert.equal(text({ data: [{ b64_json: "x", revised_prompt: "d" }] }), "d");
  assert.equal(read("text/plain; charset=utf-8", bytes("e"), bytes("f")).text, "ef");
  const thought = readJson({
    choices: [{ message: { reasoning_content: "hm", content: "g" } }],
    usage: { prompt_tokens: 9, completion_tokens: 1, prompt_tokens_details: { cached_tokens: 4 } },
  });
  assert.deepEqual([thought.thinking, thought.text], ["hm", "g"]);
  assert.deepEqual(thought.usage, { input: 9, output: 1, cacheRead: 4 });
});

test("reads every text of a streamed response", () => {
  const at = { output_index: 0 };
  assert.deepEqual(
    readStream(
      { type: "response.reasoning_summary_text.delta", ...at, summary_index: 0, delta: "hm" },
      { type: "response.reasoning_text.delta", ...at, delta: "m" },
      {
        type: "response.output_item.added",
        output_index: 1,
        item: { type: "mcp_call", name: "look" },
      },
      { type: "response.mcp_call_arguments.delta", output_index: 1, delta: "{}" },
      {
        type: "response.output_item.added",
        output_index: 2,
        item: { type: "code_interpreter_call" },
      },
      { type: "response.code_interpreter_call_code.delta", output_index: 2, delta: "1+1" },
      { type: "response.refusal.delta", output_index: 3, delta: "no" },
      { type: "transcript.text.delta", output_index: 4, delta: "said" },
    ),
    {
      text: "no\n\nsaid",
      thinking: "hmm",
      toolCalls: [
        { name: "look", arguments: "{}" },
        { name: "code_interpreter", arguments: "1+1" },
      ],
      truncated: false,
    },
  );
  assert.deepEqual(
    readJson({
      output: [
        {
          type: "reasoning",
          summary: [{ type: "summary_text", text: "hm" }],
          content: [{ text: "m" }],
        },
        { type: "code_interpreter_call", code: "1+1" },
        { type: "custom_tool_call", name: "c", input: "x" },
      ],
    }),
    {
      text: "",
      thinking: "mhm",
      toolCalls: [
        { name: "code_interpreter", arguments: "1+1" },
        { name: "c", arguments: "x" },
      ],
      truncated: false,
    },
  );
});

test("reads what Ollama answers, streamed or not", () => {
  const call = (name: string, given: unknown) => ({ function: { name, arguments: given } });
  const expected = {
    text: "Paid.",
    thinking: "hm",
    toolCalls: [
      { name: "pay", arguments: '{"n":7}' },
      { name: "log", arguments: "{}" },
    ],
    usage: { input: 12, output: 3 },
    truncated: false,
  };
  const end = { done: true, prompt_eval_count: 12, eval_count: 3 };
  const calls = [call("pay", { n: 7 }), call("log", {})];
  assert.deepEqual(
    readJson({ message: { content: "Paid.", thinking: "hm", tool_calls: calls }, ...end }),
    expected,
  );
  const lines = [
    { message: { content: "", thinking: "hm" }, done: false },
    { message: { content: "Pa" }, done: false },
    { message: { content: "id.", tool_calls: [calls[0]] }, done: false },
    { message: { content: "", tool_calls: [calls[1]] }, done: false },
    { message: { content: "" }, ...end },
  ].map((line) => `${JSON.stringify(line)}\n`);
  assert.deepEqual(read("application/x-ndjson", bytes(lines.join(""))), expected);
  assert.equal(readJson({ response: "hi", ...end }).text, "hi");
  assert.equal(readJson({ error: "no such model" }).error, "no such model");
});
