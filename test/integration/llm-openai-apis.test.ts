// Every API that the real SDK of OpenAI has, through the room: recognised, decided, masked and recorded as what it is.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";

import OpenAI, { AzureOpenAI, toFile } from "openai";

import { startOpenAiServer } from "../openai-server/server.ts";
import type { OpenAiServer } from "../openai-server/server.ts";
import { eventually, send, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, TestRoom } from "./http-proxy-fixture.ts";

const secret = "Write to jane.doe@example.com soon.";
const masked = "Write to [redacted] soon.";
const script = {
  steps: [
    {
      match: { text: "weather" },
      toolCalls: [{ name: "get_weather", arguments: { to: "jane.doe@example.com" } }],
    },
    { text: secret },
  ],
};
const masks: ConnectionSetup["detectMasks"] = [
  { detector: "email", transform: { kind: "redact" }, policy: "agents/policy" },
];

interface Started {
  readonly room: TestRoom;
  readonly server: OpenAiServer;
  readonly client: OpenAI;
}

async function start(
  t: TestContext,
  setup: Partial<ConnectionSetup> = {},
  basePath = "/v1",
): Promise<Started> {
  const server = await startOpenAiServer({ script, apiKey: "sk-real" });
  t.after(() => server.close());
  const room = await startRoom(t, [
    {
      name: "openai",
      protocol: "openai",
      lease: { kind: "headers", headers: [{ name: "Authorization", value: "Bearer sk-real" }] },
      detail: "Full",
      ...setup,
      upstream: { port: server.port, basePath },
    },
  ]);
  const baseURL = `http://127.0.0.1:${room.port}${basePath}`;
  return { room, server, client: new OpenAI({ apiKey: "held", baseURL }) };
}

/** What the last operation was decided on, and what was kept of it. */
async function recorded(room: TestRoom, count: number) {
  await eventually("it is recorded", () => room.operations().length === count);
  const { body, contents } = room.operations()[count - 1] ?? assert.fail();
  const facts = body.operation?.facts ?? {};
  const text = (part: string) => contents.find((one) => one.part === part)?.text;
  return {
    facts,
    tokens: body.outcome?.tokens,
    said: text("response"),
    asked: text("request"),
    terms: text("params"),
  };
}

test("responses: whole and event by event the SDK reads the same masked text, and tools are decided on", async (t) => {
  const { client, room } = await start(t, { detectMasks: masks });
  const tools = [
    {
      type: "function" as const,
      name: "get_weather",
      parameters: { type: "object" },
      strict: false,
    },
  ];
  const whole = await client.responses.create({
    model: "gpt-5",
    input: "hi",
    instructions: "be brief",
  });
  assert.equal(whole.output_text, masked);
  const stream = client.responses.stream({ model: "gpt-5", input: "hi" });
  let spelled = "";
  for await (const event of stream)
    if (event.type === "response.output_text.delta") spelled += event.delta;
  assert.equal(spelled, masked);
  assert.equal((await stream.finalResponse()).output_text, masked);
  const called = await client.responses
    .stream({ model: "gpt-5", input: "weather", tools })
    .finalResponse();
  const [call] = called.output;
  assert.equal(call?.type === "function_call" && call.arguments, '{"to":"[redacted]"}');
  const { facts, said, asked, terms, tokens } = await recorded(room, 3);
  assert.deepEqual(
    [facts["operation"], facts["model"], facts["toolsOffered"]],
    ["responses", "gpt-5", ["get_weather"]],
  );
  assert.equal(said, 'get_weather({"to":"[redacted]"})');
  assert.equal(asked, "weather");
  assert.deepEqual(JSON.parse(terms ?? ""), { model: "gpt-5", tools, stream: true });
  assert.ok((tokens?.output ?? 0) > 0);
});

test("older completions: whole and event by event, and the end does not overtake the text", async (t) => {
  const { client, room } = await start(t, { detectMasks: masks });
  const ask = { model: "gpt-3.5-turbo-instruct", prompt: "hi" };
  assert.equal((await client.completions.create(ask)).choices[0]?.text, masked);
  let spelled = "";
  for await (const chunk of await client.completions.create({ ...ask, stream: true }))
    spelled += chunk.choices[0]?.text;
  assert.equal(spelled, masked);
  assert.equal((await recorded(room, 2)).said, masked);
});

test("pictures, sound and recordings go through, what is said of them masked", async (t) => {
  const { client, room, server } = await start(t, { detectMasks: masks });
  const picture = await client.images.generate({
    model: "gpt-image-1",
    prompt: "for jane.doe@example.com",
  });
  assert.equal(picture.data?.[0]?.revised_prompt, "A picture: for [redacted]");
  assert.equal(picture.data?.[0]?.b64_json, "aGVsbG8=");
  const image = await toFile(Buffer.from("png"), "a.png", { type: "image/png" });
  await client.images.edit({ model: "gpt-image-1", prompt: "a hat", image });
  assert.deepEqual((await recorded(room, 2)).facts["attachments"], [
    { kind: "image", mediaType: "image/png", source: "inline" },
  ]);
  const speech = await client.audio.speech.create({ model: "tts-1", voice: "alloy", input: "hi" });
  assert.equal(Buffer.from(await speech.arrayBuffer()).toString(), "ID3 not really a sound");
  const file = await toFile(Buffer.alloc(5 * 1024 * 1024, 7), "a.mp3", { type: "audio/mpeg" });
  const heard = await client.audio.transcriptions.create({ model: "whisper-1", file });
  assert.equal(heard.text, masked);
  assert.equal(heard.text.length > 0 && server.requests.at(-1)?.path, "/v1/audio/transcriptions");
  const text = await client.audio.transcriptions.create({
    model: "whisper-1",
    file,
    response_format: "text",
  });
  assert.equal(text, masked);
  assert.equal((await recorded(room, 5)).said, masked);
  let spelled = "";
  for await (const event of await client.audio.transcriptions.create({
    model: "gpt-4o-transcribe",
    file,
    stream: true,
  }))
    if (event.type === "transcript.text.delta") spelled += event.delta;
  assert.equal(spelled, masked);
  await client.audio.translations.create({ model: "whisper-1", file });
  assert.equal((await recorded(room, 7)).facts["operation"], "translations");
});

test("moderations, files and batches go through, and are what rules call them", async (t) => {
  const { client, room } = await start(t);
  await client.moderations.create({ input: "hi" });
  const line = {
    custom_id: "1",
    method: "POST",
    url: "/v1/chat/completions",
    body: { model: "gpt-5", messages: [{ role: "user", content: "hi" }] },
  };
  const file = await client.files.create({
    purpose: "batch",
    file: await toFile(Buffer.from(JSON.stringify(line)), "a.jsonl"),
  });
  assert.equal(file.id, "file-1");
  assert.equal((await client.files.list()).data.length, 1);
  assert.equal((await client.files.retrieve("file-1")).id, "file-1");
  assert.equal(await (await client.files.content("file-1")).text(), '{"custom_id":"1"}\n');
  const batch = await client.batches.create({
    input_file_id: file.id,
    endpoint: "/v1/chat/completions",
    completion_window: "24h",
  });
  assert.equal((await client.batches.retrieve(batch.id)).id, "batch-1");
  assert.equal((await client.files.delete("file-1")).deleted, true);
  assert.deepEqual(
    room.operations().map(({ body }) => body.operation?.facts?.["operation"]),
    ["moderations", "files", "files", "files", "files", "batches", "batches", "files"],
  );
});

test("what a batch asks for is not to be seen, so a Deny of a model, of tools or of a detector speaks about it", async (t) => {
  for (const llm of [{ models: ["gpt-9"] }, { tools: ["rm"] }, { detect: ["email"] }]) {
    const { client, server } = await start(t, {
      rules: [{ name: "all" }, { name: "never", action: "Deny", llm }],
    });
    await assert.rejects(
      client.batches.create({
        input_file_id: "f",
        endpoint: "/v1/responses",
        completion_window: "24h",
      }),
      { status: 403, code: "Denied" },
    );
    assert.equal(server.requests.length, 0);
    assert.equal(
      (
        await client.chat.completions.create({
          model: "gpt-5",
          messages: [{ role: "user", content: "hi" }],
        })
      ).model,
      "gpt-5",
    );
  }
});

test("detect refuses what its detectors find in the text of a request", async (t) => {
  const { client, server, room } = await start(t, {
    rules: [{ name: "all" }, { name: "no-mail", action: "Deny", llm: { detect: ["email"] } }],
  });
  const ask = (content: string) =>
    client.chat.completions.create({ model: "gpt-5", messages: [{ role: "user", content }] });
  await ask("hi");
  await assert.rejects(ask("to jane.doe@example.com"), { status: 403, code: "Denied" });
  assert.equal(server.requests.length, 1);
  assert.equal(room.operations().length, 2);
});

test("Azure: the deployment is the model, whatever the body calls it", async (t) => {
  const { room, server } = await start(
    t,
    { rules: [{ name: "one", llm: { models: ["my-gpt"] } }] },
    "",
  );
  const azure = (deployment?: string) =>
    new AzureOpenAI({
      apiKey: "held",
      endpoint: `http://127.0.0.1:${room.port}`,
      apiVersion: "2024-10-21",
      ...(deployment !== undefined && { deployment }),
    });
  const ask = { messages: [{ role: "user" as const, content: "hi" }] };
  const answer = await azure("my-gpt").chat.completions.create({ ...ask, model: "gpt-4o" });
  assert.equal(answer.choices[0]?.message.content, secret);
  assert.equal(server.requests[0]?.path, "/openai/deployments/my-gpt/chat/completions");
  assert.deepEqual(server.requests[0]?.body, { ...ask, model: "my-gpt" });
  await assert.rejects(azure("other").chat.completions.create({ ...ask, model: "my-gpt" }), {
    status: 403,
    code: "Denied",
  });
  await azure().embeddings.create({ model: "my-gpt", input: "hi" });
  assert.equal(server.requests.length, 2);
});

test("Ollama: lines are masked over their pieces, limits and errors are its own", async (t) => {
  const { room, server } = await start(
    t,
    {
      detectMasks: masks,
      rules: [{ name: "one", llm: { models: ["llama3.2"], maxOutputTokens: 50 } }],
    },
    "",
  );
  const post = (path: string, body: unknown) =>
    // As `curl -d` does.
    send(room, {
      method: "POST",
      path,
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: JSON.stringify(body),
    });
  const chat = { model: "llama3.2:latest", messages: [{ role: "user", content: "hi" }] };
  const streamed = await post("/api/chat", chat);
  const lines = streamed.text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { message: { content: string }; done: boolean });
  assert.equal(lines.map(({ message }) => message.content).join(""), masked);
  assert.deepEqual(server.requests[0]?.body, {
    options: { num_predict: 50 },
    ...chat,
    model: "llama3.2",
  });
  const { facts, said, tokens } = await recorded(room, 1);
  assert.deepEqual([facts["operation"], facts["model"], said], ["chat", "llama3.2", masked]);
  assert.deepEqual(tokens, { input: 3, output: 2 });
  const whole = await post("/api/generate", { model: "llama3.2", prompt: "hi", stream: false });
  assert.equal((JSON.parse(whole.text) as { response: string }).response, masked);
  const refused = await post("/api/chat", { ...chat, model: "other" });
  assert.equal(refused.status, 403);
  const { error } = JSON.parse(refused.text) as { error: string };
  assert.match(error, /other/);
  assert.equal((await post("/api/pull", { model: "x" })).status, 403);
  assert.equal(
    (await send(room, { path: "/api/tags" })).status,
    403,
    "no model is named, so a rule of models does not cover it",
  );
});

test("what masks of requests cannot look into does not leave: tokens in the place of text, and forms", async (t) => {
  const { client, server } = await start(t, { requestMasks: masks });
  const embed = (input: string | number[]) => client.embeddings.create({ model: "e", input });
  await embed("for jane.doe@example.com");
  assert.deepEqual(server.requests.at(-1)?.body, {
    model: "e",
    input: "for [redacted]",
    encoding_format: "base64",
  });
  const file = await toFile(Buffer.from("jane.doe@example.com"), "a.mp3");
  for (const call of [
    () => embed([1, 2, 3]),
    () => client.completions.create({ model: "m", prompt: [1, 2] }),
    () => client.audio.transcriptions.create({ model: "whisper-1", file }),
  ])
    await assert.rejects(call, { status: 403, code: "MaskNotProvable" });
  assert.equal(server.requests.length, 1);
});

test("who is asked for approval of a form sees what it says, and not its sound", async (t) => {
  const { client, room } = await start(t, {
    rules: [
      {
        name: "ask",
        action: "RequireApproval",
        approval: { approvers: [], count: 1, holdSeconds: 1, validForSeconds: 600 },
      },
    ],
  });
  const file = await toFile(Buffer.alloc(100_000, 7), "a.mp3");
  await assert.rejects(
    client.audio.transcriptions.create({ model: "whisper-1", file, prompt: "names of ships" }),
    { status: 403, code: "Pending" },
  );
  assert.equal(room.gate.requests[0]?.detail, "names of ships");
});

test("a request that names no limit gets the rule's without a change to the rest of it", async (t) => {
  const { room, server } = await start(t, { rules: [{ name: "r", llm: { maxOutputTokens: 9 } }] });
  const body =
    '{"model":"gpt-5", "seed":12345678901234567890, "messages":[{"role":"user","content":"hi"}]}';
  const answer = await send(room, {
    method: "POST",
    path: "/v1/chat/completions",
    headers: { "content-type": "application/json" },
    body,
  });
  assert.equal(answer.status, 200);
  const sent = Number(server.requests[0]?.headers["content-length"]);
  assert.equal(sent, body.length + '"max_completion_tokens":9,'.length);
});

test("a form over its bound is refused in the API's own shape, and so is a refusal that is no client's to repeat", async (t) => {
  const { client, server, room } = await start(t);
  const file = await toFile(Buffer.alloc(27 * 1024 * 1024), "a.mp3");
  await assert.rejects(client.audio.transcriptions.create({ model: "whisper-1", file }), {
    status: 413,
    code: "TooLarge",
  });
  const answer = await send(room, {
    path: "/v1/realtime?model=gpt-realtime",
    headers: {
      connection: "upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
    },
  });
  assert.equal(answer.headers["x-should-retry"], "false");
  assert.equal(server.requests.length, 0);
});
