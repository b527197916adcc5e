import assert from "node:assert/strict";
import { test } from "node:test";
import { recogniseHttp } from "../../http/recognise.ts";
import { answerReader } from "../answer.ts";
import { recogniseLlm } from "../recognise.ts";
import { gemini } from "./provider.ts";

function recognise(method: string, target: string, body?: unknown, basePath = "") {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const http = recogniseHttp({
    method,
    host: "generativelanguage.googleapis.com",
    target,
    headers,
  });
  return recogniseLlm(gemini, {
    http,
    basePath,
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
}
const generate = (body: unknown) =>
  recognise("POST", "/v1beta/models/gemini-2.5-flash:generateContent", body);

const conversation = {
  systemInstruction: { parts: [{ text: "You pay invoices." }, { text: "Be brief." }] },
  contents: [
    {
      parts: [
        { text: "Pay" },
        { inlineData: { mimeType: "image/png", data: "AAAA" } },
        { text: "this" },
      ],
    },
    {
      role: "user",
      parts: [{ fileData: { mimeType: "application/pdf", fileUri: "https://g/v1beta/files/x" } }],
    },
    { role: "model", parts: [{ functionCall: { name: "look_up", args: { number: 7 } } }] },
    {
      role: "user",
      parts: [{ functionResponse: { name: "look_up", response: { result: "7 euros" } } }],
    },
  ],
  tools: [{ functionDeclarations: [{ name: "look_up" }, { name: "pay" }] }, { googleSearch: {} }],
  generationConfig: {
    maxOutputTokens: 100,
    candidateCount: 2,
    responseSchema: { type: "OBJECT" },
    thinkingConfig: { thinkingBudget: 100 },
  },
};

const facts = {
  operation: "chat",
  model: "gemini-2.5-flash",
  stream: false,
  maxOutputTokens: 200,
  tools: ["look_up", "pay", "google_search"],
  toolsOffered: ["look_up", "pay", "google_search"],
  toolsCalled: ["look_up"],
  prompts: ["You pay invoices.\nBe brief.", "Pay", "this", '{"number":7}', "7 euros"],
  messages: [
    { role: "system", text: "You pay invoices.\nBe brief." },
    { role: "user", text: "Pay" },
    { role: "user", text: "this" },
    { role: "assistant", text: '{"number":7}' },
    { role: "tool", text: "7 euros" },
  ],
  toolResults: ["7 euros"],
  attachments: [
    { kind: "image", mediaType: "image/png", source: "inline" },
    { kind: "document", mediaType: "application/pdf", source: "file" },
  ],
  responseFormat: "json_schema",
  user: "",
  reasoning: true,
};

/** Names of fields alone, as ProtoJSON spells them otherwise. */
const snake = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(snake)
    : typeof value === "object" && value !== null
      ? Object.fromEntries(
          Object.entries(value).map(([name, one]) => [
            name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
            snake(one),
          ]),
        )
      : value;

test("recognises a conversation in both spellings of its fields", () => {
  for (const body of [conversation, snake(conversation)]) {
    const operation = generate(body);
    assert.equal(operation.unrecognised, undefined);
    assert.deepEqual(operation.facts, facts);
    assert.equal(operation.summary, "chat gemini-2.5-flash");
  }
});

test("one object in the place of a list is a list of one, as in Google's own examples", () => {
  const { facts: read } = generate({
    system_instruction: { parts: { text: "Be brief." } },
    contents: { parts: { text: "Hi" } },
    tools: { google_search: {} },
  });
  assert.deepEqual([read.prompts, read.tools], [["Be brief.", "Hi"], ["google_search"]]);
});

const operations: readonly (readonly [
  request: string,
  operation: string,
  model: string,
  stream?: true,
])[] = [
  ["POST /v1beta/models/m:generateContent", "chat", "m"],
  ["POST /v1beta/models/m:streamGenerateContent?alt=sse", "chat", "m", true],
  ["POST /v1/models/m:streamGenerateContent", "chat", "m", true],
  ["POST /models/m:countTokens", "count-tokens", "m"],
  ["POST /v1beta/models/m:embedContent", "embeddings", "m"],
  ["POST /v1beta/models/m:batchEmbedContents", "embeddings", "m"],
  ["POST /v1beta/tunedModels/m:generateContent", "chat", "tunedModels/m"],
  ["POST /v1/projects/p/locations/l/publishers/google/models/m:generateContent", "chat", "m"],
  ["POST /v1/projects/p/locations/l/endpoints/7:generateContent", "chat", "endpoints/7"],
  ["GET /v1beta/models?pageSize=50", "models", ""],
  ["GET /v1beta/models/m", "models", "m"],
];
for (const [request, operation, model, stream = false] of operations)
  test(`${request} is ${operation}`, () => {
    const [method = "", target = ""] = request.split(" ");
    const read = recognise(method, target, method === "POST" ? {} : undefined);
    assert.deepEqual(
      [read.unrecognised, read.facts.operation, read.facts.model, read.facts.stream],
      [undefined, operation, model, stream],
    );
  });

const refused: readonly (readonly [what: string, body: unknown, why: RegExp])[] = [
  [
    "a field in both spellings",
    { systemInstruction: {}, system_instruction: {} },
    /"systemInstruction" twice/,
  ],
  [
    "another model than the path's",
    { model: "models/gemini-2.5-pro", contents: [] },
    /another model/,
  ],
  ["contents that are no content", { contents: [7] }, /no object/],
  ["a limit that is no number", { generationConfig: { maxOutputTokens: "5" } }, /no whole number/],
  ["half a candidate", { generationConfig: { candidateCount: 0.5 } }, /candidateCount/],
];
for (const [what, body, why] of refused)
  test(`${what} is not understood`, () => {
    assert.match(generate(body).unrecognised ?? "", why);
  });

test("a body may repeat the model of the path", () => {
  for (const model of ["gemini-2.5-flash", "models/gemini-2.5-flash"])
    assert.equal(generate({ model, contents: [] }).unrecognised, undefined);
});

test("what the provider stored is a prompt that no rule sees", () => {
  assert.equal(
    generate({ cachedContent: "cachedContents/x", contents: [] }).facts.promptsUnreadable,
    true,
  );
});

test("files that the provider keeps are an operation, and what is in them no rule sees", () => {
  for (const request of [
    "GET /v1beta/files?pageSize=5",
    "GET /v1beta/files/abc",
    "GET /v1beta/files/abc:download?alt=media",
    "DELETE /v1beta/files/abc",
    "POST /upload/v1beta/files",
    "POST /upload/v1beta/files?upload_id=x&upload_protocol=resumable",
  ]) {
    const [method = "", target = ""] = request.split(" ");
    const { unrecognised, facts: read } = recognise(method, target, undefined);
    assert.deepEqual([unrecognised, read.operation], [undefined, "files"], request);
    assert.equal(read.promptsUnreadable, method === "POST" ? true : undefined);
  }
});

test("a cache is read like the beginning of the requests that will name it", () => {
  const { toolConfig: _, generationConfig: __, ...terms } = conversation as Record<string, unknown>;
  for (const model of [
    "models/gemini-2.5-flash",
    "projects/p/locations/l/publishers/google/models/gemini-2.5-flash",
  ])
    for (const spelt of [terms, snake(terms) as object]) {
      const target = model.startsWith("projects")
        ? "/v1/projects/p/locations/l/cachedContents"
        : "/v1beta/cachedContents";
      const read = recognise("POST", target, { ...spelt, model, ttl: "300s" });
      assert.equal(read.unrecognised, undefined);
      assert.deepEqual([read.facts.operation, read.facts.model], ["caches", "gemini-2.5-flash"]);
      assert.deepEqual(read.facts.prompts, facts.prompts);
      assert.deepEqual(read.facts.toolsOffered, facts.toolsOffered);
    }
  for (const request of [
    "GET /v1beta/cachedContents",
    "GET /v1beta/cachedContents/x",
    "DELETE /v1beta/cachedContents/x",
  ]) {
    const [method = "", target = ""] = request.split(" ");
    assert.equal(recognise(method, target, undefined).facts.operation, "caches");
  }
  const patch = (body: object) =>
    recognise("PATCH", "/v1beta/cachedContents/x?updateMask=ttl", body);
  assert.equal(patch({ ttl: "60s" }).unrecognised, undefined);
  assert.match(patch({ contents: [] }).unrecognised ?? "", /"contents", which a cache keeps/);
  assert.match(
    recognise("POST", "/v1beta/cachedContents", {}).unrecognised ?? "",
    /model is missing/,
  );
});

test("a batch of embeddings has the texts of all its requests, and one model", () => {
  const requests = ["one", "two"].map((text) => ({
    model: "models/m",
    content: { parts: [{ text }] },
  }));
  const target = "/v1beta/models/m:batchEmbedContents";
  assert.deepEqual(recognise("POST", target, { requests }).facts.prompts, ["one", "two"]);
  const other = [...requests, { model: "models/n", content: {} }];
  assert.match(recognise("POST", target, { requests: other }).unrecognised ?? "", /another model/);
});

test("a count has the texts of the request that it is of", () => {
  const target = "/v1beta/models/m:countTokens";
  const contents = [{ parts: [{ text: "one" }] }];
  assert.deepEqual(recognise("POST", target, { contents }).facts.prompts, ["one"]);
  const generateContentRequest = { model: "models/m", contents, tools: [{ googleSearch: {} }] };
  const { facts: read } = recognise("POST", target, { generateContentRequest });
  assert.deepEqual([read.prompts, read.tools], [["one"], ["google_search"]]);
});

for (const [target, why] of [
  ["/v1beta/interactions", /Interactions API/],
  ["/v1beta/interactions/x/cancel", /Interactions API/],
  ["/v1beta/models/m:batchGenerateContent", /batches of the Gemini API/],
  ["/v1beta/models/m:predict", /predictions/],
  [
    "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
    /live sessions/,
  ],
] as const)
  test(`${target} is refused by its name, with what to do instead`, () => {
    assert.match(recognise("POST", target, {}).unrecognised ?? "", why);
  });

test("everything else of the API is no operation that rules know", () => {
  for (const target of [
    "/v1beta/corpora",
    "/v1beta/files",
    "/v1beta/models/m/n:generateContent",
    "/v1/projects/p/locations/l/publishers/anthropic/models/m:rawPredict",
  ])
    assert.match(recognise("POST", target, {}).unrecognised ?? "", /no operation of this API/);
});

test("a limit is shared by the answers that are asked for", () => {
  assert.deepEqual(gemini.limited("chat", { generation_config: { candidate_count: 2 } }, 100, ""), {
    generation_config: { candidate_count: 2, maxOutputTokens: 50 },
  });
  assert.equal(gemini.limited("embeddings", {}, 100, ""), undefined);
});

const chunks = [
  { candidates: [{ content: { parts: [{ text: "Hm.", thought: true }] } }] },
  { candidates: [{ content: { parts: [{ text: "Pa" }] } }] },
  {
    candidates: [
      { content: { parts: [{ text: "id." }, { functionCall: { name: "pay", args: { n: 7 } } }] } },
    ],
    usageMetadata: {
      promptTokenCount: 10,
      toolUsePromptTokenCount: 1,
      cachedContentTokenCount: 4,
      candidatesTokenCount: 3,
      thoughtsTokenCount: 2,
    },
  },
];
const answer = {
  text: "Paid.",
  thinking: "Hm.",
  toolCalls: [{ name: "pay", arguments: '{"n":7}' }],
  usage: { input: 11, output: 5, cacheRead: 4 },
  truncated: false,
};
function read(type: string, body: string) {
  const reader = answerReader(gemini, type);
  for (const byte of Buffer.from(body)) reader.push(Buffer.of(byte));
  return reader.finish();
}

test("reads an answer as events, as an array, and whole", () => {
  const sse = chunks.map((chunk) => `data: ${JSON.stringify(chunk)}\n\n`).join("");
  assert.deepEqual(read("text/event-stream", sse), answer);
  assert.deepEqual(read("application/json", JSON.stringify(chunks, undefined, 1)), answer);
  const whole = {
    ...chunks[2],
    candidates: [
      {
        content: {
          parts: [
            { text: "Hm.", thought: true },
            { text: "Paid." },
            { functionCall: { name: "pay", args: { n: 7 } } },
          ],
        },
      },
    ],
  };
  assert.deepEqual(read("application/json", JSON.stringify(whole)), answer);
  assert.equal(read("application/json", JSON.stringify(chunks).slice(0, -1)).truncated, true);
  assert.equal(read("application/json", '{"error":{"code":429,"message":"slow"}}').error, "slow");
});
