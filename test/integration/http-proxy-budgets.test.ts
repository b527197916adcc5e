// The real OpenAI SDK against budgets: what is refused, what is cut, what two proxies of one workload share. The operator's part is its own code on a store of its own.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import OpenAI from "openai";
import type { BudgetCall } from "../../contract/budget.ts";
import { openStore } from "../../operator/audit/store.ts";
import { sqlAccounts } from "../../operator/budgets/accounts.ts";
import { Budgets } from "../../operator/budgets/budgets.ts";
import { readBudgets } from "../../operator/budgets/used.ts";
import { budgetsOf } from "../../policy/budget/budget.ts";
import type { Bundle, Limits } from "../../policy/bundle.ts";
import { ProxyError } from "../../proxy/errors.ts";
import { startOpenAiServer } from "../openai-server/server.ts";
import { eventually, startRoom } from "./http-proxy-fixture.ts";
import type { TestRoom } from "./http-proxy-fixture.ts";

/** Ten seconds into a minute that lasts as long as a test. */
const now = (): number => Date.parse("2026-11-30T10:00:10Z");

const words = (count: number): string =>
  Array.from({ length: count }, (_, index) => `word${String(index).padStart(4, "0")}`).join(" ");

const script = {
  models: ["gpt-5", "gpt-5-mini", "gpt-unpriced", "text-embedding-3-small"],
  steps: [
    { match: { text: "long" }, text: words(3_000) },
    { match: { text: "endless" }, text: words(3_000), gapMs: 1 },
    { match: { text: "broken" }, error: { status: 400, message: "no", type: "x", code: null } },
    { text: "Hello there, how can I help you?" },
  ],
};

/** The operator of one test: its store lives on when it is started anew. */
class Operator {
  readonly file: string;
  calls: BudgetCall[] = [];
  isAway = false;
  #close: () => Promise<void> = async () => undefined;
  #budgets: Budgets | undefined;
  #db: Parameters<typeof readBudgets>[0] | undefined;

  constructor(file: string) {
    this.file = file;
  }

  async start(): Promise<void> {
    const store = await openStore(this.file);
    this.#db = store.db;
    this.#budgets = new Budgets(sqlAccounts(store.db), now);
    this.#close = () => store.close();
  }

  async restart(): Promise<void> {
    await this.#close();
    await this.start();
  }

  asker(pod: string, key: string, limits: Limits) {
    return async (call: BudgetCall) => {
      this.calls.push(call);
      if (this.isAway || this.#budgets === undefined)
        throw new ProxyError("ControlPlaneUnavailable", "the operator cannot be reached");
      const holder = { namespace: "agents", serviceAccount: "agent", podUid: pod, key };
      // As over the wire.
      return JSON.parse(
        JSON.stringify(await this.#budgets.settle(holder, call, budgetsOf(limits))),
      ) as Awaited<ReturnType<Budgets["settle"]>>;
    };
  }

  async spent(budget: string): Promise<number> {
    if (this.#db === undefined) return 0;
    const rows = await readBudgets(this.#db, now());
    return rows.find((row) => row.budget === budget)?.spent ?? 0;
  }

  async close(): Promise<void> {
    await this.#close();
  }
}

async function startOperator(t: TestContext): Promise<Operator> {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-budgets-"));
  const operator = new Operator(join(directory, "store.sqlite"));
  await operator.start();
  t.after(async () => {
    await operator.close();
    await rm(directory, { recursive: true });
  });
  return operator;
}

interface Upstream {
  readonly port: number;
  readonly requests: readonly { aborted: boolean }[];
}

async function startUpstream(t: TestContext): Promise<Upstream> {
  const server = await startOpenAiServer({ script, apiKey: "sk-real" });
  t.after(() => server.close());
  return server;
}

interface Pod {
  readonly room: TestRoom;
  readonly client: OpenAI;
}

async function startPod(
  t: TestContext,
  operator: Operator | undefined,
  upstream: Upstream,
  limits: Limits,
  options: { pod?: string; key?: string; prices?: Bundle["prices"] } = {},
): Promise<Pod> {
  const { pod = "pod", key = "key", prices } = options;
  const room = await startRoom(t, [
    {
      name: "openai",
      protocol: "openai",
      lease: { kind: "headers", headers: [{ name: "Authorization", value: "Bearer sk-real" }] },
      upstream: { port: upstream.port, basePath: "/v1" },
      limits,
      now,
      ...(prices !== undefined && { prices }),
      ...(operator !== undefined && { askBudgets: operator.asker(pod, key, limits) }),
    },
  ]);
  t.after(() => room.gate.admissions.close());
  const client = new OpenAI({
    apiKey: "held-by-chaperone",
    baseURL: `http://127.0.0.1:${room.port}/v1`,
  });
  return { room, client };
}

const ask = (content: string, more: { max_completion_tokens?: number } = {}) => ({
  model: "gpt-5",
  messages: [{ role: "user" as const, content }],
  ...more,
});

function outcomes(room: TestRoom) {
  return room.operations().map(({ body }) => body);
}

test("a request over the day's tokens is refused once, in the SDK's own error, and the event says which limit", async (t) => {
  const operator = await startOperator(t);
  const upstream = await startUpstream(t);
  const { room, client } = await startPod(t, operator, upstream, { tokensPerDay: 1_000 });
  await client.chat.completions.create(ask("hi", { max_completion_tokens: 900 }));
  await client.chat.completions.create(ask("hi", { max_completion_tokens: 900 }));
  await assert.rejects(
    client.chat.completions.create(ask("hi", { max_completion_tokens: 990 })),
    (error) => {
      assert.ok(error instanceof OpenAI.PermissionDeniedError);
      assert.equal(error.code, "BudgetExceeded");
      assert.match(error.message, /1000 tokens a day \(limits\.tokensPerDay\)/);
      assert.equal(error.headers.get("x-should-retry"), "false");
      return true;
    },
  );
  assert.equal(upstream.requests.length, 2);
  assert.equal(room.operations().length, 3, "one operation each: no retry");
  const refused = outcomes(room)[2];
  assert.equal(refused?.decision?.reason, "LimitExceeded");
  assert.equal(refused?.decision?.limit, "tokensPerDay");
  assert.equal(refused?.outcome?.error, "BudgetExceeded");
});

test("what an answer really used is settled, so that reservations that were too large do not add up", async (t) => {
  const operator = await startOperator(t);
  const upstream = await startUpstream(t);
  const { room, client } = await startPod(t, operator, upstream, { tokensPerDay: 2_000 });
  for (let at = 0; at < 20; at += 1)
    await client.chat.completions.create(ask("hi", { max_completion_tokens: 1_500 }));
  const used = outcomes(room).reduce(
    (sum, { outcome }) => sum + (outcome?.tokens?.input ?? 0) + (outcome?.tokens?.output ?? 0),
    0,
  );
  await room.gate.admissions.close();
  assert.ok(used > 0 && used < 2_000);
  assert.equal(await operator.spent("tokensPerDay"), used);
});

test("a request that the provider refused costs nothing", async (t) => {
  const operator = await startOperator(t);
  const upstream = await startUpstream(t);
  const { room, client } = await startPod(t, operator, upstream, { tokensPerDay: 1_000 });
  await assert.rejects(
    client.chat.completions.create(ask("broken", { max_completion_tokens: 900 })),
    { status: 400 },
  );
  await room.gate.admissions.close();
  assert.equal(await operator.spent("tokensPerDay"), 0);
});

test("a request over the minute's tokens is the provider's 429 with retry-after to the end of the minute", async (t) => {
  const operator = await startOperator(t);
  const upstream = await startUpstream(t);
  const { room, client } = await startPod(t, operator, upstream, { tokensPerMinute: 1_000 });
  await client.chat.completions.create(ask("hi", { max_completion_tokens: 500 }));
  await assert.rejects(
    client.chat.completions.create(ask("hi", { max_completion_tokens: 972 }), { maxRetries: 0 }),
    (error) => {
      assert.ok(error instanceof OpenAI.RateLimitError);
      assert.equal(error.headers.get("retry-after"), "50");
      assert.equal(error.headers.get("x-should-retry"), "true");
      return true;
    },
  );
  assert.equal(outcomes(room)[1]?.decision?.limit, "tokensPerMinute");
});

test("a request that is larger than the whole budget is told so, and not to come again", async (t) => {
  const operator = await startOperator(t);
  const upstream = await startUpstream(t);
  const { client } = await startPod(t, operator, upstream, { tokensPerMinute: 1_000 });
  // It names no limit, and unlike a stream it cannot be cut.
  await assert.rejects(client.chat.completions.create(ask("hi")), {
    status: 403,
    code: "BudgetExceeded",
    message: /this request alone may take \d+ tokens a minute; ask for fewer output tokens/,
  });
});

test("a stream that uses up the budget ends with finish_reason length, the SDK parses it, and the upstream stops", async (t) => {
  const operator = await startOperator(t);
  const upstream = await startUpstream(t);
  const { room, client } = await startPod(t, operator, upstream, { tokensPerDay: 300 });
  const stream = client.chat.completions.stream({
    ...ask("endless"),
    stream_options: { include_usage: true },
  });
  const answer = await stream.finalChatCompletion();
  const [choice] = answer.choices;
  assert.equal(choice?.finish_reason, "length");
  const text = choice?.message.content ?? "";
  assert.match(text, /^word0000 word0001 /);
  assert.ok(words(3_000).startsWith(text));
  assert.ok(text.length > 600 && text.length <= 1_200, `${text.length} characters`);
  assert.ok((answer.usage?.total_tokens ?? 0) <= 300 + 4);
  await eventually("the upstream sees the end", () => upstream.requests[0]?.aborted === true);
  const [operation] = outcomes(room);
  assert.equal(operation?.outcome?.error, "BudgetExceeded");
  assert.equal(operation?.outcome?.limit, "tokensPerDay");
  await room.gate.admissions.close();
  const spent = await operator.spent("tokensPerDay");
  assert.ok(spent >= 280 && spent <= 304, `${spent}`);
});

test("a long stream within the budget comes whole, by further parts of it", async (t) => {
  const operator = await startOperator(t);
  const upstream = await startUpstream(t);
  const { room, client } = await startPod(t, operator, upstream, { tokensPerDay: 1_000_000 });
  const stream = await client.chat.completions.create({ ...ask("long"), stream: true });
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
  assert.equal(text, words(3_000));
  await eventually("it is recorded", () => room.operations().length === 1);
  await room.gate.admissions.close();
  // No usage was asked for: it is counted, four bytes a token.
  const spent = await operator.spent("tokensPerDay");
  assert.ok(spent >= text.length / 4 && spent < text.length / 4 + 100, `${spent}`);
});

test("costs are counted by the price table, and a model without a price is refused", async (t) => {
  const operator = await startOperator(t);
  const upstream = await startUpstream(t);
  const prices = [
    { models: ["gpt-5-mini"], input: 1, output: 4 },
    { models: ["gpt-5"], input: 100, output: 1_000 },
  ];
  const { room, client } = await startPod(
    t,
    operator,
    upstream,
    { costPerDay: 1_000_000 },
    { prices },
  );
  const answer = await client.chat.completions.create(ask("hi", { max_completion_tokens: 900 }));
  await assert.rejects(
    client.chat.completions.create(ask("hi", { max_completion_tokens: 2_000 })),
    { status: 403, code: "BudgetExceeded", message: /allows 1 of costs a day .* may take 2\.\d+/ },
  );
  const mini = { ...ask("hi", { max_completion_tokens: 2_000 }), model: "gpt-5-mini" };
  await client.chat.completions.create(mini);
  await assert.rejects(client.chat.completions.create({ ...mini, model: "gpt-unpriced" }), {
    status: 403,
    message: /the price table names no price for model "gpt-unpriced"/,
  });
  await room.gate.admissions.close();
  const { prompt_tokens: input = 0, completion_tokens: output = 0 } = answer.usage ?? {};
  const expected = (input * 100 + output * 1_000 + input + output * 4) / 1e6;
  assert.ok(Math.abs((await operator.spent("costPerDay")) - expected) < 1e-6);
});

test("two proxies of one workload share a budget, and one that ends gives back what it did not use", async (t) => {
  const operator = await startOperator(t);
  const upstream = await startUpstream(t);
  const limits = { requestsPerMinute: 32 };
  const one = await startPod(t, operator, upstream, limits, { pod: "one", key: "k1" });
  const two = await startPod(t, operator, upstream, limits, { pod: "two", key: "k2" });
  let went = 0;
  const models = async ({ client }: Pod): Promise<void> => {
    await client.models.list({ maxRetries: 0 });
    went += 1;
  };
  for (let at = 0; at < 10; at += 1) {
    await models(one);
    await models(two);
  }
  // One of them holds a part that it has not used; its end frees it for the other.
  await one.room.gate.admissions.close();
  await assert.rejects(async () => {
    for (;;) await models(two);
  }, OpenAI.RateLimitError);
  assert.equal(went, 32);
  await two.room.gate.admissions.close();
  assert.equal(await operator.spent("requestsPerMinute"), 32);
});

test("what was spent stays spent when the proxy and the operator are started anew", async (t) => {
  const operator = await startOperator(t);
  const upstream = await startUpstream(t);
  const limits = { tokensPerDay: 1_000 };
  const first = await startPod(t, operator, upstream, limits, { key: "before" });
  await first.client.chat.completions.create(ask("hi", { max_completion_tokens: 600 }));
  const spent = outcomes(first.room)[0]?.outcome?.tokens;
  await first.room.gate.admissions.close();
  await operator.restart();
  const total = (spent?.input ?? 0) + (spent?.output ?? 0);
  assert.equal(await operator.spent("tokensPerDay"), total);
  const second = await startPod(t, operator, upstream, limits, { key: "after" });
  await assert.rejects(
    second.client.chat.completions.create(ask("hi", { max_completion_tokens: 995 - total })),
    { code: "BudgetExceeded" },
  );
  await second.client.chat.completions.create(ask("hi", { max_completion_tokens: 900 }));
});

test("a proxy that was killed forfeits what it held, and never more than that", async (t) => {
  const operator = await startOperator(t);
  const upstream = await startUpstream(t);
  const limits = { tokensPerDay: 16_000 };
  const killed = await startPod(t, operator, upstream, limits, { key: "before" });
  await killed.client.chat.completions.create(ask("hi", { max_completion_tokens: 10 }));
  const next = await startPod(t, operator, upstream, limits, { key: "after" });
  // A sixteenth of the limit was allotted at once.
  await next.client.chat.completions.create(ask("hi", { max_completion_tokens: 14_900 }));
  await assert.rejects(
    next.client.chat.completions.create(ask("hi", { max_completion_tokens: 15_050 })),
    { code: "BudgetExceeded" },
  );
});

test("while the operator is away what was allotted can be spent, then it is said that it is away; only the rate goes on, for each pod alone", async (t) => {
  const operator = await startOperator(t);
  const upstream = await startUpstream(t);
  const { room, client } = await startPod(t, operator, upstream, { tokensPerDay: 16_000 });
  await client.chat.completions.create(ask("hi", { max_completion_tokens: 10 }));
  operator.isAway = true;
  await client.chat.completions.create(ask("hi", { max_completion_tokens: 900 }));
  await assert.rejects(
    client.chat.completions.create(ask("hi", { max_completion_tokens: 2_000 }), { maxRetries: 0 }),
    {
      status: 503,
      code: "ControlPlaneUnavailable",
      message: /limits\.tokensPerDay, of which this pod holds no more/,
    },
  );
  assert.equal(outcomes(room)[2]?.decision?.limit, "tokensPerDay");
  const rated = await startPod(t, operator, upstream, { requestsPerMinute: 3 }, { pod: "rated" });
  for (let at = 0; at < 3; at += 1) await rated.client.models.list();
  await assert.rejects(rated.client.models.list({ maxRetries: 0 }), OpenAI.RateLimitError);
});

test("the very same request more often than the policy allows is refused without a retry, others pass", async (t) => {
  const upstream = await startUpstream(t);
  const { room, client } = await startPod(t, undefined, upstream, {
    repeats: [{ max: 2, withinSeconds: 60 }],
  });
  await client.chat.completions.create(ask("loop"));
  await client.chat.completions.create(ask("loop"));
  await assert.rejects(client.chat.completions.create(ask("loop")), {
    status: 403,
    code: "RepeatedOperation",
    message: /sent 2 times within 60 s.*limits\.repeats/,
  });
  await client.chat.completions.create(ask("something else"));
  assert.equal(upstream.requests.length, 3);
  assert.equal(room.operations().length, 4, "one operation each: no retry");
  assert.equal(outcomes(room)[2]?.decision?.limit, "repeats");
});

test("the retries of an SDK are repeats too: a provider that fails is not asked for ever", async (t) => {
  let asked = 0;
  const server = createServer((_request, response) => {
    asked += 1;
    response.writeHead(500, { "content-type": "application/json", "retry-after-ms": "1" });
    response.end('{"error":{"message":"down"}}');
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const { client } = await startPod(
    t,
    undefined,
    { port, requests: [] },
    {
      repeats: [{ max: 3, withinSeconds: 60 }],
    },
  );
  await assert.rejects(client.chat.completions.create(ask("hi"), { maxRetries: 10 }), {
    code: "RepeatedOperation",
  });
  assert.equal(asked, 3);
});

/** A response of the responses API as OpenAI streams it, one word in each event. */
async function respond(response: ServerResponse, count: number): Promise<void> {
  let sequence = 0;
  const say = (type: string, fields: object): void => {
    response.write(
      `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number: sequence++, ...fields })}\n\n`,
    );
  };
  const base = {
    id: "resp_1",
    object: "response",
    created_at: 1,
    model: "gpt-5",
    output: [],
    parallel_tool_calls: true,
    tools: [],
    usage: null,
  };
  response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
  say("response.created", { response: { ...base, status: "in_progress" } });
  const item = {
    id: "msg_1",
    type: "message",
    role: "assistant",
    status: "in_progress",
    content: [],
  };
  say("response.output_item.added", { output_index: 0, item });
  const place = { item_id: "msg_1", output_index: 0, content_index: 0 };
  say("response.content_part.added", {
    ...place,
    part: { type: "output_text", text: "", annotations: [] },
  });
  for (let at = 0; at < count && !response.destroyed; at += 1) {
    say("response.output_text.delta", { ...place, delta: `word${at} `, logprobs: [] });
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  response.end();
}

test("a stream of the responses API that uses up the budget ends with response.incomplete, which the SDK takes", async (t) => {
  const operator = await startOperator(t);
  const requests: { aborted: boolean }[] = [];
  const server = createServer((request, response) => {
    const seen = { aborted: false };
    requests.push(seen);
    response.once("close", () => (seen.aborted = !response.writableFinished));
    request.resume();
    void respond(response, 2_000);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const { room, client } = await startPod(t, operator, { port, requests }, { tokensPerDay: 200 });
  const stream = client.responses.stream({ model: "gpt-5", input: "endless" });
  const seen: string[] = [];
  stream.on("event", ({ type }) => seen.push(type));
  const answer = await stream.finalResponse();
  assert.equal(answer.status, "incomplete");
  assert.equal(answer.incomplete_details?.reason, "max_output_tokens");
  assert.match(answer.output_text, /^word0 word1 /);
  assert.deepEqual(seen.slice(-4), [
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.incomplete",
  ]);
  assert.ok((answer.usage?.total_tokens ?? 1_000) <= 204);
  await eventually("the upstream sees the end", () => requests[0]?.aborted === true);
  assert.equal(outcomes(room)[0]?.outcome?.limit, "tokensPerDay");
});
