// Claude's thinking by Bedrock's Converse: masked on its way to an agent, and sent back to a provider that checks its signature, as by Claude's own API.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { maskedMark, maxKept } from "../../policy/llm/anthropic/kept-thinking.ts";
import { eventFrame } from "../../policy/llm/framing/aws-frames.ts";
import { scriptedServer, sendJson, type Asked, type Body } from "../clients/llm/scripted.ts";
import { lease } from "./aws-origin.ts";
import { send, startRoom, type TestRoom } from "./http-proxy-fixture.ts";

interface Thought {
  readonly text?: string;
  readonly signature?: string;
}

interface Block {
  readonly text?: string;
  readonly reasoningContent?: { readonly reasoningText?: Thought };
}

/** A MAC, as long as real ones are. */
const signed = (thinking: string): string =>
  createHmac("sha512", "of the provider").update(thinking).digest("base64");

const thoughtsOf = (blocks: readonly Block[]): Thought[] =>
  blocks.flatMap(({ reasoningContent }) => reasoningContent?.reasoningText ?? []);

const historyOf = ({ body }: Asked): Block[] =>
  (body["messages"] as Body[]).flatMap(({ content }) => content as Block[]);

/** Thinking whose signature is not of it is a bad request. */
function answer(asked: Asked, response: ServerResponse): void {
  const thoughts = thoughtsOf(historyOf(asked));
  if (thoughts.some(({ text = "", signature }) => signature !== signed(text)))
    return sendJson(response, 400, { message: "Invalid `signature` in `thinking` block" });
  const text = `Turn ${(asked.body["messages"] as unknown[]).length}: jane@example.com is who to ask.`;
  const said = "Ask jane@example.com.";
  if (asked.path.endsWith("/converse-stream")) return inFrames(text, said, response);
  sendJson(response, 200, {
    output: {
      message: {
        role: "assistant",
        content: [
          { reasoningContent: { reasoningText: { text, signature: signed(text) } } },
          { text: said },
        ],
      },
    },
    stopReason: "end_turn",
    usage: { inputTokens: 1, outputTokens: 1, totalTokens: 2 },
  });
}

function inFrames(thought: string, said: string, response: ServerResponse): void {
  response.writeHead(200, { "content-type": "application/vnd.amazon.eventstream" });
  const event = (name: string, data: Body): boolean => response.write(eventFrame({ name, data }));
  const delta = (contentBlockIndex: number, of: Body): boolean =>
    event("contentBlockDelta", { contentBlockIndex, delta: of });
  event("messageStart", { role: "assistant" });
  for (const text of thought.match(/.{1,7}/g) ?? []) delta(0, { reasoningContent: { text } });
  delta(0, { reasoningContent: { signature: signed(thought) } });
  event("contentBlockStop", { contentBlockIndex: 0 });
  for (const text of said.match(/.{1,7}/g) ?? []) delta(1, { text });
  event("contentBlockStop", { contentBlockIndex: 1 });
  event("messageStop", { stopReason: "end_turn" });
  response.end(
    eventFrame({ name: "metadata", data: { usage: { inputTokens: 1, outputTokens: 1 } } }),
  );
}

type Way = "converse" | "converse-stream";

const deltas =
  /\{"contentBlockIndex":\d+,"delta":\{(?:"text":"[^"]*"|"reasoningContent":\{"(?:text|signature)":"[^"]*"\})\}\}/g;

/** The blocks of an answer, however it came, put together as SDKs do. */
function blocksIn(answered: string, way: Way): Block[] {
  if (way === "converse")
    return (JSON.parse(answered) as { output: { message: { content: Block[] } } }).output.message
      .content;
  let thought = "";
  let signature = "";
  let text = "";
  for (const [event] of answered.matchAll(deltas)) {
    const { delta } = JSON.parse(event) as { delta: { text?: string; reasoningContent?: Thought } };
    text += delta.text ?? "";
    thought += delta.reasoningContent?.text ?? "";
    signature += delta.reasoningContent?.signature ?? "";
  }
  return [{ reasoningContent: { reasoningText: { text: thought, signature } } }, { text }];
}

async function start(t: TestContext) {
  const server = await scriptedServer(t, answer);
  const room = await startRoom(t, [
    {
      protocol: "bedrock",
      lease: { ...lease, service: "bedrock" },
      upstream: { port: server.port },
      detail: "Full",
      detectMasks: [{ detector: "email", transform: { kind: "redact" }, policy: "agents/policy" }],
    },
  ]);
  return { server, room };
}

const user = (text: string): Body => ({ role: "user", content: [{ text }] });

const ask = (room: TestRoom, way: Way, messages: readonly unknown[]) =>
  send(room, {
    method: "POST",
    path: `/model/us.anthropic.claude-test-v1:0/${way}`,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ messages, inferenceConfig: { maxTokens: 99 } }),
  });

for (const way of ["converse", "converse-stream"] as const)
  test(`over several turns the provider gets its own thinking back, whose text the agent never had: ${way}`, async (t) => {
    const { server, room } = await start(t);
    const messages: unknown[] = [user("who?")];
    for (let turn = 0; turn < 3; turn += 1) {
      const { status, text } = await ask(room, way, messages);
      assert.equal(status, 200, text);
      const content = blocksIn(text, way);
      const [thought] = thoughtsOf(content);
      assert.match(thought?.text ?? "", /^Turn \d: \[redacted\] is who to ask\.$/);
      assert.ok(thought?.signature?.startsWith(maskedMark), thought?.signature);
      assert.equal(content[1]?.text, "Ask [redacted].");
      messages.push({ role: "assistant", content }, user("and then?"));
    }
    assert.deepEqual(
      thoughtsOf(historyOf(server.asked.at(-1) ?? assert.fail())).map(({ text }) => text),
      [1, 3].map((turn) => `Turn ${turn}: jane@example.com is who to ask.`),
    );
    assert.ok(!JSON.stringify(room.events()).includes("jane@example.com"), "no record of it");
  });

test("what is not kept any more is left out of what the provider gets, and the conversation goes on", async (t) => {
  const { server, room } = await start(t);
  const { text } = await ask(room, "converse", [user("who?")]);
  const content = blocksIn(text, "converse");
  const { thinking } = room.gate.open({});
  for (let at = 0; at < maxKept; at += 1) thinking.keep(`another ${at}`, "thought");
  const history = [user("who?"), { role: "assistant", content }, user("and then?")];
  assert.equal((await ask(room, "converse", history)).status, 200);
  const sent = historyOf(server.asked.at(-1) ?? assert.fail());
  assert.deepEqual(sent, [{ text: "who?" }, content[1], { text: "and then?" }]);
});
