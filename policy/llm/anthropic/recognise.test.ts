import assert from "node:assert/strict";
import { test } from "node:test";
import { recogniseHttp } from "../../http/recognise.ts";
import { recogniseLlm } from "../recognise.ts";
import { anthropic } from "./provider.ts";

function recognise(method: string, target: string, body?: unknown, basePath = "") {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const http = recogniseHttp({ method, host: "api.anthropic.com", target, headers });
  return recogniseLlm(anthropic, {
    http,
    basePath,
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
}
const messages = (more: Record<string, unknown>) =>
  recognise("POST", "/v1/messages", {
    model: "claude-opus-4-5",
    max_tokens: 100,
    messages: [],
    ...more,
  });
const content = (...blocks: readonly unknown[]) =>
  messages({ messages: [{ role: "user", content: blocks }] });

test("recognises a conversation with tools, images, documents and thinking", () => {
  const operation = messages({
    stream: true,
    max_tokens: 2048,
    system: [
      { type: "text", text: "You pay invoices." },
      { type: "text", text: "Be brief.", cache_control: { type: "ephemeral" } },
    ],
    thinking: { type: "enabled", budget_tokens: 1024 },
    output_config: { format: { type: "json_schema", schema: { type: "object" } } },
    metadata: { user_id: "user-7" },
    messages: [
      { role: "user", content: "Pay number 7" },
      {
        role: "user",
        content: [
          { type: "text", text: "See" },
          { type: "image", source: { type: "base64", media_type: "image/png", data: "AAAA" } },
          { type: "image", source: { type: "url", url: "https://x/y.png" } },
          {
            type: "document",
            title: "Terms",
            source: { type: "text", media_type: "text/plain", data: "30 days" },
          },
          { type: "document", source: { type: "file", file_id: "file_1" } },
          { type: "text", text: "and pay." },
        ],
      },
      {
        role: "assistant",
        content: [
          { type: "thinking", thinking: "Look it up first.", signature: "abc" },
          { type: "redacted_thinking", data: "AAAA" },
          { type: "tool_use", id: "t1", name: "look_up", input: { number: 7 } },
        ],
      },
      {
        role: "user",
        content: [
          {
            type: "tool_result",
            tool_use_id: "t1",
            content: [
              { type: "text", text: "7 euros" },
              {
                type: "search_result",
                title: "Invoice",
                source: "s",
                content: [{ type: "text", text: "due" }],
              },
            ],
          },
          { type: "tool_result", tool_use_id: "t2", content: "nothing", is_error: true },
        ],
      },
    ],
    tools: [
      { name: "look_up", input_schema: { type: "object" } },
      { type: "web_search_20250305", name: "web_search" },
      { type: "computer_toolset_20260801" },
    ],
  });
  assert.equal(operation.unrecognised, undefined);
  assert.equal(operation.summary, "chat claude-opus-4-5");
  assert.deepEqual(operation.facts, {
    operation: "chat",
    model: "claude-opus-4-5",
    stream: true,
    maxOutputTokens: 2048,
    tools: ["look_up", "web_search", "computer"],
    toolsOffered: ["look_up", "web_search", "computer"],
    toolsCalled: ["look_up"],
    prompts: operation.facts.messages.map(({ text }) => text),
    messages: [
      { role: "system", text: "You pay invoices.\nBe brief." },
      { role: "user", text: "Pay number 7" },
      { role: "user", text: "See" },
      { role: "user", text: "Terms" },
      { role: "user", text: "30 days" },
      { role: "user", text: "and pay." },
      { role: "assistant", text: "Look it up first." },
      { role: "assistant", text: '{"number":7}' },
      { role: "tool", text: "7 euros" },
      { role: "tool", text: "Invoice\ns\ndue" },
      { role: "tool", text: "nothing" },
    ],
    toolResults: ["7 euros", "Invoice\ns\ndue", "nothing"],
    attachments: [
      { kind: "image", mediaType: "image/png", source: "inline" },
      { kind: "image", mediaType: "", source: "url" },
      { kind: "document", mediaType: "text/plain", source: "text" },
      { kind: "document", mediaType: "", source: "file" },
    ],
    responseFormat: "json_schema",
    user: "user-7",
    reasoning: true,
  });
  assert.deepEqual(operation.accesses, [
    { kind: "llm", operation: "chat", model: "claude-opus-4-5", maxOutputTokens: 2048 },
    { kind: "tool", tool: "look_up" },
    { kind: "tool", tool: "web_search" },
    { kind: "tool", tool: "computer" },
  ]);
});

const calls: readonly (readonly [what: string, block: unknown, tools: readonly string[]])[] = [
  ["a tool of the provider's own", { type: "server_tool_use", name: "web_search" }, ["web_search"]],
  [
    "a tool of a toolset",
    { type: "tool_use", name: "left_click", toolset_name: "computer" },
    ["computer"],
  ],
  [
    "a tool of a server that the provider asks",
    { type: "mcp_tool_use", name: "x", server_name: "y" },
    ["mcp"],
  ],
];
for (const [what, block, tools] of calls)
  test(`${what} is called by the name that rules know`, () => {
    assert.deepEqual(content(block).facts.toolsCalled, tools);
  });

test("servers whose tools the provider calls are one tool, mcp", () => {
  assert.deepEqual(messages({ mcp_servers: [{ type: "url", url: "https://x" }] }).facts.tools, [
    "mcp",
  ]);
});

test("blocks that are not known by their type are read for every text in them", () => {
  const { facts, unrecognised } = content(
    {
      type: "web_search_tool_result",
      tool_use_id: "t",
      content: [
        {
          type: "web_search_result",
          title: "A title",
          url: "https://x",
          encrypted_content: "AAAA",
        },
      ],
    },
    { type: "block_of_tomorrow", words: { deep: ["in there"] } },
  );
  assert.equal(unrecognised, undefined);
  assert.deepEqual(facts.messages, [
    { role: "tool", text: "A title\nhttps://x" },
    { role: "user", text: "in there" },
  ]);
});

const operations: readonly (readonly [request: string, operation: string])[] = [
  ["GET /v1/models", "models"],
  ["GET /v1/models/claude-opus-4-5", "models"],
  ["GET /v1/messages/batches?limit=20", "batches"],
  ["GET /v1/messages/batches/msgbatch_1", "batches"],
  ["GET /v1/messages/batches/msgbatch_1/results", "batches"],
  ["POST /v1/messages/batches/msgbatch_1/cancel", "batches"],
  ["DELETE /v1/messages/batches/msgbatch_1", "batches"],
  ["POST /v1/files?beta=true", "files"],
  ["GET /v1/files/file_1/content", "files"],
];
for (const [request, operation] of operations)
  test(`${request} is ${operation}`, () => {
    const [method = "", target = ""] = request.split(" ");
    const recognised = recognise(method, target);
    assert.deepEqual([recognised.unrecognised, recognised.facts.operation], [undefined, operation]);
  });

test("the version of the API may stand in the endpoint's url", () => {
  const body = { model: "m", max_tokens: 1, messages: [] };
  assert.equal(
    recognise("POST", "/gateway/v1/messages", body, "/gateway/v1").facts.operation,
    "chat",
  );
  assert.equal(recognise("POST", "/gateway/v1/messages", body, "/gateway").facts.operation, "chat");
});

test("counting tokens asks for none, and has the same prompts", () => {
  const { facts } = recognise("POST", "/v1/messages/count_tokens", {
    model: "claude-opus-4-5",
    messages: [{ role: "user", content: "How long?" }],
  });
  assert.deepEqual(
    [facts.operation, facts.maxOutputTokens, facts.prompts],
    ["count-tokens", null, ["How long?"]],
  );
});

test("a batch asks for what its requests ask for together, of one model", () => {
  const request = (model: string, text: string) => ({
    custom_id: text,
    params: {
      model,
      max_tokens: 50,
      messages: [{ role: "user", content: text }],
      tools: [{ name: text }],
    },
  });
  const batch = (...requests: unknown[]) => recognise("POST", "/v1/messages/batches", { requests });
  const { facts, unrecognised } = batch(request("m", "one"), request("m", "two"));
  assert.equal(unrecognised, undefined);
  assert.deepEqual(
    [facts.operation, facts.model, facts.maxOutputTokens, facts.prompts, facts.tools],
    ["batches", "m", 100, ["one", "two"], ["one", "two"]],
  );
  assert.match(
    batch(request("m", "one"), request("n", "two")).unrecognised ?? "",
    /several models/,
  );
});

const refused: readonly (readonly [what: string, body: unknown, why: RegExp])[] = [
  ["no model", { max_tokens: 1, messages: [] }, /model is missing/],
  ["the model twice", '{"model":"a","mod\\u0065l":"b","messages":[]}', /"model" twice/],
  ["a name that differs in case alone", { model: "a", Model: "b", messages: [] }, /read as model/],
  ["further models", { model: "a", fallbacks: [{ model: "b" }], messages: [] }, /fallbacks/],
  ["messages that are no list", { model: "a", messages: {} }, /messages is no list/],
  [
    "a document of a kind that nobody knows",
    {
      model: "a",
      messages: [{ role: "user", content: [{ type: "document", source: { type: "new" } }] }],
    },
    /of a type that rules do not know/,
  ],
  ["a tool without a name", { model: "a", messages: [], tools: [{}] }, /name of a tool is missing/],
  [
    "a limit that is no number",
    { model: "a", messages: [], max_tokens: "9" },
    /max_tokens is no whole number/,
  ],
];
for (const [what, body, why] of refused)
  test(`${what} is not understood`, () => {
    assert.match(recognise("POST", "/v1/messages", body).unrecognised ?? "", why);
  });

test("everything else of the API is no operation that rules know", () => {
  for (const request of [
    "POST /v1/complete",
    "GET /v1/organizations/me",
    "PUT /v1/messages",
    "POST /v1/messages/",
  ])
    assert.match(
      recognise(...(request.split(" ") as [string, string]), {}).unrecognised ?? "",
      /no operation of this API that rules know|segment|slash/,
    );
});
