// Answers that come as one: how far they can pass what was reserved for them, with a model that always writes as much as it may.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import OpenAI from "openai";
import { memoryAccounts } from "../../operator/budgets/accounts.ts";
import { Budgets } from "../../operator/budgets/budgets.ts";
import { budgetsOf } from "../../policy/budget/budget.ts";
import { unnamedOutputTokens } from "../../policy/budget/estimate.ts";
import { scriptedServer, sendJson } from "../clients/llm/scripted.ts";
import { startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup } from "./http-proxy-fixture.ts";

const now = (): number => Date.parse("2026-11-30T10:00:10Z");
const tokensPerDay = 20_000;
const limits = { tokensPerDay };
/** Of the scripted model. */
const longest = 6_000;
/** Enough to spend the budget more than twice. */
const asked = 8;

/** Asks for as many answers at one time as would spend the budget twice. */
async function spent(
  t: TestContext,
  more: Partial<ConnectionSetup>,
  request: Partial<OpenAI.ChatCompletionCreateParamsNonStreaming> = {},
): Promise<{ used: number; answered: number; bodies: readonly Record<string, unknown>[] }> {
  const server = await scriptedServer(t, ({ body }, response) => {
    const { max_completion_tokens: most = longest, n = 1 } = body as Record<string, number>;
    const usage = { prompt_tokens: 20, completion_tokens: Math.min(most, longest) * n };
    sendJson(response, 200, {
      id: "c",
      object: "chat.completion",
      created: 1,
      model: "gpt-5",
      choices: [
        { index: 0, message: { role: "assistant", content: "x" }, finish_reason: "length" },
      ],
      usage: { ...usage, total_tokens: usage.prompt_tokens + usage.completion_tokens },
    });
  });
  const budgets = new Budgets(memoryAccounts(), now);
  const holder = { namespace: "agents", serviceAccount: "agent", podUid: "pod", key: "k" };
  const room = await startRoom(t, [
    {
      protocol: "openai",
      upstream: { port: server.port, basePath: "/v1" },
      limits,
      now,
      askBudgets: (call) => budgets.settle(holder, call, budgetsOf(limits)),
      ...more,
    },
  ]);
  t.after(() => room.gate.admissions.close());
  const client = new OpenAI({
    apiKey: "held",
    baseURL: `http://127.0.0.1:${room.port}/v1`,
    maxRetries: 0,
  });
  await Promise.allSettled(
    Array.from({ length: asked }, () =>
      client.chat.completions.create({
        model: "gpt-5",
        messages: [{ role: "user", content: "write on" }],
        ...request,
      }),
    ),
  );
  const tokens = room.operations().flatMap(({ body }) => body.outcome?.tokens ?? []);
  return {
    used: tokens.reduce((sum, { input, output }) => sum + input + output, 0),
    answered: tokens.length,
    bodies: server.asked.map(({ body }) => body),
  };
}

test("a rule's limit is written into requests that name none, and what is reserved for them is never passed", async (t) => {
  const rules = [{ action: "Allow", llm: { maxOutputTokens: 5_000 } }] as const;
  const { used, answered, bodies } = await spent(t, { rules });
  assert.ok(answered >= 2 && answered < asked, `${answered}`);
  assert.ok(bodies.every((body) => body["max_completion_tokens"] === 5_000));
  assert.ok(used <= tokensPerDay, `${used}`);
});

const prices = [{ models: ["gpt-*"], input: 1, output: 1, maxOutputTokens: longest }];

test("where the price table says how long answers get that is reserved, of each answer asked for, the request stays as it was, and nothing is passed", async (t) => {
  const one = await spent(t, { prices });
  assert.ok(one.answered >= 2 && one.answered < asked, `${one.answered}`);
  assert.ok(one.used <= tokensPerDay, `${one.used}`);
  assert.ok(one.bodies.every((body) => Object.keys(body).length === 2));
  const three = await spent(t, { prices }, { n: 3 });
  assert.equal(three.answered, 1);
  assert.ok(three.used <= tokensPerDay);
});

test("where nobody says how long an answer gets, each can pass its reservation by what the model writes beyond it, and no more", async (t) => {
  const { used, answered } = await spent(t, {});
  assert.ok(answered >= 2 && answered < asked, `${answered}`);
  assert.ok(used > tokensPerDay, "the model is made to pass it");
  assert.ok(used <= tokensPerDay + answered * (longest - unnamedOutputTokens), `${used}`);
});
