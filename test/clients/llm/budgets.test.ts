// Streams that a budget ends, as boto3's parser of event streams and google-genai's types read them: answers that ran out of tokens.
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { memoryAccounts } from "../../../operator/budgets/accounts.ts";
import { Budgets } from "../../../operator/budgets/budgets.ts";
import { budgetsOf } from "../../../policy/budget/budget.ts";
import { eventFrame } from "../../../policy/llm/framing/aws-frames.ts";
import type { JsonObject } from "../../../policy/llm/json.ts";
import type { Protocol } from "../../../policy/operation.ts";
import { lease } from "../../integration/aws-origin.ts";
import { eventually } from "../../integration/http-proxy-fixture.ts";
import type { ConnectionSetup } from "../../integration/http-proxy-fixture.ts";
import { pythonPackages, reasonWithoutPython } from "../python.ts";
import { pythonSdks } from "./packages.ts";
import { everyDetector, playPython, providerRoom } from "./programs.ts";
import { scriptedServer, type Asked } from "./scripted.ts";

const skip = reasonWithoutPython() ?? false;
const now = (): number => Date.parse("2026-11-30T10:00:10Z");
const limits = { tokensPerDay: 300 };

type Scene = "converse" | "invoke" | "gemini" | "array";

/** The parts of a stream that says one word after the other and never ends by itself. */
function* parts({ path }: Asked): Generator<string | Uint8Array> {
  const isArray = path.endsWith(":streamGenerateContent");
  if (path.endsWith("/converse-stream"))
    yield eventFrame({ name: "messageStart", data: { role: "assistant" } });
  for (let at = 0; at < 5_000; at += 1) {
    const text = `word${at} `;
    if (path.endsWith("/converse-stream"))
      yield eventFrame({
        name: "contentBlockDelta",
        data: { contentBlockIndex: 0, delta: { text }, p: "abcdefgh" },
      });
    else if (path.endsWith("/invoke-with-response-stream")) yield chunk(claudeEvent(at, text));
    else {
      const data = JSON.stringify({
        candidates: [{ content: { role: "model", parts: [{ text }] }, index: 0 }],
        modelVersion: "gemini-test",
      });
      yield isArray ? `${at === 0 ? "[" : ",\r\n"}${data}` : `data: ${data}\r\n\r\n`;
    }
  }
}

function claudeEvent(at: number, text: string): JsonObject {
  return at === 0
    ? { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } }
    : { type: "content_block_delta", index: 0, delta: { type: "text_delta", text } };
}

const chunk = (event: JsonObject): Uint8Array =>
  eventFrame({ data: { bytes: Buffer.from(JSON.stringify(event)).toString("base64") } });

const mediaOf = (path: string): string =>
  path.startsWith("/model/")
    ? "application/vnd.amazon.eventstream"
    : path.includes("alt=sse")
      ? "text/event-stream"
      : "application/json; charset=UTF-8";

async function seen(
  t: TestContext,
  scene: Scene,
  protocol: Protocol,
  more: Partial<ConnectionSetup>,
): Promise<readonly Record<string, unknown>[]> {
  let isAborted = false;
  const server = await scriptedServer(t, async (asked, response: ServerResponse) => {
    response.once("close", () => (isAborted = !response.writableFinished));
    response.writeHead(200, { "content-type": mediaOf(asked.path) });
    for (const part of parts(asked)) {
      if (response.destroyed) return;
      response.write(part);
      await wait(1);
    }
    response.end();
  });
  const budgets = new Budgets(memoryAccounts(), now);
  const holder = { namespace: "agents", serviceAccount: "agent", podUid: "pod", key: "k" };
  const room = await providerRoom(t, protocol, server.port, {
    detectMasks: [],
    limits,
    now,
    askBudgets: (call) => budgets.settle(holder, call, budgetsOf(limits)),
    ...more,
  });
  t.after(() => room.gate.admissions.close());
  const packages = await pythonPackages(pythonSdks);
  const env = { TEST_BASE_URL: `http://127.0.0.1:${room.port}`, TEST_SCENE: scene };
  const events = (await playPython(packages, "budget_scenes.py", env)) as Record<string, unknown>[];
  await eventually("the upstream sees the end", () => isAborted);
  const outcome = room.operations().at(-1)?.body.outcome;
  assert.equal(outcome?.error, "BudgetExceeded");
  assert.equal(outcome?.limit, "tokensPerDay");
  // Between the first words and the budget, and no further than that.
  assert.ok(events.length > 20 && events.length < 300, `${events.length} events`);
  return events;
}

const bedrock = { lease: { ...lease, service: "bedrock" } };

for (const [what, more] of [
  ["as it came", {}],
  ["masked", { detectMasks: everyDetector }],
] as const) {
  test(`boto3 reads a ConverseStream, ${what}, that ended with max_tokens`, { skip }, async (t) => {
    const events = await seen(t, "converse", "bedrock", { ...bedrock, ...more });
    assert.deepEqual(events[0], { messageStart: { role: "assistant" } });
    const [blockStop, messageStop, metadata] = events.slice(-3);
    assert.deepEqual(blockStop, { contentBlockStop: { contentBlockIndex: 0 } });
    assert.deepEqual(messageStop, { messageStop: { stopReason: "max_tokens" } });
    const { usage } = (metadata?.["metadata"] ?? {}) as { usage: { outputTokens: number } };
    assert.ok(usage.outputTokens > 50 && usage.outputTokens <= 300, `${usage.outputTokens}`);
  });

  test(
    `google-genai reads an array, ${what}, whose last element says MAX_TOKENS`,
    { skip },
    async (t) => {
      const chunks = await seen(t, "array", "gemini", more);
      assert.match(JSON.stringify(chunks.at(-1)), /"finish_reason":"MAX_TOKENS"/);
    },
  );
}

test(
  "boto3 reads chunks of Claude's own events that ended with max_tokens",
  { skip },
  async (t) => {
    const events = await seen(t, "invoke", "bedrock", bedrock);
    const [blockStop, delta, stop] = events.slice(-3);
    assert.equal(blockStop?.["type"], "content_block_stop");
    assert.match(JSON.stringify(delta), /"stop_reason":"max_tokens"/);
    assert.equal(stop?.["type"], "message_stop");
  },
);

test(
  "google-genai takes a stream of events that was cut as one that ended",
  { skip },
  async (t) => {
    const chunks = await seen(t, "gemini", "gemini", {});
    assert.match(JSON.stringify(chunks.at(-1)), /"finish_reason":"MAX_TOKENS"/);
  },
);
