import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { recogniseHttp } from "../../http/recognise.ts";
import type { LlmFacts, LlmOperation } from "../../operation.ts";
import { recogniseLlm } from "../recognise.ts";
import { openAi } from "./provider.ts";

interface More {
  readonly basePath?: string;
  readonly contentType?: string;
  readonly upgrade?: "websocket";
}

function recognise(request: string, body?: unknown, more: More = {}): LlmOperation {
  const [method = "", target = ""] = request.split(" ");
  const { basePath = "/v1", contentType = body === undefined ? undefined : "application/json" } =
    more;
  const http = recogniseHttp({
    method,
    host: "api.openai.com",
    target,
    headers: contentType === undefined ? {} : { "content-type": contentType },
    ...(more.upgrade !== undefined && { upgrade: more.upgrade }),
  });
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return recogniseLlm(openAi, {
    http,
    basePath,
    ...(contentType !== undefined && { contentType }),
    ...(text !== undefined && { body: new TextEncoder().encode(text) }),
  });
}

const form = (
  ...fields: readonly (readonly [name: string, value: string, file?: string])[]
): string =>
  `${fields
    .map(
      ([name, value, file]) =>
        `--xyz\r\nContent-Disposition: form-data; name="${name}"${file === undefined ? "" : `; filename="${file}"\r\nContent-Type: audio/mpeg`}\r\n\r\n${value}\r\n`,
    )
    .join("")}--xyz--\r\n`;
const asForm: More = { contentType: "multipart/form-data; boundary=xyz" };

const understood: readonly (readonly [
  what: string,
  request: string,
  body: unknown,
  facts: Partial<LlmFacts>,
  more?: More,
])[] = [
  [
    "legacy completions",
    "POST /v1/completions",
    { model: "m", prompt: ["a", "b"], suffix: "c", max_tokens: 5, n: 2, best_of: 3 },
    { operation: "completions", model: "m", prompts: ["a", "b", "c"], maxOutputTokens: 30 },
  ],
  [
    "completions of tokens",
    "POST /v1/completions",
    { model: "m", prompt: [1, 2], max_tokens: 5 },
    { promptsUnreadable: true, maxOutputTokens: 5 },
  ],
  [
    "moderations with the provider's own model",
    "POST /v1/moderations",
    { input: "a" },
    { operation: "moderations", model: "", modelUnsaid: true, prompts: ["a"] },
  ],
  [
    "moderations of pictures",
    "POST /v1/moderations",
    {
      model: "omni",
      input: [
        { type: "text", text: "a" },
        { type: "image_url", image_url: { url: "data:image/png;base64,xx" } },
      ],
    },
    {
      model: "omni",
      prompts: ["a"],
      attachments: [{ kind: "image", mediaType: "image/png", source: "inline" }],
    },
  ],
  [
    "images",
    "POST /v1/images/generations",
    { model: "gpt-image-1", prompt: "a cat", stream: true, user: "u" },
    { operation: "images", model: "gpt-image-1", prompts: ["a cat"], stream: true, user: "u" },
  ],
  [
    "images without a model",
    "POST /v1/images/generations",
    { prompt: "a cat" },
    { model: "", modelUnsaid: true },
  ],
  [
    "edits of images",
    "POST /v1/images/edits",
    form(
      ["model", "gpt-image-1"],
      ["prompt", "a hat"],
      ["image[]", "x", "a.png"],
      ["image[]", "y", "b.png"],
    ),
    {
      operation: "images",
      model: "gpt-image-1",
      prompts: ["a hat"],
      attachments: [
        { kind: "image", mediaType: "audio/mpeg", source: "inline" },
        { kind: "image", mediaType: "audio/mpeg", source: "inline" },
      ],
    },
    asForm,
  ],
  [
    "speech",
    "POST /v1/audio/speech",
    { model: "tts-1", voice: "alloy", input: "hello", instructions: "calm" },
    { operation: "speech", model: "tts-1", prompts: ["calm", "hello"], stream: false },
  ],
  [
    "transcriptions",
    "POST /v1/audio/transcriptions",
    form(
      ["file", "x", "a.mp3"],
      ["model", "whisper-1"],
      ["stream", "true"],
      ["prompt", "names"],
      ["response_format", "verbose_json"],
      ["timestamp_granularities[]", "word"],
    ),
    {
      operation: "transcriptions",
      model: "whisper-1",
      stream: true,
      prompts: ["names"],
      responseFormat: "json",
      attachments: [{ kind: "audio", mediaType: "audio/mpeg", source: "inline" }],
    },
    asForm,
  ],
  [
    "translations",
    "POST /v1/audio/translations",
    form(["file", "x", "a.mp3"], ["model", "whisper-1"]),
    { operation: "translations", model: "whisper-1" },
    asForm,
  ],
  [
    "uploads",
    "POST /v1/files",
    form(["purpose", "user_data"], ["file", "{}", "a.jsonl"]),
    { operation: "files", model: "", promptsUnreadable: true },
    asForm,
  ],
  [
    "the list of files",
    "GET /v1/files?purpose=batch",
    undefined,
    { operation: "files", model: "" },
  ],
  ["what a file says", "GET /v1/files/f1/content", undefined, { operation: "files" }],
  ["the end of a file", "DELETE /v1/files/f1", undefined, { operation: "files" }],
  [
    "batches",
    "POST /v1/batches",
    { input_file_id: "f1", endpoint: "/v1/chat/completions", completion_window: "24h" },
    {
      operation: "batches",
      model: "",
      modelUnsaid: true,
      toolsUnreadable: true,
      promptsUnreadable: true,
    },
  ],
  ["the end of a batch", "POST /v1/batches/b1/cancel", undefined, { operation: "batches" }],
  [
    "a stored response",
    "GET /v1/responses/r1?stream=false",
    undefined,
    { operation: "responses", model: "" },
  ],
  [
    "the tokens of a response",
    "POST /v1/responses/input_tokens",
    { model: "m", input: "a" },
    { operation: "count-tokens", model: "m" },
  ],
  [
    "a session",
    "GET /v1/realtime?model=gpt-realtime",
    undefined,
    {
      operation: "realtime",
      model: "gpt-realtime",
      promptsUnreadable: true,
    },
    { upgrade: "websocket" },
  ],
  [
    "a session of Azure",
    "GET /openai/realtime?api-version=1&deployment=rt",
    undefined,
    { operation: "realtime", model: "rt" },
    { upgrade: "websocket", basePath: "" },
  ],
  [
    "a session without a model",
    "GET /v1/realtime?call_id=c",
    undefined,
    { operation: "realtime", model: "", modelUnsaid: true, toolsUnreadable: true },
    { upgrade: "websocket" },
  ],
  [
    "a deployment of Azure",
    "POST /openai/deployments/my-gpt/chat/completions?api-version=2024-10-21",
    { messages: [] },
    { operation: "chat", model: "my-gpt" },
    { basePath: "" },
  ],
  [
    "a deployment below a base path",
    "POST /openai/deployments/my-gpt/embeddings?api-version=1",
    { model: "my-gpt", input: "a" },
    { operation: "embeddings", model: "my-gpt" },
    { basePath: "/openai" },
  ],
  [
    "a recording for a deployment",
    "POST /openai/deployments/w/audio/transcriptions",
    form(["file", "x", "a.mp3"]),
    { operation: "transcriptions", model: "w" },
    { ...asForm, basePath: "" },
  ],
  [
    "Azure's v1",
    "POST /openai/v1/responses",
    { model: "m", input: "a" },
    { operation: "responses", model: "m" },
    { basePath: "" },
  ],
  [
    "Azure's files",
    "GET /openai/files?api-version=1",
    undefined,
    { operation: "files" },
    { basePath: "" },
  ],
  [
    "a server at the root of a host",
    "POST /v1/chat/completions",
    { model: "m", messages: [] },
    { operation: "chat" },
    { basePath: "" },
  ],
  [
    "Ollama's chat",
    "POST /api/chat",
    {
      model: "Llama3.2:latest",
      messages: [
        { role: "user", content: "hi", images: ["aGk="] },
        {
          role: "assistant",
          content: "",
          tool_calls: [{ function: { name: "f", arguments: { a: 1 } } }],
        },
        { role: "tool", tool_name: "f", content: "7" },
      ],
      tools: [{ type: "function", function: { name: "g" } }],
      options: { num_predict: 9 },
      format: "json",
      think: true,
    },
    {
      operation: "chat",
      model: "llama3.2",
      stream: true,
      tools: ["f", "g"],
      toolsOffered: ["g"],
      prompts: ["hi", '{"a":1}', "7"],
      maxOutputTokens: 9,
      responseFormat: "json",
      reasoning: true,
      attachments: [{ kind: "image", mediaType: "", source: "inline" }],
    },
    { basePath: "" },
  ],
  [
    "Ollama's generate",
    "POST /api/generate",
    {
      model: "m",
      prompt: "a",
      system: "b",
      context: [1],
      stream: false,
      options: { num_predict: -1 },
    },
    {
      operation: "completions",
      model: "m",
      stream: false,
      prompts: ["b", "a"],
      promptsUnreadable: true,
      maxOutputTokens: null,
    },
    { basePath: "" },
  ],
  [
    "Ollama's embed",
    "POST /api/embed",
    { model: "m", input: ["a", "b"] },
    { operation: "embeddings", prompts: ["a", "b"] },
    { basePath: "" },
  ],
  ["Ollama's tags", "GET /api/tags", undefined, { operation: "models" }, { basePath: "" }],
  [
    "chat with an end user, thinking and a schema",
    "POST /v1/chat/completions",
    {
      model: "m",
      messages: [],
      reasoning_effort: "high",
      safety_identifier: "u",
      response_format: { type: "json_schema", json_schema: { name: "x" } },
    },
    { reasoning: true, user: "u", responseFormat: "json_schema" },
  ],
  [
    "chat with sound, files and documents",
    "POST /v1/chat/completions",
    {
      model: "m",
      messages: [
        {
          role: "user",
          content: [
            { type: "input_audio", input_audio: { data: "aGk=", format: "wav" } },
            { type: "file", file: { file_id: "f" } },
            { type: "file", file: { file_data: "data:application/pdf;base64,aGk=" } },
          ],
        },
      ],
      documents: [{ title: "t", text: "d" }],
    },
    {
      prompts: ["t", "d"],
      attachments: [
        { kind: "audio", mediaType: "audio/wav", source: "inline" },
        { kind: "file", mediaType: "", source: "file" },
        { kind: "file", mediaType: "application/pdf", source: "inline" },
      ],
    },
  ],
  [
    "arguments of calls as texts of the assistant",
    "POST /v1/chat/completions",
    {
      model: "m",
      messages: [
        {
          role: "assistant",
          tool_calls: [{ type: "function", function: { name: "f", arguments: '{"to":"a@b.io"}' } }],
        },
      ],
    },
    { prompts: ['{"to":"a@b.io"}'], messages: [{ role: "assistant", text: '{"to":"a@b.io"}' }] },
  ],
  [
    "responses with pictures and thinking",
    "POST /v1/responses",
    {
      model: "m",
      input: [
        {
          role: "user",
          content: [
            { type: "input_image", image_url: "https://x.example/a" },
            { type: "input_file", file_id: "f" },
          ],
        },
        {
          type: "computer_call_output",
          output: { type: "computer_screenshot", image_url: "data:image/png;base64,aGk=" },
        },
      ],
      text: { format: { type: "json_object" } },
      reasoning: { effort: "low" },
      user: "u",
    },
    {
      responseFormat: "json",
      reasoning: true,
      user: "u",
      attachments: [
        { kind: "image", mediaType: "", source: "url" },
        { kind: "file", mediaType: "", source: "file" },
        { kind: "image", mediaType: "image/png", source: "inline" },
      ],
    },
  ],
];
describe("recognises", () => {
  for (const [what, request, body, facts, more] of understood)
    test(what, () => {
      const operation = recognise(request, body, more);
      assert.equal(operation.unrecognised, undefined);
      const seen = Object.entries(facts).map(([name]) => [
        name,
        new Map<string, unknown>(Object.entries(operation.facts)).get(name),
      ]);
      assert.deepEqual(Object.fromEntries(seen), facts);
    });
});

const refused: readonly (readonly [
  what: string,
  request: string,
  body: unknown,
  why: RegExp,
  more?: More,
])[] = [
  ["a session that is no upgrade", "GET /v1/realtime?model=m", undefined, /no operation/],
  [
    "an upgrade that is no session",
    "GET /v1/models",
    undefined,
    /no operation/,
    { upgrade: "websocket" },
  ],
  [
    "a session of two models",
    "GET /v1/realtime?model=a&model=b",
    undefined,
    /several models/,
    { upgrade: "websocket" },
  ],
  [
    "a session of a model and a deployment",
    "GET /v1/realtime?model=a&deployment=b",
    undefined,
    /several models/,
    { upgrade: "websocket" },
  ],
  [
    "a session of a model in capitals",
    "GET /v1/realtime?Model=a",
    undefined,
    /several models/,
    { upgrade: "websocket" },
  ],
  ["a key for sessions elsewhere", "POST /v1/realtime/client_secrets", {}, /no operation/],
  ["a form as JSON", "POST /v1/audio/transcriptions", { model: "m" }, /multipart\/form-data/],
  [
    "JSON as a form",
    "POST /v1/chat/completions",
    form(["model", "m"]),
    /application\/json/,
    asForm,
  ],
  [
    "a form with two models",
    "POST /v1/audio/transcriptions",
    form(["model", "a"], ["model", "b"]),
    /several times/,
    asForm,
  ],
  [
    "a form with a list of models",
    "POST /v1/audio/transcriptions",
    form(["model", "a"], ["model[]", "b"]),
    /several times/,
    asForm,
  ],
  [
    "a form with a model that is a file",
    "POST /v1/audio/transcriptions",
    form(["model", "a", "m.txt"]),
    /several times/,
    asForm,
  ],
  [
    "a form with a model in capitals",
    "POST /v1/audio/transcriptions",
    form(["model", "a"], ["Model", "b"]),
    /some servers read as model/,
    asForm,
  ],
  [
    "a form with another model than its deployment",
    "POST /openai/deployments/a/audio/transcriptions",
    form(["model", "b"]),
    /another model than the path/,
    { ...asForm, basePath: "" },
  ],
  [
    "a recording without a model",
    "POST /v1/audio/transcriptions",
    form(["file", "x", "a.mp3"]),
    /model is missing/,
    asForm,
  ],
  [
    "a change of Ollama's models",
    "POST /api/pull",
    { model: "m" },
    /no operation/,
    { basePath: "" },
  ],
  [
    "Ollama's two names of a model",
    "POST /api/chat",
    { model: "a", name: "b", messages: [] },
    /both model and name/,
    { basePath: "" },
  ],
  ["the end of a model", "DELETE /v1/models/m", undefined, /no operation/],
  ["a batch without a file", "POST /v1/batches", {}, /input_file_id is missing/],
];
describe("does not recognise", () => {
  for (const [what, request, body, why, more] of refused)
    test(what, () => {
      assert.match(recognise(request, body, more).unrecognised ?? "was recognised", why);
    });
});

test("the body goes on with the model that rules see, where the path or the server has another name for it", () => {
  const azure = recognise(
    "POST /openai/deployments/my-gpt/chat/completions?api-version=1",
    { model: "gpt-4o", messages: [] },
    { basePath: "" },
  );
  assert.equal(azure.facts.model, "my-gpt");
  assert.deepEqual(azure.members, { model: "my-gpt" });
  for (const [name, model] of [
    ["registry.ollama.ai/library/Llama3.2:latest", "llama3.2"],
    ["library/qwen3", "qwen3"],
    ["hf.co/Org/Model:Q4", "hf.co/org/model:q4"],
  ] as const) {
    const chat = recognise("POST /api/chat", { model: name, messages: [] }, { basePath: "" });
    assert.equal(chat.facts.model, model);
    assert.deepEqual(chat.members, { model });
  }
  assert.equal(
    recognise("POST /api/chat", { model: "m", messages: [] }, { basePath: "" }).members,
    undefined,
  );
});
