// Anthropic's own SDK against budgets: a stream that is cut is an answer that ran out of tokens, a refusal is raised once.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pathToFileURL } from "node:url";
import { memoryAccounts } from "../../operator/budgets/accounts.ts";
import { Budgets } from "../../operator/budgets/budgets.ts";
import { budgetsOf } from "../../policy/budget/budget.ts";
import type { Limits } from "../../policy/bundle.ts";
import { eventually, startRoom, type TestRoom } from "../integration/http-proxy-fixture.ts";
import { npmPackages } from "./cache.ts";
import { nodeRequirements } from "./http/clients.ts";

const now = (): number => Date.parse("2026-11-30T10:00:10Z");

/** What these tests use of it. */
interface Message {
  readonly stop_reason: string | null;
  readonly content: readonly { readonly type: string; readonly text?: string }[];
  readonly usage: { readonly output_tokens: number };
}
interface Client {
  readonly messages: {
    create(body: object, options?: object): Promise<Message>;
    stream(body: object): { finalMessage(): Promise<Message> };
  };
}
interface Sdk {
  readonly default: new (options: object) => Client;
  readonly RateLimitError: new () => Error;
  readonly PermissionDeniedError: new () => Error;
}

const packages = await npmPackages(nodeRequirements);
const sdk = (await import(
  pathToFileURL(join(packages, "node_modules/@anthropic-ai/sdk/index.mjs")).href
)) as Sdk;

/** Writes on whatever limit it was given, one word in each event. */
async function write(response: ServerResponse): Promise<void> {
  const say = (event: { readonly type: string }): void => {
    response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
  };
  response.writeHead(200, { "content-type": "text/event-stream" });
  const usage = { input_tokens: 9, output_tokens: 1 };
  const message = { id: "msg_1", type: "message", role: "assistant", model: "claude", content: [] };
  say({
    type: "message_start",
    message: { ...message, stop_reason: null, stop_sequence: null, usage },
  } as { type: string });
  const block = { type: "text", text: "" };
  say({ type: "content_block_start", index: 0, content_block: block } as { type: string });
  for (let at = 0; at < 2_000 && !response.destroyed; at += 1) {
    const delta = { type: "text_delta", text: `word${at} ` };
    say({ type: "content_block_delta", index: 0, delta } as { type: string });
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  response.end();
}

async function start(
  t: TestContext,
  limits: Limits,
): Promise<{ client: Client; room: TestRoom; requests: { aborted: boolean }[] }> {
  const requests: { aborted: boolean }[] = [];
  const server = createServer((request, response) => {
    const seen = { aborted: false };
    requests.push(seen);
    response.once("close", () => (seen.aborted = !response.writableFinished));
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      if (body.includes('"stream":true')) return void write(response);
      response.writeHead(200, { "content-type": "application/json" });
      response.end(
        JSON.stringify({
          id: "msg_1",
          type: "message",
          role: "assistant",
          model: "claude",
          content: [{ type: "text", text: "hello" }],
          stop_reason: "end_turn",
          stop_sequence: null,
          usage: { input_tokens: 9, output_tokens: 90 },
        }),
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const budgets = new Budgets(memoryAccounts(), now);
  const holder = { namespace: "agents", serviceAccount: "agent", podUid: "pod", key: "k" };
  const room = await startRoom(t, [
    {
      name: "anthropic",
      protocol: "anthropic",
      upstream: { port: (server.address() as AddressInfo).port },
      limits,
      now,
      askBudgets: (call) => budgets.settle(holder, call, budgetsOf(limits)),
    },
  ]);
  t.after(() => room.gate.admissions.close());
  const client = new sdk.default({
    apiKey: "held-by-chaperone",
    baseURL: `http://127.0.0.1:${room.port}`,
  });
  return { client, room, requests };
}

const ask = (most: number) => ({
  model: "claude",
  max_tokens: most,
  messages: [{ role: "user", content: "hi" }],
});

test("a stream that uses up the budget ends with stop_reason max_tokens, and the upstream stops", async (t) => {
  const { client, room, requests } = await start(t, { tokensPerDay: 200 });
  const message = await client.messages.stream(ask(150)).finalMessage();
  assert.equal(message.stop_reason, "max_tokens");
  assert.match(message.content[0]?.text ?? "", /^word0 word1 /);
  assert.ok(message.usage.output_tokens <= 204, `${message.usage.output_tokens}`);
  await eventually("the upstream sees the end", () => requests[0]?.aborted === true);
  const [operation] = room.operations();
  assert.equal(operation?.body.outcome?.error, "BudgetExceeded");
  assert.equal(operation?.body.outcome?.limit, "tokensPerDay");
});

test("a day's budget is a permission error raised once, a minute's a rate limit with its seconds", async (t) => {
  const day = await start(t, { tokensPerDay: 200 });
  await day.client.messages.create(ask(150));
  await assert.rejects(day.client.messages.create(ask(150)), (error) => {
    assert.ok(error instanceof sdk.PermissionDeniedError);
    assert.match(error.message, /limits\.tokensPerDay/);
    return true;
  });
  assert.equal(day.room.operations().length, 2, "one operation each: no retry");
  const minute = await start(t, { tokensPerMinute: 200 });
  await minute.client.messages.create(ask(150));
  await assert.rejects(minute.client.messages.create(ask(150), { maxRetries: 0 }), (error) => {
    assert.ok(error instanceof sdk.RateLimitError);
    assert.ok("headers" in error && error.headers instanceof Headers);
    assert.equal(error.headers.get("retry-after"), "50");
    return true;
  });
});
