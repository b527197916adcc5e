// The real OpenAI SDK through the room to a server that speaks the OpenAI wire format.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";

import OpenAI from "openai";

import { startOpenAiServer } from "../openai-server/server.ts";
import type { OpenAiServer } from "../openai-server/server.ts";
import { eventually, send, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, TestRoom } from "./http-proxy-fixture.ts";

const script = {
  models: ["gpt-5", "gpt-5-mini", "text-embedding-3-small"],
  steps: [
    {
      match: { text: "weather" },
      toolCalls: [{ name: "get_weather", arguments: { city: "Reykjavík" } }],
    },
    { match: { text: "slowly" }, text: "one two three", gapMs: 100 },
    { match: { text: "break" }, text: "one two three four", gapMs: 20, breakAfterChunks: 3 },
    {
      match: { text: "forever" },
      text: Array.from({ length: 200 }, (_, index) => `word${index}`).join(" "),
      gapMs: 20,
    },
    {
      match: { text: "overload" },
      error: {
        status: 400,
        message: "too much",
        type: "invalid_request_error",
        code: "context_length_exceeded",
      },
    },
    { text: "Hello there, how can I help you?" },
  ],
};

interface Setup {
  readonly server: OpenAiServer;
  readonly room: TestRoom;
  readonly client: OpenAI;
}

async function start(t: TestContext, setup: Partial<ConnectionSetup> = {}): Promise<Setup> {
  const server = await startOpenAiServer({ script, apiKey: "sk-real" });
  t.after(() => server.close());
  const room = await startRoom(t, [
    {
      name: "openai",
      protocol: "openai",
      lease: { kind: "headers", headers: [{ name: "Authorization", value: "Bearer sk-real" }] },
      ...setup,
      upstream: { port: server.port, basePath: "/v1" },
    },
  ]);
  const client = new OpenAI({
    apiKey: "held-by-chaperone",
    baseURL: `http://127.0.0.1:${room.port}/v1`,
  });
  return { server, room, client };
}

const ask = (content: string) => ({
  model: "gpt-5",
  messages: [{ role: "user" as const, content }],
});

test("an answer comes through with the real key, its tokens are metered and its text is recorded", async (t) => {
  const { client, server, room } = await start(t);
  const answer = await client.chat.completions.create(ask("hi"));
  assert.equal(answer.choices[0]?.message.content, "Hello there, how can I help you?");
  assert.equal(server.requests[0]?.headers["authorization"], "Bearer sk-real");
  const [operation] = room.operations();
  assert.equal(operation?.body.operation?.summary, "chat gpt-5");
  assert.deepEqual(operation?.body.outcome?.tokens, {
    input: answer.usage?.prompt_tokens,
    output: answer.usage?.completion_tokens,
  });
  assert.deepEqual(
    operation?.contents.filter(({ part }) => part === "response"),
    [{ part: "response", text: "Hello there, how can I help you?" }],
  );
  assert.match(operation?.contents.find(({ part }) => part === "request")?.text ?? "", /hi/);
});

test("a stream arrives piece by piece as it is made, and is recorded as the same text", async (t) => {
  const { client, room } = await start(t);
  const stream = await client.chat.completions.create({
    ...ask("slowly"),
    stream: true,
    stream_options: { include_usage: true },
  });
  const arrivals: number[] = [];
  let text = "";
  for await (const chunk of stream) {
    arrivals.push(performance.now());
    text += chunk.choices[0]?.delta.content ?? "";
  }
  assert.equal(text, "one two three");
  const spread = (arrivals.at(-1) ?? 0) - (arrivals[0] ?? 0);
  assert.ok(spread > 300, `the chunks came within ${spread} ms of each other`);
  await eventually("it is recorded", () => room.operations().length === 1);
  const [operation] = room.operations();
  assert.deepEqual(
    operation?.contents.filter(({ part }) => part === "response"),
    [{ part: "response", text: "one two three" }],
  );
  assert.equal(operation?.body.outcome?.tokens?.output, 3);
});

test("tool calls are assembled for the recording as for the agent", async (t) => {
  const { client, room } = await start(t);
  const tools = [
    {
      type: "function" as const,
      function: { name: "get_weather", parameters: { type: "object" } },
    },
  ];
  const final = await client.chat.completions
    .stream({ ...ask("weather"), tools })
    .finalChatCompletion();
  const call = final.choices[0]?.message.tool_calls?.[0];
  assert.equal(call?.type === "function" && call.function.arguments, '{"city":"Reykjavík"}');
  await eventually("it is recorded", () => room.operations().length === 1);
  assert.equal(
    room.operations()[0]?.contents.find(({ part }) => part === "response")?.text,
    'get_weather({"city":"Reykjavík"})',
  );
});

test("models and embeddings come through, and Metadata keeps no text", async (t) => {
  const { client, room } = await start(t, { detail: "Metadata" });
  const models: string[] = [];
  for await (const model of client.models.list()) models.push(model.id);
  assert.deepEqual(models, script.models);
  const { data } = await client.embeddings.create({
    model: "text-embedding-3-small",
    input: ["a", "b"],
  });
  assert.equal(data[1]?.embedding.length, 1536);
  await client.chat.completions.create(ask("hi"));
  assert.deepEqual(
    room.operations().flatMap(({ contents }) => contents),
    [],
  );
  assert.ok((room.operations()[2]?.body.outcome?.tokens?.input ?? 0) > 0);
});

const miniOnly = [
  { name: "mini", llm: { models: ["gpt-5-mini"], operations: ["chat"], maxOutputTokens: 4 } },
];

test("a refusal is the SDK's own exception with our sentence in it, sent once and not retried", async (t) => {
  const { client, server, room } = await start(t, { rules: miniOnly });
  for (const call of [
    () => client.chat.completions.create(ask("hi")),
    () => client.chat.completions.create({ ...ask("hi"), stream: true }),
  ]) {
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof OpenAI.PermissionDeniedError);
      assert.equal(error.code, "Denied");
      assert.equal(error.type, "chaperone_denied");
      assert.match(error.message, /gpt-5/);
      return true;
    });
  }
  assert.equal(server.requests.length, 0);
  assert.equal(room.operations().length, 2, "one operation each: no retry");
});

test("a rate limit is the provider's own, with the seconds after which sending again helps", async (t) => {
  const { client, room } = await start(t, { limits: { requestsPerMinute: 1 } });
  await client.chat.completions.create(ask("hi"));
  await assert.rejects(client.chat.completions.create(ask("hi"), { maxRetries: 0 }), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError);
    assert.equal(error.code, "LimitExceeded");
    const seconds = Number(error.headers.get("retry-after"));
    assert.ok(seconds >= 1 && seconds <= 60, `${seconds}`);
    return true;
  });
  assert.equal(room.operations().length, 2);
});

test("a request that names no limit is sent with the rule's, and the answer is cut there", async (t) => {
  const { client, server } = await start(t, { rules: miniOnly });
  const answer = await client.chat.completions.create({
    ...ask("hi"),
    model: "gpt-5-mini",
    seed: 7,
  });
  assert.equal(answer.choices[0]?.finish_reason, "length");
  assert.deepEqual(server.requests[0]?.body, {
    model: "gpt-5-mini",
    messages: [{ role: "user", content: "hi" }],
    seed: 7,
    max_completion_tokens: 4,
  });
});

test("the upstream's own errors come through as they are, and count as errors", async (t) => {
  const { client, room } = await start(t);
  await assert.rejects(client.chat.completions.create(ask("overload")), {
    status: 400,
    code: "context_length_exceeded",
  });
  const [operation] = room.operations();
  assert.equal(operation?.body.outcome?.status, "error");
  assert.equal(operation?.body.outcome?.httpStatus, 400);
});

test("a stream that the upstream breaks off is an error for the SDK, never a short answer", async (t) => {
  const { client, room } = await start(t);
  const stream = await client.chat.completions.create({ ...ask("break"), stream: true });
  await assert.rejects(async () => {
    for await (const chunk of stream) assert.ok(chunk.id);
  });
  await eventually("it is recorded", () => room.operations().length === 1);
  assert.equal(room.operations()[0]?.body.outcome?.status, "error");
});

test("an agent that stops reading a stream stops the model", async (t) => {
  const { client, server, room } = await start(t);
  const stream = await client.chat.completions.create({ ...ask("forever"), stream: true });
  for await (const chunk of stream)
    if (chunk.choices[0]?.delta.content?.includes("word3") === true) break;
  await eventually("the upstream sees the end", () => server.requests[0]?.aborted === true);
  await eventually("it is recorded", () => room.operations().length === 1);
  const [operation] = room.operations();
  assert.equal(operation?.body.outcome?.error, "ClientGone");
  assert.match(
    operation?.contents.find(({ part }) => part === "response")?.text ?? "",
    /^word0 word1 word2 word3/,
  );
});

test("a held prompt is pending with its handle, in the SDK's shape, and passes after approval", async (t) => {
  const { client, server, room } = await start(t, {
    rules: [
      {
        name: "ask",
        action: "RequireApproval",
        approval: { approvers: [], count: 1, holdSeconds: 1, validForSeconds: 600 },
      },
    ],
  });
  await assert.rejects(client.chat.completions.create(ask("hi")), (error) => {
    assert.ok(error instanceof OpenAI.PermissionDeniedError);
    assert.equal(error.code, "Pending");
    assert.match(error.message, /req-1/);
    return true;
  });
  assert.equal(server.requests.length, 0);
  room.gate.decide = () => "Approved";
  assert.match(
    (await client.chat.completions.create(ask("hi"))).choices[0]?.message.content ?? "",
    /Hello/,
  );
});

test("a request is read and sent as the text that it is, whatever it was encoded in; an answer is recorded so", async (t) => {
  const { room, server } = await start(t);
  const body = Buffer.from(JSON.stringify({ ...ask("hi"), seed: 7 }));
  for (const [encoding, encoded] of [
    ["gzip", gzipSync(body)],
    ["deflate", deflateSync(body)],
    ["br", brotliCompressSync(body)],
    ["ZSTD", zstdCompressSync(body)],
    ["identity", body],
  ] as const) {
    const answer = await send(room, {
      method: "POST",
      path: "/v1/chat/completions",
      headers: { "content-type": "application/json", "content-encoding": encoding },
      body: encoded,
    });
    assert.equal(answer.status, 200, answer.text);
    const received = server.requests.at(-1);
    assert.equal(received?.headers["content-encoding"], undefined);
    assert.deepEqual(received?.body, { ...ask("hi"), seed: 7 });
  }
  for (const [encoding, encoded, status] of [
    ["compress", body, 400],
    ["gzip, br", body, 400],
    ["gzip", body, 400],
    ["gzip", gzipSync(body).subarray(0, 30), 400],
    ["gzip", gzipSync(Buffer.alloc(64 * 1024 * 1024)), 413],
  ] as const) {
    const answer = await send(room, {
      method: "POST",
      path: "/v1/chat/completions",
      headers: { "content-type": "application/json", "content-encoding": encoding },
      body: encoded,
    });
    assert.equal(answer.status, status, answer.text);
  }
  assert.equal(server.requests.length, 5);
});

test("what the recogniser cannot read does not pass: other paths, names given twice, bodies over the limit", async (t) => {
  const { room, server } = await start(t);
  const json = { "content-type": "application/json" };
  const path = "/v1/chat/completions";
  for (const request of [
    { method: "POST", path: "/v1/files", headers: json, body: "{}" },
    {
      method: "POST",
      path,
      headers: json,
      body: '{"model":"gpt-5","model":"gpt-5-mini","messages":[{"role":"user","content":"hi"}]}',
    },
    {
      method: "POST",
      path,
      headers: { "content-type": "text/plain" },
      body: JSON.stringify(ask("hi")),
    },
    { method: "DELETE", path: "/v1/models/gpt-5" },
  ]) {
    const answer = await send(room, request);
    assert.equal(answer.status, 403, JSON.stringify(request));
    assert.equal(answer.headers["x-should-retry"], "false");
    assert.equal((JSON.parse(answer.text) as { error: { code: string } }).error.code, "Denied");
  }
  const large = await send(room, {
    method: "POST",
    path,
    headers: json,
    body: JSON.stringify(ask("x".repeat(5_000_000))),
  });
  assert.equal(large.status, 413);
  assert.equal(server.requests.length, 0);
});

test("an upstream that cannot be reached is a 502 that the SDK may send again", async (t) => {
  const { client, server, room } = await start(t);
  await server.close();
  await assert.rejects(client.chat.completions.create(ask("hi"), { maxRetries: 1 }), {
    status: 502,
    code: "UpstreamUnreachable",
  });
  assert.equal(room.operations().length, 2);
});
