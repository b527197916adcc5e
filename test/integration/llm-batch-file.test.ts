// The file of a batch, sent by OpenAI's SDK: each of its requests is decided on like one of its own, before anything of it leaves.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import OpenAI, { toFile } from "openai";

import type { BundleRule } from "../../policy/bundle.ts";
import { scriptedServer, sendJson } from "../clients/llm/scripted.ts";
import { startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup } from "./http-proxy-fixture.ts";

async function start(
  t: TestContext,
  rules: readonly Partial<BundleRule>[],
  more: Partial<ConnectionSetup> = {},
) {
  const server = await scriptedServer(t, (_asked, response) =>
    sendJson(response, 200, { id: "file-1", object: "file", purpose: "batch", bytes: 1 }),
  );
  const room = await startRoom(t, [
    { protocol: "openai", rules, ...more, upstream: { port: server.port, basePath: "/v1" } },
  ]);
  const client = new OpenAI({
    apiKey: "held",
    baseURL: `http://127.0.0.1:${room.port}/v1`,
    maxRetries: 0,
  });
  const upload = async (lines: readonly unknown[], purpose: OpenAI.FilePurpose = "batch") => {
    const text = lines
      .map((line) => (typeof line === "string" ? line : JSON.stringify(line)))
      .join("\n");
    return client.files.create({ file: await toFile(Buffer.from(text), "batch.jsonl"), purpose });
  };
  return { server, room, upload };
}

const line = (model: string, more: object = {}, url = "/v1/chat/completions") => ({
  custom_id: "one",
  method: "POST",
  url,
  body: { model, messages: [{ role: "user", content: "hi" }], max_completion_tokens: 50, ...more },
});
const files: Partial<BundleRule> = { name: "files", llm: { operations: ["files"] } };
const chats: Partial<BundleRule> = {
  name: "chats",
  llm: { operations: ["chat"], models: ["gpt-5*"], maxOutputTokens: 100 },
};
const tool = (name: string) => ({
  tools: [{ type: "function", function: { name, parameters: {} } }],
});

test("a file whose requests are all allowed goes on as it is, as one operation", async (t) => {
  const { server, room, upload } = await start(t, [files, chats]);
  await upload([line("gpt-5"), "", line("gpt-5-mini", tool("look_up"))]);
  assert.ok(server.asked[0]?.raw.includes('"model":"gpt-5-mini"'));
  assert.deepEqual(
    room.operations().map(({ body }) => [body.operation?.summary, body.decision?.verdict]),
    [["files", "allow"]],
  );
});

for (const [what, lines, why] of [
  ["of a model that no rule allows", [line("gpt-5"), line("o3")], /o3/],
  [
    "of an operation that no rule allows",
    [line("gpt-5", { input: "x" }, "/v1/embeddings")],
    /embeddings/,
  ],
  ["with a tool that a rule denies", [line("gpt-5", tool("pay"))], /pay/],
  [
    "that asks for more than a rule allows",
    [line("gpt-5", { max_completion_tokens: 101 })],
    /100|no rule/,
  ],
  [
    "without a limit, where a rule has one",
    [line("gpt-5", { max_completion_tokens: undefined })],
    /names no limit/,
  ],
  [
    "with a text that a rule denies",
    [
      line("gpt-5"),
      line("gpt-5", { user: "u", messages: [{ role: "user", content: "the crown jewels" }] }),
    ],
    /jewels/,
  ],
  [
    "to another server",
    [line("gpt-5", {}, "https://elsewhere.example/v1/chat/completions")],
    /line 1 of the batch/,
  ],
  [
    "to an API that rules do not know",
    [line("gpt-5", {}, "/v1/assistants")],
    /no operation of a batch/,
  ],
  [
    "that names its model twice",
    [
      '{"method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-5","mod\\u0065l":"o3","messages":[]}}',
    ],
    /line 1 of the batch/,
  ],
  ["that is no JSON", [line("gpt-5"), "{"], /line 2 of the batch/],
  ["in a file of none", [], /no requests/],
] as const)
  test(`a file with a request ${what} is refused whole, and nothing of it leaves`, async (t) => {
    const { server, room, upload } = await start(t, [
      files,
      chats,
      { name: "no-pay", action: "Deny", llm: { tools: ["pay"] } },
      { name: "no-jewels", action: "Deny", llm: { promptMatches: "jewels" } },
    ]);
    await assert.rejects(upload(lines), (error) => {
      assert.ok(error instanceof OpenAI.PermissionDeniedError);
      assert.match(error.message, why);
      return true;
    });
    assert.equal(server.asked.length, 0);
    assert.equal(room.operations()[0]?.body.decision?.verdict, "deny");
  });

test("an upload that no rule allows is refused, whatever its requests are", async (t) => {
  const { server, upload } = await start(t, [chats]);
  await assert.rejects(upload([line("gpt-5")]), OpenAI.PermissionDeniedError);
  assert.equal(server.asked.length, 0);
});

test("a request that needs a person holds the file: it goes on whole once it is approved", async (t) => {
  const held = { name: "ask", action: "RequireApproval", llm: { models: ["o3"] } } as const;
  const rules = [files, { name: "all", llm: { operations: ["chat"] } }, held];
  const { server, room, upload } = await start(t, rules);
  room.gate.decide = () => "Approved";
  await upload([line("gpt-5"), line("o3")]);
  assert.equal(room.gate.requests.length, 1);
  assert.ok(server.asked[0]?.raw.includes('"model":"o3"'));
  room.gate.decide = () => "Denied";
  await assert.rejects(upload([line("o3")]), OpenAI.PermissionDeniedError);
  assert.equal(server.asked.length, 1);
});

test("files of another purpose are read against, as before", async (t) => {
  const { server, upload } = await start(t, [files]);
  await upload(["any text"], "user_data");
  assert.equal(server.asked.length, 1);
});
