import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import { startOpenAiServer } from "./server.ts";

const script = {
  models: ["gpt-5", "text-embedding-3-small"],
  steps: [
    {
      match: { role: "user" as const, text: "weather" },
      toolCalls: [{ name: "get_weather", arguments: { city: "Reykjavík", unit: "celsius" } }],
    },
    { match: { role: "tool" as const }, text: "It is 4 degrees in Reykjavík." },
    {
      match: { text: "overload" },
      error: { status: 400, message: "no", type: "invalid_request_error", code: "nope" },
    },
    { text: "Hello there, how can I help you?" },
  ],
};

async function started(
  t: { after(fn: () => Promise<void>): void },
  apiKey = "sk-real",
): Promise<{ client: OpenAI; server: Awaited<ReturnType<typeof startOpenAiServer>> }> {
  const server = await startOpenAiServer({ script, apiKey: "sk-real" });
  t.after(() => server.close());
  return { server, client: new OpenAI({ apiKey, baseURL: server.url, maxRetries: 0 }) };
}

test("the OpenAI SDK reads an answer with its usage", async (t) => {
  const { client } = await started(t);
  const answer = await client.chat.completions.create({
    model: "gpt-5",
    messages: [{ role: "user", content: "hi" }],
  });
  assert.equal(answer.choices[0]?.message.content, "Hello there, how can I help you?");
  assert.equal(
    answer.usage?.total_tokens,
    answer.usage === undefined ? 0 : answer.usage.prompt_tokens + answer.usage.completion_tokens,
  );
});

test("the OpenAI SDK assembles a stream, and usage arrives when it is asked for", async (t) => {
  const { client } = await started(t);
  const stream = await client.chat.completions.create({
    model: "gpt-5",
    stream: true,
    stream_options: { include_usage: true },
    messages: [{ role: "user", content: "hi" }],
  });
  let text = "";
  let usage = 0;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage += chunk.usage?.completion_tokens ?? 0;
  }
  assert.equal(text, "Hello there, how can I help you?");
  assert.equal(usage, 7);
});

test("a tool call arrives with its arguments split over deltas, and the tool's result picks the next step", async (t) => {
  const { client, server } = await started(t);
  const messages = [{ role: "user" as const, content: "what is the weather" }];
  const tools = [
    {
      type: "function" as const,
      function: { name: "get_weather", parameters: { type: "object" } },
    },
  ];
  const stream = client.chat.completions.stream({ model: "gpt-5", messages, tools });
  let deltas = 0;
  stream.on("tool_calls.function.arguments.delta", () => deltas++);
  const first = await stream.finalChatCompletion();
  const call = first.choices[0]?.message.tool_calls?.[0];
  assert.equal(
    call?.type === "function" && call.function.arguments,
    '{"city":"Reykjavík","unit":"celsius"}',
  );
  assert.ok(deltas > 3);
  assert.ok(call !== undefined && first.choices[0] !== undefined);
  const second = await client.chat.completions.create({
    model: "gpt-5",
    messages: [
      ...messages,
      first.choices[0].message,
      { role: "tool", tool_call_id: call.id, content: "4" },
    ],
  });
  assert.equal(second.choices[0]?.message.content, "It is 4 degrees in Reykjavík.");
  assert.equal(server.requests.length, 2);
});

test("max_completion_tokens cuts the answer and says so", async (t) => {
  const { client } = await started(t);
  const answer = await client.chat.completions.create({
    model: "gpt-5",
    max_completion_tokens: 2,
    messages: [{ role: "user", content: "hi" }],
  });
  assert.equal(answer.choices[0]?.message.content, "Hello there,");
  assert.equal(answer.choices[0]?.finish_reason, "length");
});

test("models are listed and embeddings come back as the SDK asks for them", async (t) => {
  const { client } = await started(t);
  const models: string[] = [];
  for await (const model of client.models.list()) models.push(model.id);
  assert.deepEqual(models, script.models);
  const plain = await client.embeddings.create({
    model: "text-embedding-3-small",
    input: ["a", "b"],
    encoding_format: "float",
    dimensions: 12,
  });
  const packed = await client.embeddings.create({
    model: "text-embedding-3-small",
    input: ["a", "b"],
    dimensions: 12,
  });
  assert.equal(packed.data[1]?.embedding.length, 12);
  assert.deepEqual(packed.data[1]?.embedding, plain.data[1]?.embedding);
});

test("a wrong key, an unknown model and a scripted error are the API's own errors", async (t) => {
  const { client } = await started(t);
  const { client: stranger } = await started(t, "sk-wrong");
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  await assert.rejects(
    client.chat.completions.create({ model: "gpt-0", messages: [{ role: "user", content: "hi" }] }),
    OpenAI.NotFoundError,
  );
  await assert.rejects(
    client.chat.completions.create({
      model: "gpt-5",
      messages: [{ role: "user", content: "overload" }],
    }),
    { code: "nope" },
  );
});
