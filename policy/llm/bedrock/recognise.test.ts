import assert from "node:assert/strict";
import { test } from "node:test";
import { recogniseHttp } from "../../http/recognise.ts";
import { answerReader } from "../answer.ts";
import { stringHeader, writtenFrame } from "../framing/aws-frames.ts";
import { recogniseLlm } from "../recognise.ts";
import { bedrock } from "./provider.ts";

const claude = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";

function recognise(method: string, target: string, body?: unknown) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const http = recogniseHttp({
    method,
    host: "bedrock-runtime.us-east-1.amazonaws.com",
    target,
    headers,
  });
  return recogniseLlm(bedrock, {
    http,
    basePath: "",
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
}
const converse = (body: unknown, action = "converse") =>
  recognise("POST", `/model/${encodeURIComponent(claude)}/${action}`, body);
const invoke = (model: string, body: unknown) =>
  recognise("POST", `/model/${encodeURIComponent(model)}/invoke`, body);

test("recognises a conversation with tools, pictures and documents", () => {
  const operation = converse(
    {
      system: [{ text: "You pay invoices." }, { cachePoint: { type: "default" } }],
      messages: [
        {
          role: "user",
          content: [
            { text: "Pay" },
            { image: { format: "png", source: { bytes: "AAAA" } } },
            {
              document: { format: "pdf", name: "terms", source: { s3Location: { uri: "s3://x" } } },
            },
            { document: { format: "txt", name: "note", source: { text: "30 days" } } },
          ],
        },
        {
          role: "assistant",
          content: [
            { reasoningContent: { reasoningText: { text: "Look it up.", signature: "abc" } } },
            { toolUse: { toolUseId: "t", name: "look_up", input: { number: 7 } } },
          ],
        },
        {
          role: "user",
          content: [{ toolResult: { toolUseId: "t", content: [{ json: { due: "7 euros" } }] } }],
        },
      ],
      inferenceConfig: { maxTokens: 100 },
      toolConfig: { tools: [{ toolSpec: { name: "look_up" } }, { cachePoint: {} }] },
      additionalModelRequestFields: {
        thinking: { type: "enabled" },
        tools: [{ type: "bash_20250124", name: "bash" }],
      },
    },
    "converse-stream",
  );
  assert.equal(operation.unrecognised, undefined);
  assert.deepEqual(operation.facts, {
    operation: "chat",
    model: claude,
    stream: true,
    maxOutputTokens: 100,
    tools: ["look_up", "bash"],
    toolsOffered: ["look_up", "bash"],
    toolsCalled: ["look_up"],
    prompts: ["You pay invoices.", "Pay", "30 days", "Look it up.", '{"number":7}', "7 euros"],
    messages: [
      { role: "system", text: "You pay invoices." },
      { role: "user", text: "Pay" },
      { role: "user", text: "30 days" },
      { role: "assistant", text: "Look it up." },
      { role: "assistant", text: '{"number":7}' },
      { role: "tool", text: "7 euros" },
    ],
    toolResults: ["7 euros"],
    attachments: [
      { kind: "image", mediaType: "image/png", source: "inline" },
      { kind: "document", mediaType: "application/pdf", source: "file" },
      { kind: "document", mediaType: "application/txt", source: "text" },
    ],
    responseFormat: "",
    user: "",
    reasoning: true,
  });
});

test("reads what InvokeModel is given in the form of the models it knows", () => {
  const prompts = (model: string, body: unknown) => {
    const { unrecognised, facts } = invoke(model, body);
    return [unrecognised, facts.operation, facts.prompts, facts.maxOutputTokens, facts.tools];
  };
  assert.deepEqual(
    prompts(claude, {
      anthropic_version: "bedrock-2023-05-31",
      max_tokens: 50,
      messages: [{ role: "user", content: "Hi" }],
      tools: [{ name: "pay" }],
    }),
    [undefined, "chat", ["Hi"], 50, ["pay"]],
  );
  assert.deepEqual(
    prompts("amazon.nova-lite-v1:0", {
      messages: [{ role: "user", content: [{ text: "Hi" }] }],
      inferenceConfig: { maxTokens: 50 },
    }),
    [undefined, "chat", ["Hi"], 50, []],
  );
  assert.deepEqual(
    prompts("amazon.titan-text-express-v1", {
      inputText: "Hi",
      textGenerationConfig: { maxTokenCount: 50 },
    }),
    [undefined, "chat", ["Hi"], 50, []],
  );
  assert.deepEqual(prompts("meta.llama3-8b-instruct-v1:0", { prompt: "Hi", max_gen_len: 50 }), [
    undefined,
    "chat",
    ["Hi"],
    50,
    [],
  ]);
  assert.deepEqual(prompts("amazon.titan-embed-text-v2:0", { inputText: "Hi" }), [
    undefined,
    "embeddings",
    ["Hi"],
    null,
    [],
  ]);
  assert.deepEqual(prompts("cohere.embed-english-v3", { texts: ["a", "b"] }), [
    undefined,
    "embeddings",
    ["a", "b"],
    null,
    [],
  ]);
  assert.match(
    invoke("ai21.jamba-1-5-large-v1:0", { messages: [] }).unrecognised ?? "",
    /call it by Converse/,
  );
  assert.match(
    invoke(claude, { max_tokens: 5, messages: [] }).unrecognised ?? "",
    /anthropic_version is missing/,
  );
});

test("puts a limit where the model has it", () => {
  const limited = (model: string, action: string, body: Record<string, unknown>) =>
    bedrock.limited("chat", body, 9, `/model/${model}/${action}`);
  assert.deepEqual(limited(claude, "converse", {}), { inferenceConfig: { maxTokens: 9 } });
  assert.deepEqual(limited(claude, "invoke", {}), { max_tokens: 9 });
  assert.deepEqual(limited("amazon.titan-text-lite-v1", "invoke-with-response-stream", {}), {
    textGenerationConfig: { maxTokenCount: 9 },
  });
  assert.deepEqual(limited("amazon.nova-pro-v1:0", "invoke", { inferenceConfig: { topP: 1 } }), {
    inferenceConfig: { topP: 1, maxTokens: 9 },
  });
});

test("the other operations", () => {
  const of = (method: string, target: string, body?: unknown) => {
    const { unrecognised, facts } = recognise(method, target, body);
    return [unrecognised, facts.operation, facts.model];
  };
  assert.deepEqual(
    of("POST", `/model/${claude}/count-tokens`, { input: { converse: { messages: [] } } }),
    [undefined, "count-tokens", claude],
  );
  assert.deepEqual(of("GET", "/foundation-models?byProvider=meta"), [undefined, "models", ""]);
  assert.match(
    String(of("POST", "/guardrail/x/version/1/apply", {})[0]),
    /no operation of this API/,
  );
  assert.match(
    String(of("POST", "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aprompt%2Fx/converse", {})[0]),
    /encoded slash/,
  );
  assert.match(
    String(converse({ toolConfig: { tools: [{ newKind: {} }] } }).unrecognised),
    /kind that rules do not know/,
  );
});

const frame = (name: string, data: unknown, kind = ":event-type") =>
  writtenFrame({
    headers: [stringHeader(kind, name)],
    payload: Buffer.from(JSON.stringify(data)),
  });
function read(type: string, ...chunks: readonly Uint8Array[]) {
  const reader = answerReader(bedrock, type);
  for (const chunk of chunks) for (const byte of chunk) reader.push(Uint8Array.of(byte));
  return reader.finish();
}
const media = "application/vnd.amazon.eventstream";

test("reads an answer of Converse, whole and as frames", () => {
  const usage = { inputTokens: 10, outputTokens: 3, cacheReadInputTokens: 4 };
  const answer = {
    text: "Paid.",
    thinking: "Hm.",
    toolCalls: [{ name: "pay", arguments: '{"n":7}' }],
    usage: { input: 14, output: 3, cacheRead: 4 },
    truncated: false,
  };
  const content = [
    { reasoningContent: { reasoningText: { text: "Hm." } } },
    { text: "Paid." },
    { toolUse: { name: "pay", input: { n: 7 } } },
  ];
  const body = Buffer.from(JSON.stringify({ output: { message: { content } }, usage }));
  assert.deepEqual(read("application/json", body), answer);
  const frames = [
    frame("contentBlockDelta", {
      contentBlockIndex: 0,
      delta: { reasoningContent: { text: "Hm." } },
    }),
    frame("contentBlockDelta", { contentBlockIndex: 1, delta: { text: "Pa" } }),
    frame("contentBlockDelta", { contentBlockIndex: 1, delta: { text: "id." } }),
    frame("contentBlockStart", { contentBlockIndex: 2, start: { toolUse: { name: "pay" } } }),
    frame("contentBlockDelta", { contentBlockIndex: 2, delta: { toolUse: { input: '{"n":' } } }),
    frame("contentBlockDelta", { contentBlockIndex: 2, delta: { toolUse: { input: "7}" } } }),
    frame("metadata", { usage }),
  ];
  assert.deepEqual(read(media, ...frames), answer);
  assert.equal(read(media, ...frames, frame("x", {}).subarray(0, 20)).truncated, true);
  const failed = read(media, frame("throttlingException", { message: "slow" }, ":exception-type"));
  assert.equal(failed.error, "slow");
});

test("reads the events of models that InvokeModel passes on", () => {
  const chunk = (inner: unknown) =>
    frame("chunk", { bytes: Buffer.from(JSON.stringify(inner)).toString("base64") });
  assert.equal(
    read(
      media,
      chunk({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Hi" } }),
    ).text,
    "Hi",
  );
  assert.equal(
    read(media, chunk({ contentBlockDelta: { delta: { text: "Hi" }, contentBlockIndex: 0 } })).text,
    "Hi",
  );
  assert.equal(read(media, chunk({ generation: "H" }), chunk({ generation: "i" })).text, "Hi");
  assert.equal(
    read("application/json", Buffer.from('{"results":[{"outputText":"Hi"}]}')).text,
    "Hi",
  );
  assert.equal(read("application/json", Buffer.from('{"message":"no"}')).error, "no");
});
