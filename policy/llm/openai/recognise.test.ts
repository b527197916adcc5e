import assert from "node:assert/strict";
import { test } from "node:test";
import { recogniseHttp } from "../../http/recognise.ts";
import { recogniseLlm } from "../recognise.ts";
import { openAi } from "./provider.ts";

function recognise(
  target: string,
  body: unknown,
  more: { method?: string; contentType?: string; basePath?: string } = {},
) {
  const { method = "POST", contentType = "application/json", basePath = "/v1" } = more;
  const headers = contentType === "" ? {} : { "content-type": contentType };
  const http = recogniseHttp({ method, host: "api.openai.com", target, headers });
  if (body === undefined) return recogniseLlm(openAi, { http, basePath });
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return recogniseLlm(openAi, { http, basePath, body: new TextEncoder().encode(text) });
}
const chat = (body: Record<string, unknown>) =>
  recognise("/v1/chat/completions", { model: "gpt-5", messages: [], ...body });
const responses = (body: Record<string, unknown>) =>
  recognise("/v1/responses", { model: "gpt-5", ...body });
const named = (name: string) => ({ type: "function", function: { name, parameters: {} } });

test("recognises a chat completion as LangChain sends it", () => {
  const operation = chat({
    stream: true,
    max_completion_tokens: 500,
    temperature: 0.1,
    messages: [
      { role: "system", content: "You pay invoices." },
      {
        role: "user",
        content: [
          { type: "text", text: "Pay" },
          { type: "image_url", image_url: { url: "https://x" } },
          { type: "text", text: "number 7" },
        ],
      },
      {
        role: "assistant",
        content: null,
        tool_calls: [
          { id: "c1", type: "function", function: { name: "look_up", arguments: "{}" } },
        ],
      },
      { role: "tool", tool_call_id: "c1", content: "7 euros" },
    ],
    tools: [named("look_up"), named("pay")],
  });
  assert.equal(operation.unrecognised, undefined);
  assert.equal(operation.summary, "chat gpt-5");
  assert.deepEqual(operation.facts, {
    operation: "chat",
    model: "gpt-5",
    stream: true,
    tools: ["look_up", "pay"],
    maxOutputTokens: 500,
    prompts: ["You pay invoices.", "Pay\nnumber 7", "7 euros"],
    messages: [
      { role: "system", text: "You pay invoices." },
      { role: "user", text: "Pay\nnumber 7" },
      { role: "tool", text: "7 euros" },
    ],
    toolsOffered: ["look_up", "pay"],
    toolsCalled: ["look_up"],
    toolResults: ["7 euros"],
    attachments: [{ kind: "image", mediaType: "", source: "url" }],
    responseFormat: "",
    user: "",
    reasoning: false,
  });
  assert.deepEqual(operation.accesses, [
    { kind: "llm", operation: "chat", model: "gpt-5", maxOutputTokens: 500 },
    { kind: "tool", tool: "look_up" },
    { kind: "tool", tool: "pay" },
  ]);
  assert.equal(operation.http.path, "/v1/chat/completions");
});

const chatTools: [what: string, body: Record<string, unknown>, tools: string[]][] = [
  ["a custom tool", { tools: [{ type: "custom", custom: { name: "grammar" } }] }, ["grammar"]],
  ["a tool of the provider's own", { tools: [{ type: "web_search" }] }, ["web_search"]],
  ["web search by its option", { web_search_options: {} }, ["web_search"]],
  ["legacy functions", { functions: [{ name: "old" }] }, ["old"]],
  [
    "a legacy function call",
    { messages: [{ role: "assistant", function_call: { name: "old", arguments: "" } }] },
    ["old"],
  ],
  [
    "a legacy function result",
    { messages: [{ role: "function", name: "old", content: "1" }] },
    ["old"],
  ],
  [
    "a call of a tool that is not offered",
    { messages: [{ role: "assistant", tool_calls: [named("gone")] }] },
    ["gone"],
  ],
  [
    "a custom call",
    {
      messages: [
        { role: "assistant", tool_calls: [{ type: "custom", custom: { name: "c", input: "" } }] },
      ],
    },
    ["c"],
  ],
  [
    "a tool offered and called once",
    { tools: [named("a")], messages: [{ role: "assistant", tool_calls: [named("a")] }] },
    ["a"],
  ],
];
for (const [what, body, tools] of chatTools) {
  test(`chat: names ${what}`, () => {
    const operation = chat(body);
    assert.equal(operation.unrecognised, undefined);
    assert.deepEqual(operation.facts.tools, tools);
  });
}

test("chat: of two limits the larger counts, and null is none", () => {
  assert.equal(chat({ max_tokens: 5, max_completion_tokens: 9 }).facts.maxOutputTokens, 9);
  assert.equal(chat({ max_tokens: null }).facts.maxOutputTokens, null);
  assert.equal(chat({ max_tokens: 5, n: 3 }).facts.maxOutputTokens, 15, "of each of n answers");
});

test("chat: a limit by a name that only another operation knows is no limit", () => {
  assert.equal(chat({ max_output_tokens: 5 }).facts.maxOutputTokens, null);
});

test("chat: a prediction is text that is sent", () => {
  assert.deepEqual(chat({ prediction: { type: "content", content: "guess" } }).facts.prompts, [
    "guess",
  ]);
});

test("recognises a response with its items, instructions and tools", () => {
  const operation = responses({
    instructions: "Be brief.",
    max_output_tokens: 50,
    input: [
      { role: "user", content: "Hello" },
      {
        type: "message",
        role: "user",
        content: [
          { type: "input_text", text: "there" },
          { type: "input_image", image_url: "x" },
        ],
      },
      { type: "reasoning", summary: [{ type: "summary_text", text: "thinking" }] },
      { type: "function_call", name: "look_up", arguments: "{}", call_id: "1" },
      { type: "function_call_output", call_id: "1", output: "seven" },
      { type: "web_search_call", id: "w", status: "completed" },
      { type: "mcp_call", server_label: "s", name: "n" },
      { type: "computer_call_output", output: { type: "computer_screenshot" } },
    ],
    tools: [
      { type: "function", name: "pay", parameters: {} },
      { type: "file_search" },
      { type: "namespace", name: "crm", tools: [{ type: "function", name: "find" }] },
    ],
  });
  assert.equal(operation.unrecognised, undefined);
  assert.deepEqual(operation.facts.prompts, ["Be brief.", "Hello", "there", "thinking", "seven"]);
  assert.deepEqual(operation.facts.tools, [
    "look_up",
    "web_search",
    "mcp",
    "pay",
    "file_search",
    "find",
  ]);
  assert.equal(operation.facts.maxOutputTokens, 50);
  assert.equal(operation.facts.promptsUnreadable, undefined);
});

for (const body of [
  { previous_response_id: "r1" },
  { conversation: "c1" },
  { input: [{ type: "item_reference", id: "i" }] },
]) {
  test(`responses: ${Object.keys(body)[0]} refers to text that is not in the request`, () => {
    assert.equal(responses(body).facts.promptsUnreadable, true);
  });
}

test("recognises embeddings of text and of tokens", () => {
  const embed = (input: unknown) => recognise("/v1/embeddings", { model: "e3", input }).facts;
  assert.deepEqual(embed("one").prompts, ["one"]);
  assert.deepEqual(embed(["one", "two"]).prompts, ["one", "two"]);
  assert.equal(embed([[1, 2], [3]]).promptsUnreadable, true);
  assert.equal(embed([1, 2]).promptsUnreadable, true);
});

test("recognises the list of models and one model, whose name may have slashes", () => {
  const get = (target: string) => recognise(target, undefined, { method: "GET", contentType: "" });
  assert.deepEqual(get("/v1/models").accesses, [{ kind: "llm", operation: "models" }]);
  assert.deepEqual(get("/v1/models/org/m:8b").accesses, [
    { kind: "llm", operation: "models", model: "org/m:8b" },
  ]);
  assert.equal(get("/v1/models").unrecognised, undefined);
});

test("the base path is the connection's own", () => {
  const at = (target: string, basePath: string) =>
    recognise(target, { model: "m", messages: [] }, { basePath }).facts.operation;
  assert.equal(at("/chat/completions", ""), "chat");
  assert.equal(at("/api/openai/v1/chat/completions", "/api/openai/v1"), "chat");
  assert.equal(at("/v2/chat/completions", "/v1"), "other");
  assert.equal(at("/v1chat/completions", "/v1"), "other");
});

const refused: [
  what: string,
  target: string,
  body: unknown,
  why: RegExp,
  more?: Parameters<typeof recognise>[2],
][] = [
  ["another path", "/v1/assistants", {}, /POST \/v1\/assistants is no operation/],
  ["another method", "/v1/chat/completions", undefined, /DELETE/, { method: "DELETE" }],
  [
    "a part of a stored response",
    "/v1/responses/r1/x",
    undefined,
    /no operation/,
    { method: "GET" },
  ],
  ["a slash at the end", "/v1/chat/completions/", {}, /no operation/],
  ["an ambiguous path", "/v1//chat/completions", {}, /`\/\/`/],
  ["a body that is not JSON", "/v1/chat/completions", "{", /no JSON/],
  ["no body", "/v1/chat/completions", undefined, /no JSON/],
  [
    "another content type",
    "/v1/chat/completions",
    {},
    /application\/json/,
    { contentType: "text/plain" },
  ],
  ["a body that is a list", "/v1/chat/completions", [], /no object/],
  ["no model", "/v1/chat/completions", { messages: [] }, /model is missing/],
  [
    "a model that is no text",
    "/v1/chat/completions",
    { model: ["a"], messages: [] },
    /model is missing/,
  ],
  [
    "fallback models",
    "/v1/chat/completions",
    { model: "a", models: ["b"], messages: [] },
    /models leads to models that no rule sees/,
  ],
  ["no messages", "/v1/chat/completions", { model: "a" }, /messages is no list/],
  ["half an answer", "/v1/chat/completions", { model: "a", messages: [], n: 0.5 }, /n is no/],
  [
    "the model twice",
    "/v1/chat/completions",
    '{"model":"a","messages":[],"model":"b"}',
    /"model" twice/,
  ],
  [
    "the model twice, once escaped",
    "/v1/chat/completions",
    '{"model":"a","messages":[],"mod\\u0065l":"b"}',
    /"model" twice/,
  ],
  [
    "the model in capitals beside it",
    "/v1/chat/completions",
    '{"model":"a","messages":[],"Model":"b"}',
    /read as model/,
  ],
  [
    "tools with a long s",
    "/v1/chat/completions",
    { model: "a", messages: [], "tool\u017f": [] },
    /read as tools/,
  ],
  [
    "a tool's function in capitals",
    "/v1/chat/completions",
    { model: "a", messages: [], tools: [{ type: "function", function: { name: "a", Name: "b" } }] },
    /read as name/,
  ],
  [
    "a tool without a name",
    "/v1/chat/completions",
    { model: "a", messages: [], tools: [{ type: "function", function: {} }] },
    /name of a tool is missing/,
  ],
  [
    "a tool without a type",
    "/v1/responses",
    { model: "a", tools: [{ name: "x" }] },
    /name of a tool is missing/,
  ],
  [
    "a message that is text",
    "/v1/chat/completions",
    { model: "a", messages: ["hi"] },
    /message is no object/,
  ],
  [
    "content that is an object",
    "/v1/chat/completions",
    { model: "a", messages: [{ role: "user", content: {} }] },
    /no list/,
  ],
  [
    "stream that is text",
    "/v1/chat/completions",
    { model: "a", messages: [], stream: "yes" },
    /stream/,
  ],
  [
    "a limit that is text",
    "/v1/chat/completions",
    { model: "a", messages: [], max_tokens: "9" },
    /max_tokens/,
  ],
  [
    "a limit below zero",
    "/v1/chat/completions",
    { model: "a", messages: [], max_tokens: -1 },
    /max_tokens/,
  ],
  ["a stored prompt", "/v1/responses", { model: "a", prompt: { id: "p" } }, /stored template/],
  ["a model list with a body", "/v1/models", { x: 1 }, /has a body/, { method: "GET" }],
  [
    "deep nesting",
    "/v1/chat/completions",
    `{"model":"a","messages":[],"x":${"[".repeat(200)}${"]".repeat(200)}}`,
    /nested deeper/,
  ],
  ["a byte order mark", "/v1/chat/completions", '\ufeff{"model":"a","messages":[]}', /no JSON/],
];
for (const [what, target, body, why, more] of refused) {
  test(`does not recognise ${what}`, () => {
    const operation = recognise(target, body, more);
    assert.match(operation.unrecognised ?? "was recognised", why);
  });
}
