// What is said in a session with a model: masked in both directions, decided on event by event, counted against budgets. The agent is OpenAI's own client.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { LookupFunction } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";
import { WebSocketServer } from "ws";
import type { WebSocket } from "ws";

import { memoryAccounts } from "../../operator/budgets/accounts.ts";
import { Budgets } from "../../operator/budgets/budgets.ts";
import { budgetsOf } from "../../policy/budget/budget.ts";
import type { DetectMask, Limits } from "../../policy/bundle.ts";
import { createPodAuthority } from "../../proxy/tls/authority.ts";
import { createTlsTerminator } from "../../proxy/tls/terminate.ts";
import { eventually, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, TestRoom } from "./http-proxy-fixture.ts";

const host = "api.example";
const authority = await createPodAuthority({ names: [host], storage: "memory" });
const terminator = createTlsTerminator({ authority });

/** The name of the provider is this machine's. */
const here: LookupFunction = (_name, _options, done) =>
  done(null, [{ address: "127.0.0.1", family: 4 }]);

type Event = Record<string, unknown> & { readonly type: string };

interface Session {
  readonly room: TestRoom;
  /** What the agent was told, in its order. */
  readonly told: Event[];
  /** What the provider heard, and the texts it was sent as. */
  readonly heard: Event[];
  readonly texts: string[];
  readonly closes: number[];
  say(event: object): void;
  /** As it is, by the socket of the SDK. */
  write(text: string): void;
  close(): void;
  /** Says these to the agent. */
  answer(events: readonly object[]): void;
}

async function open(
  t: TestContext,
  setup: Partial<ConnectionSetup> = {},
  prepared: (room: TestRoom) => void = () => undefined,
): Promise<Session> {
  const http = createServer();
  const server = new WebSocketServer({ noServer: true });
  const heard: Event[] = [];
  const texts: string[] = [];
  let peer: WebSocket | undefined;
  http.on("upgrade", (request, socket, head) => {
    server.handleUpgrade(request, socket, head, (opened) => {
      peer = opened;
      opened.on("message", (bytes: Buffer) => {
        texts.push(bytes.toString());
        heard.push(JSON.parse(bytes.toString()) as Event);
      });
    });
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  t.after(() => {
    for (const one of server.clients) one.terminate();
    http.close();
  });
  const address = http.address();
  assert.ok(address !== null && typeof address === "object");
  const connection: ConnectionSetup = {
    protocol: "openai",
    lease: { kind: "headers", headers: [{ name: "Authorization", value: "Bearer sk-real" }] },
    rules: [{ name: "sessions", llm: { operations: ["realtime"], models: ["gpt-realtime"] } }],
    detail: "Full",
    ...setup,
    upstream: { port: address.port, basePath: "/v1" },
  };
  const room = await startRoom(t, [connection], {
    route: { scheme: "https" },
    secure: (socket, accept) => terminator.accept(socket, accept),
  });
  t.after(() => room.gate.admissions.close());
  prepared(room);
  const client = new OpenAI({ apiKey: "held", baseURL: `https://${host}:${room.port}/v1` });
  const options = { ca: authority.certificate, lookup: here };
  const session = new OpenAIRealtimeWS({ model: "gpt-realtime", options }, client);
  const told: Event[] = [];
  const closes: number[] = [];
  session.on("event", (event) => told.push(event as unknown as Event));
  // The SDK raises what it is told as an event `error`, too.
  session.on("error", () => undefined);
  session.socket.on("close", (code) => closes.push(code));
  await once(session.socket, "open");
  await eventually("the provider is there", () => peer !== undefined);
  return {
    room,
    told,
    heard,
    texts,
    closes,
    say: (event) => session.send(event as Parameters<typeof session.send>[0]),
    write: (text) => session.socket.send(text),
    close: () => session.close(),
    answer: (events) => {
      for (const event of events) peer?.send(JSON.stringify(event));
    },
  };
}

const redacted: readonly DetectMask[] = [
  { detector: "email", transform: { kind: "redact" }, policy: "agents/policy" },
];
const restored: readonly DetectMask[] = [
  {
    detector: "email",
    transform: { kind: "restore", detector: "email" },
    policy: "agents/policy",
  },
];

const delta = (type: string, text: string, more: object = {}) => ({
  type,
  event_id: "event_1",
  response_id: "resp_1",
  item_id: "item_1",
  output_index: 0,
  content_index: 0,
  delta: text,
  ...more,
});

const done = (usage: object = { input_tokens: 10, output_tokens: 5, total_tokens: 15 }) => ({
  type: "response.done",
  event_id: "event_9",
  response: { id: "resp_1", object: "realtime.response", status: "completed", output: [], usage },
});

/** What the deltas of one kind say together. */
const spelt = (told: readonly Event[], type: string): string =>
  told
    .filter((event) => event.type === type)
    .map(({ delta: text }) => String(text))
    .join("");

test("texts, transcripts and arguments are masked across deltas, those of two responses apart, and sound passes", async (t) => {
  const session = await open(t, { detectMasks: redacted });
  const sound = Buffer.alloc(600, 7).toString("base64");
  const pieces = ["ask ja", "ne@exam", "ple.com", " now"];
  const other = { response_id: "resp_2", item_id: "item_2" };
  session.answer(
    pieces.flatMap((text) => [
      delta("response.output_text.delta", text),
      delta("response.output_text.delta", `[${text}]`, other),
      delta("response.output_audio_transcript.delta", text),
      delta("response.output_audio.delta", sound),
      delta("response.function_call_arguments.delta", text === "ask ja" ? '{"to":"ja' : text),
    ]),
  );
  session.answer([
    delta("response.function_call_arguments.delta", '"}'),
    {
      type: "conversation.item.input_audio_transcription.delta",
      item_id: "i",
      delta: "I am bob@ex",
    },
    done(),
    { type: "conversation.item.input_audio_transcription.delta", item_id: "i", delta: "ample.com" },
    {
      type: "conversation.item.input_audio_transcription.completed",
      item_id: "i",
      transcript: "I am bob@example.com",
    },
    { ...done(), response: { ...done().response, id: "resp_2" } },
  ]);
  await eventually(
    "all was told",
    () => session.told.filter((one) => one.type === "response.done").length === 2,
  );
  const first = session.told.filter((one) => one["response_id"] === "resp_1");
  assert.equal(spelt(first, "response.output_text.delta"), "ask [redacted] now");
  assert.equal(spelt(first, "response.output_audio_transcript.delta"), "ask [redacted] now");
  assert.equal(spelt(first, "response.output_audio.delta"), sound.repeat(4));
  assert.equal(spelt(first, "response.function_call_arguments.delta"), '{"to":"[redacted] now"}');
  assert.equal(
    spelt(session.told, "conversation.item.input_audio_transcription.delta"),
    "I am [redacted]",
  );
  assert.ok(!JSON.stringify(session.told).includes("bob@example"));
  session.close();
  await eventually("it is recorded", () => session.room.operations().length === 1);
  const [operation] = session.room.operations();
  assert.deepEqual(operation?.body.outcome?.tokens, { input: 20, output: 10 });
  assert.ok((operation?.body.outcome?.masked?.detected?.["email"] ?? 0) >= 5);
  const recorded = JSON.stringify(operation);
  assert.ok(recorded.includes("[redacted]") && !recorded.includes("jane@"));
  assert.ok(!recorded.includes(sound), "sound leaves room for words");
});

test("what the agent says is masked, tokens of it come back as what they stand for, and its sound goes on as it is", async (t) => {
  const session = await open(t, { requestMasks: restored });
  const sound = Buffer.alloc(600, 7).toString("base64");
  session.say({ type: "input_audio_buffer.append", audio: sound });
  session.say({
    type: "conversation.item.create",
    item: {
      type: "message",
      role: "user",
      content: [{ type: "input_text", text: "write to jane@example.com" }],
    },
  });
  await eventually("it was heard", () => session.heard.length === 2);
  assert.equal(session.heard[0]?.["audio"], sound);
  const [token = ""] = /email-[a-z]{12}/.exec(session.texts[1] ?? "") ?? [];
  assert.ok(token !== "" && !session.texts[1]?.includes("jane"));
  session.answer([
    delta("response.output_text.delta", `to ${token.slice(0, 9)}`),
    delta("response.output_text.delta", `${token.slice(9)}.`),
    { ...delta("response.output_text.done", ""), text: `to ${token}.` },
    done(),
  ]);
  await eventually("all was told", () => session.told.some((one) => one.type === "response.done"));
  assert.equal(spelt(session.told, "response.output_text.delta"), "to jane@example.com.");
  assert.equal(
    session.told.find((one) => one.type === "response.output_text.done")?.["text"],
    "to jane@example.com.",
  );
  session.close();
  await eventually("it is recorded", () => session.room.operations().length === 1);
  assert.ok(!JSON.stringify(session.room.events()).includes("jane@"));
});

const offer = (...names: readonly string[]) => ({
  type: "session.update",
  event_id: "mine_1",
  session: {
    type: "realtime",
    instructions: "be brief",
    tools: names.map((name) => ({ type: "function", name, parameters: {} })),
  },
});

test("a tool that a rule denies is not offered: the provider never hears of it, the agent is told, and the session goes on", async (t) => {
  const session = await open(t, {
    rules: [
      { name: "sessions", llm: { operations: ["realtime"], models: ["gpt-realtime"] } },
      { name: "no-mail", action: "Deny", llm: { tools: ["send_mail"] } },
    ],
  });
  session.say(offer("look_up", "send_mail"));
  session.say({ ...offer(), type: "response.create", response: offer("send_mail").session });
  session.say(offer("look_up"));
  await eventually("the last one is heard", () => session.heard.length === 1);
  await eventually("the others are refused", () => session.told.length === 2);
  assert.deepEqual(session.heard, [offer("look_up")]);
  for (const event of session.told) {
    assert.equal(event.type, "error");
    const error = event["error"] as Record<string, unknown>;
    assert.deepEqual([error["code"], error["event_id"]], ["Denied", "mine_1"]);
    assert.match(String(error["message"]), /send_mail/);
  }
  session.close();
  await eventually("it is recorded", () => session.room.operations().length === 3);
  const refused = session.room
    .operations()
    .filter(({ body }) => body.decision?.verdict === "deny")
    .map(({ body }) => body.decision?.rule);
  assert.deepEqual(refused, ["no-mail", "no-mail"]);
});

test("a session that a person let begin goes on, and what another rule would hold in it is refused", async (t) => {
  const session = await open(
    t,
    {
      rules: [
        { name: "sessions", llm: { operations: ["realtime"] } },
        { name: "ask", action: "RequireApproval", llm: { operations: ["realtime"] } },
        { name: "ask-mail", action: "RequireApproval", llm: { tools: ["send_mail"] } },
      ],
    },
    (room) => {
      room.gate.decide = () => "Approved";
    },
  );
  assert.equal(session.room.gate.requests.length, 1);
  session.say(offer("look_up"));
  session.say(offer("send_mail"));
  await eventually("the other is refused", () => session.told.length === 1);
  assert.match(JSON.stringify(session.told[0]), /a session cannot wait/);
  assert.deepEqual(session.heard, [offer("look_up")]);
});

for (const [what, event, reason] of [
  ["an event that nobody knows", { type: "session.become", session: {} }, /no event of a session/],
  ["another model", { type: "session.update", session: { model: "gpt-9" } }, /another model/],
  [
    "a stored prompt",
    { type: "response.create", response: { prompt: { id: "p" } } },
    /stored template/,
  ],
  [
    "a model that writes down what is said, which no rule allows",
    {
      type: "session.update",
      session: { audio: { input: { transcription: { model: "whisper-1" } } } },
    },
    /transcriptions/,
  ],
] as const)
  test(`${what} is refused within a session`, async (t) => {
    const session = await open(t);
    session.say(event);
    await eventually("it is refused", () => session.told.length === 1);
    assert.match(JSON.stringify(session.told[0]), reason);
    assert.deepEqual(session.heard, []);
  });

test("names that come twice are refused, however the provider reads them", async (t) => {
  const session = await open(t);
  session.write('{"type": "input_audio_buffer.clear", "ty\\u0070e": "response.create"}');
  session.write("{");
  await eventually("both are refused", () => session.told.length === 2);
  assert.deepEqual(
    session.told.map(({ type }) => type),
    ["error", "error"],
  );
  assert.deepEqual(session.heard, []);
});

test("a policy that comes to deny a tool ends the sessions that were offered it", async (t) => {
  const session = await open(t);
  session.say(offer("send_mail"));
  await eventually("it is heard", () => session.heard.length === 1);
  const { gate } = session.room;
  const { live } = gate;
  assert.ok(live !== undefined);
  const { prepare } = await import("../../policy/decide.ts");
  const bundle = {
    ...live.bundle,
    rules: [
      ...live.bundle.rules,
      {
        policy: "agents/policy",
        name: "no-mail",
        action: "Deny" as const,
        mode: "Enforce" as const,
        llm: { tools: ["send_mail"] },
      },
    ],
  };
  gate.live = { ...live, bundle, prepared: prepare(bundle) };
  session.say({ type: "response.create" });
  await eventually("it is over", () => session.closes.length === 1);
  assert.deepEqual(session.closes, [1008]);
});

const now = (): number => Date.parse("2026-11-30T10:00:10Z");

async function budgeted(t: TestContext, limits: Limits, more: Partial<ConnectionSetup> = {}) {
  const budgets = new Budgets(memoryAccounts(), now);
  const holder = { namespace: "agents", serviceAccount: "agent", podUid: "pod", key: "k" };
  return open(t, {
    limits,
    now,
    askBudgets: (call) => budgets.settle(holder, call, budgetsOf(limits)),
    ...more,
  });
}

test("what responses used is settled against budgets, and a session that uses one up is told so and ends", async (t) => {
  const session = await budgeted(t, { tokensPerDay: 1_000 });
  const used = { input_tokens: 300, output_tokens: 100, total_tokens: 400 };
  for (let at = 0; at < 6; at += 1) session.answer([done(used)]);
  await eventually("it is over", () => session.closes.length === 1);
  assert.deepEqual(session.closes, [1008]);
  const types = session.told.map(({ type }) => type);
  // One more may pass while the operator is asked for more.
  assert.ok(types.length === 3 || types.length === 4, types.join());
  assert.deepEqual([types[0], types[1], types.at(-1)], ["response.done", "response.done", "error"]);
  assert.match(JSON.stringify(session.told.at(-1)), /"code":"BudgetExceeded"/);
  await eventually("it is recorded", () => session.room.operations().length === 1);
  const outcome = session.room.operations()[0]?.body.outcome;
  const { length: counted } = types;
  assert.deepEqual(outcome?.tokens, { input: 300 * counted, output: 100 * counted });
  assert.deepEqual([outcome?.error, outcome?.limit], ["BudgetExceeded", "tokensPerDay"]);
});

test("a response that never ends is cut while it streams, by costs as by tokens", async (t) => {
  const session = await budgeted(
    t,
    { costPerDay: 2_000 },
    { prices: [{ models: ["gpt-realtime"], input: 1, output: 4 }] },
  );
  for (let at = 0; at < 6_000; at += 1)
    session.answer([delta("response.output_text.delta", "words ")]);
  await eventually("it is over", () => session.closes.length === 1);
  const words = session.told.length;
  // One and a half tokens each: 500 are paid for, and what may pass while the operator is asked for more.
  assert.ok(words > 300 && words < (500 + 4_096) / 1.5, `${words}`);
});

test("a session without use costs nothing", async (t) => {
  const session = await budgeted(t, { tokensPerDay: 1_000 });
  session.close();
  await eventually("it is recorded", () => session.room.operations().length === 1);
  assert.deepEqual(session.room.operations()[0]?.body.outcome?.tokens, { input: 0, output: 0 });
});
