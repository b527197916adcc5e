// Answers masked on their way: the SDKs agents use read them, and nothing that was found is in any byte that left.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { test } from "node:test";
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import type { TestContext } from "node:test";

import { ChatOpenAI } from "@langchain/openai";
import OpenAI from "openai";

import { startOpenAiServer } from "../openai-server/server.ts";
import { allowAll, eventually, raw, send, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, TestRoom } from "./http-proxy-fixture.ts";

const masks = (...names: string[]): NonNullable<ConnectionSetup["detectMasks"]> =>
  names.map((detector) => ({ detector, transform: { kind: "redact" }, policy: "agents/policy" }));
const all = masks("email", "credit-card", "us-ssn", "jwt", "private-key", "aws-key");
const text =
  "Write to jane.doe@example.com or pay with 4111 1111 1111 1111. Her number is 123-45-6789.";
const maskedText = "Write to [redacted] or pay with [redacted]. Her number is [redacted].";
const values = /jane\.doe|4111|123-45|6789/;

async function startOpenAi(t: TestContext, setup: Partial<ConnectionSetup> = {}) {
  const server = await startOpenAiServer({
    script: {
      models: ["gpt-5"],
      steps: [
        {
          match: { text: "tool" },
          toolCalls: [
            { name: "mail", arguments: { to: "jane.doe@example.com", card: 4111111111111111 } },
          ],
        },
        {
          match: { text: "error" },
          error: { status: 400, message: `no: ${text}`, type: "invalid_request_error", code: null },
        },
        { text },
      ],
    },
    apiKey: "sk-real",
  });
  t.after(() => server.close());
  const room = await startRoom(t, [
    {
      name: "openai",
      protocol: "openai",
      lease: { kind: "headers", headers: [{ name: "Authorization", value: "Bearer sk-real" }] },
      detectMasks: all,
      detail: "Full",
      ...setup,
      upstream: { port: server.port, basePath: "/v1" },
    },
  ]);
  const baseURL = `http://127.0.0.1:${room.port}/v1`;
  return { room, server, baseURL, client: new OpenAI({ apiKey: "x", baseURL, maxRetries: 0 }) };
}

const ask = (content: string) => ({
  model: "gpt-5",
  messages: [{ role: "user" as const, content }],
});

async function recorded(room: TestRoom, count = 1) {
  await eventually("it is recorded", () => room.operations().length === count);
  return room.operations().at(-1);
}

test("an answer is masked, counted by detector and recorded as the agent saw it", async (t) => {
  const { client, room } = await startOpenAi(t);
  const answer = await client.chat.completions.create(ask("hi"));
  assert.equal(answer.choices[0]?.message.content, maskedText);
  const operation = await recorded(room);
  assert.deepEqual(operation?.body.outcome?.masked, {
    detected: { email: 1, "credit-card": 1, "us-ssn": 1 },
  });
  assert.equal(operation?.body.outcome?.tokens?.output, answer.usage?.completion_tokens);
  assert.equal(operation?.contents.find(({ part }) => part === "response")?.text, maskedText);
  assert.doesNotMatch(JSON.stringify(operation), values);
});

test("a stream says the same masked text, and its last words come before it finishes", async (t) => {
  const { client, room } = await startOpenAi(t);
  const stream = await client.chat.completions.create({
    ...ask("hi"),
    stream: true,
    stream_options: { include_usage: true },
  });
  let said = "";
  let isFinished = false;
  let tokens = 0;
  for await (const { choices, usage } of stream) {
    const [choice] = choices;
    if (choice?.delta.content) assert.ok(!isFinished);
    said += choice?.delta.content ?? "";
    isFinished ||= choice?.finish_reason === "stop";
    tokens = usage?.completion_tokens ?? tokens;
  }
  assert.equal(said, maskedText);
  assert.ok(isFinished && tokens > 0);
  const operation = await recorded(room);
  assert.deepEqual(operation?.body.outcome?.masked?.detected, {
    email: 1,
    "credit-card": 1,
    "us-ssn": 1,
  });
  assert.equal(operation?.contents.find(({ part }) => part === "response")?.text, maskedText);
});

test("arguments of tools stay JSON, streamed or not", async (t) => {
  const { client } = await startOpenAi(t);
  const tools = [
    { type: "function" as const, function: { name: "mail", parameters: { type: "object" } } },
  ];
  const whole = await client.chat.completions.create({ ...ask("tool"), tools });
  const streamed = await client.chat.completions
    .stream({ ...ask("tool"), tools })
    .finalChatCompletion();
  for (const { choices } of [whole, streamed]) {
    const call = choices[0]?.message.tool_calls?.[0];
    assert.deepEqual(call?.type === "function" && JSON.parse(call.function.arguments), {
      to: "[redacted]",
      card: null,
    });
  }
});

test("a prompt is masked before it is decided on, recorded and sent", async (t) => {
  const { client, server, room } = await startOpenAi(t, {
    detectMasks: [],
    requestMasks: all,
    rules: [
      { name: "no-mail", action: "Deny", llm: { promptMatches: "jane" } },
      { name: "all", action: "Allow" },
    ],
  });
  const tools = [
    {
      type: "function" as const,
      function: {
        name: "mail",
        parameters: { type: "object", properties: { "jane.doe@example.com": {} } },
      },
    },
  ];
  const answer = await client.chat.completions.create({
    ...ask(text),
    tools,
    user: "jane.doe@example.com",
  });
  assert.equal(answer.choices[0]?.message.content, text);
  const sent = JSON.stringify(server.requests[0]?.body);
  assert.match(sent, /Write to \[redacted\] or pay with \[redacted\]/);
  assert.doesNotMatch(sent, values);
  const operation = await recorded(room);
  assert.deepEqual(operation?.body.outcome?.masked, {
    detected: { email: 3, "credit-card": 1, "us-ssn": 1 },
  });
  const request = operation?.contents.find(({ part }) => part === "request")?.text ?? "";
  assert.match(request, /\[redacted\]/);
  assert.doesNotMatch(request, values);
});

test("errors of the provider are masked, and are still its errors", async (t) => {
  const { client } = await startOpenAi(t);
  await assert.rejects(client.chat.completions.create(ask("error")), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.match(error.message, /no: Write to \[redacted\]/);
    return true;
  });
});

test("LangChain reads the masked answer, streamed and not", async (t) => {
  const { baseURL } = await startOpenAi(t);
  const model = new ChatOpenAI({
    model: "gpt-5",
    apiKey: "x",
    maxRetries: 0,
    configuration: { baseURL },
  });
  assert.equal((await model.invoke("hi")).text, maskedText);
  let said = "";
  for await (const chunk of await model.stream("hi")) said += chunk.text;
  assert.equal(said, maskedText);
});

async function startPlain(
  t: TestContext,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  setup: Partial<ConnectionSetup> = {},
): Promise<TestRoom> {
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return startRoom(t, [
    { detectMasks: all, rules: [allowAll], ...setup, upstream: { port: address.port } },
  ]);
}

test("nothing that was found is in any byte that left, whatever the kind of body and its pieces", async (t) => {
  const bodies: Readonly<Record<string, [type: string, body: string]>> = {
    "/json": [
      "application/json",
      JSON.stringify({ a: [text], "jane.doe@example.com": { b: text } }).replace(
        "jane.doe",
        "j\\u0061ne.doe",
      ),
    ],
    "/text": ["text/plain; charset=utf-8", `é ${text}`],
    "/html": ["text/html", `<p>${text}</p>`],
    "/events": [
      "text/event-stream",
      `id: 1\r\ndata: ${JSON.stringify({ text })}\r\n\r\n: ${text}\r\n\r\n`,
    ],
    "/lines": [
      "application/x-ndjson",
      `${JSON.stringify({ text })}\n${JSON.stringify({ text })}\n`,
    ],
  };
  const room = await startPlain(t, (request, response) => {
    const [type, body] = bodies[request.url ?? ""] ?? ["text/plain", ""];
    response.writeHead(200, {
      "content-type": type,
      "x-user": "jane.doe@example.com",
      trailer: "x-last",
    });
    // Every byte is a chunk of its own.
    for (const byte of Buffer.from(body)) response.write(Buffer.of(byte));
    response.addTrailers({ "x-last": "123-45-6789" });
    response.end();
  });
  for (const path of Object.keys(bodies)) {
    const answer = await raw(
      room.port,
      `GET ${path} HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: close\r\n\r\n`,
      5_000,
    );
    assert.match(answer, /^HTTP\/1\.1 200 /);
    assert.match(answer, /\[redacted\]/);
    const bytes = answer.replaceAll(/\r\n[0-9a-f]+\r\n/g, "");
    assert.doesNotMatch(bytes, values, path);
    assert.match(answer, /x-user: \[redacted\]/i);
  }
  assert.equal(room.operations().length, Object.keys(bodies).length);
  for (const { body } of room.operations())
    assert.ok((body.outcome?.masked?.detected?.["email"] ?? 0) > 0);
});

test("what nobody can look into is refused with a sentence before any of it leaves", async (t) => {
  const room = await startPlain(t, (request, response) => {
    const [, type = "", status = "200"] = decodeURIComponent(request.url ?? "").split("|");
    const headers: Record<string, string> = { "content-type": type };
    if (type === "application/json") headers["content-encoding"] = "compress";
    response.writeHead(Number(status), headers);
    response.end(text);
  });
  for (const [path, reason] of [
    ["/|application/pdf", /application\/pdf is no text/],
    ["/|text/plain; charset=utf-16", /utf-16/],
    ["/|application/json", /encoded it/],
    ["/|text/plain|206", /it is a part/],
  ] as const) {
    const answer = await send(room, { path: encodeURI(path) });
    assert.equal(answer.status, 403, path);
    const problem: { code: string; detail: string } = JSON.parse(answer.text);
    assert.equal(problem.code, "MaskNotProvable");
    assert.match(problem.detail, reason);
    assert.doesNotMatch(answer.text, values);
  }
  assert.equal((await send(room, { path: encodeURI("/|image/png") })).text, text);
});

test("an answer that is encoded although it was asked not to be is masked as what it says, streamed or not", async (t) => {
  const encoders = {
    gzip: gzipSync,
    deflate: deflateSync,
    br: brotliCompressSync,
    zstd: zstdCompressSync,
  };
  const room = await startPlain(t, (request, response) => {
    const [, name = "", type = ""] = decodeURIComponent(request.url ?? "").split("|");
    const encode = Object.entries(encoders).find(([known]) => known === name)?.[1] ?? gzipSync;
    const body = type === "text/event-stream" ? `data: ${text}\n\n` : JSON.stringify({ text });
    response.writeHead(200, { "content-type": type, "content-encoding": name });
    const bytes = encode(Buffer.from(body));
    for (const byte of bytes) response.write(Buffer.of(byte));
    response.end();
  });
  for (const name of Object.keys(encoders))
    for (const type of ["application/json", "text/event-stream"]) {
      const answer = await send(room, { path: encodeURI(`/|${name}|${type}`) });
      assert.equal(answer.status, 200, name);
      assert.equal(answer.headers["content-encoding"], undefined);
      assert.ok(answer.text.includes(maskedText), `${name} ${answer.text}`);
      assert.doesNotMatch(answer.text, values);
    }
});

test("JSON that is none is broken off, so that it cannot be taken for an answer", async (t) => {
  const room = await startPlain(t, (_request, response) => {
    response.writeHead(200, { "content-type": "application/json" });
    response.write('{"a":"first","b":');
    setTimeout(() => response.end(`nonsense ${text}`), 20);
  });
  await assert.rejects(send(room, {}));
  await eventually("it is recorded", () => room.operations().length === 1);
  assert.equal(room.operations()[0]?.body.outcome?.error, "MaskNotProvable");
});

test("the upstream is asked for the whole, unencoded", async (t) => {
  let asked: IncomingMessage["headers"] = {};
  const room = await startPlain(t, ({ headers }, response) => {
    asked = headers;
    response.writeHead(200, { "content-type": "text/plain", etag: '"1"', "content-length": "2" });
    response.end("ok");
  });
  const answer = await send(room, { headers: { range: "bytes=0-3", "accept-encoding": "gzip" } });
  assert.equal(asked["range"], undefined);
  assert.equal(asked["accept-encoding"], "identity");
  assert.equal(answer.text, "ok");
  assert.equal(answer.headers["etag"], undefined);
  const head = await send(room, { method: "HEAD" });
  assert.equal(head.status, 200);
});

test("an agent that reads slowly holds the upstream back, and gets everything", async (t) => {
  const line = `${"x".repeat(80)} jane.doe@example.com\n`;
  const room = await startPlain(t, (_request, response) => {
    response.writeHead(200, { "content-type": "text/plain" });
    for (let count = 0; count < 20_000; count += 1) response.write(line);
    response.end();
  });
  const answer = await send(room, {});
  assert.equal(answer.text, `${"x".repeat(80)} [redacted]\n`.repeat(20_000));
  assert.deepEqual((await recorded(room))?.body.outcome?.masked, { detected: { email: 20_000 } });
});
