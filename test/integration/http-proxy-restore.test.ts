// Reversible tokens through the room: the provider sees tokens, the agent its own values again, streamed or not, in texts and in arguments of tools;
// the recording has tokens alone.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import OpenAI from "openai";

import type { DetectMask } from "../../policy/bundle.ts";
import { eventually, send, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, TestRoom } from "./http-proxy-fixture.ts";

const reversible = (detector: string): DetectMask => ({
  detector,
  transform: { kind: "restore", detector },
  policy: "agents/policy",
});
const requestMasks = [reversible("email"), reversible("credit-card")];
const mail = "jane.doe@example.com";
const card = "4111 1111 1111 1111";
const secrets = /jane\.doe|4111/;
const tokens = /(?:email|credit-card)-[a-z]{12}/g;

interface Setup extends TestRoom {
  /** Everything that arrived at the provider. */
  readonly arrived: string[];
  readonly client: OpenAI;
}

/** A provider that says every token it was sent again, in text and in a call of a tool, in pieces of so many characters. */
async function start(
  t: TestContext,
  pieceLength = 1,
  setup: Partial<ConnectionSetup> = {},
  extra = "",
): Promise<Setup> {
  const arrived: string[] = [];
  const provider = createServer((incoming, outgoing) => {
    let body = "";
    incoming.on("data", (chunk: Buffer) => (body += chunk.toString()));
    incoming.on("end", () => {
      arrived.push(body);
      const found = body.match(tokens) ?? [];
      const text = `Dear ${found.join(", dear ")}, all is well.${extra}`;
      const args = JSON.stringify({ to: found[0] ?? "", note: text });
      if (body.includes('"stream":true')) void stream(outgoing, text, args, pieceLength);
      else answer(outgoing, text, args);
    });
  });
  provider.listen(0, "127.0.0.1");
  await once(provider, "listening");
  const address = provider.address();
  assert.ok(address !== null && typeof address === "object");
  t.after(() => {
    provider.closeAllConnections();
    provider.close();
  });
  const room = await startRoom(t, [
    {
      name: "openai",
      protocol: "openai",
      requestMasks,
      detail: "Full",
      ...setup,
      upstream: { port: address.port, basePath: "/v1" },
    },
  ]);
  const baseURL = `http://127.0.0.1:${room.port}/v1`;
  const client = new OpenAI({ apiKey: "x", baseURL, maxRetries: 0 });
  return { ...room, arrived, client };
}

const call = (args: string) => ({
  index: 0,
  id: "call-1",
  type: "function",
  function: { name: "mail", arguments: args },
});

function answer(outgoing: ServerResponse, text: string, args: string): void {
  outgoing.writeHead(200, { "content-type": "application/json" }).end(
    JSON.stringify({
      id: "c1",
      object: "chat.completion",
      created: 1,
      model: "gpt-5",
      choices: [
        {
          index: 0,
          message: { role: "assistant", content: text, tool_calls: [call(args)] },
          finish_reason: "tool_calls",
        },
      ],
      usage: { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 },
    }),
  );
}

async function stream(
  outgoing: ServerResponse,
  text: string,
  args: string,
  length: number,
): Promise<void> {
  outgoing.writeHead(200, { "content-type": "text/event-stream" });
  const say = async (delta: object, finish: string | null = null): Promise<void> => {
    const choices = [{ index: 0, delta, finish_reason: finish }];
    const event = {
      id: "c1",
      object: "chat.completion.chunk",
      created: 1,
      model: "gpt-5",
      choices,
    };
    const bytes = Buffer.from(`data: ${JSON.stringify(event)}\n\n`);
    outgoing.write(bytes.subarray(0, 40));
    await turn();
    outgoing.write(bytes.subarray(40));
  };
  const cut = (all: string): string[] => all.match(new RegExp(`[^]{1,${length}}`, "g")) ?? [];
  for (const content of cut(text)) await say({ content });
  await say({ tool_calls: [call("")] });
  for (const piece of cut(args))
    await say({ tool_calls: [{ index: 0, function: { arguments: piece } }] });
  await say({}, "tool_calls");
  outgoing.end("data: [DONE]\n\n");
}

const ask = (content: string) => ({
  model: "gpt-5",
  messages: [{ role: "user" as const, content }],
});

const told = `Dear ${mail}, dear ${card}, all is well.`;

test("the provider gets tokens, the agent its values again: in text and in a call's arguments", async (t) => {
  const room = await start(t);
  const said = await room.client.chat.completions.create(ask(`Write to ${mail}, card ${card}.`));
  const [choice] = said.choices;
  assert.equal(choice?.message.content, told);
  const [made] = choice?.message.tool_calls ?? [];
  assert.ok(made?.type === "function");
  assert.deepEqual(JSON.parse(made.function.arguments), { to: mail, note: told });
  assert.equal(room.arrived.length, 1);
  assert.doesNotMatch(room.arrived.join(""), secrets);
  assert.equal(room.arrived.join("").match(tokens)?.length, 2);
});

for (const length of [1, 3, 7, 1_000])
  test(`the same of a stream whose deltas have ${length} characters`, async (t) => {
    const room = await start(t, length);
    const events = await room.client.chat.completions.create({
      ...ask(`Write to ${mail}, card ${card}.`),
      stream: true,
    });
    let text = "";
    let args = "";
    let finish: string | null = null;
    for await (const { choices } of events) {
      const [choice] = choices;
      text += choice?.delta.content ?? "";
      args += choice?.delta.tool_calls?.[0]?.function?.arguments ?? "";
      finish = choice?.finish_reason ?? finish;
    }
    assert.equal(text, told);
    assert.deepEqual(JSON.parse(args), { to: mail, note: told });
    assert.equal(finish, "tool_calls");
    assert.doesNotMatch(room.arrived.join(""), secrets);
  });

test("the recording has tokens alone, of what was asked and what was answered", async (t) => {
  const room = await start(t, 2);
  for (const isStream of [false, true]) {
    const answered = await room.client.chat.completions.create({
      ...ask(`Write to ${mail}, card ${card}.`),
      stream: isStream,
    });
    if (Symbol.asyncIterator in answered) for await (const _event of answered);
  }
  await eventually("both are recorded", () => room.operations().length === 2);
  const events = JSON.stringify(room.events());
  assert.doesNotMatch(events, secrets);
  for (const { contents } of room.operations()) {
    const response = contents.find(({ part }) => part === "response");
    assert.match(response?.text ?? "", /^Dear email-[a-z]{12}, dear credit-card-[a-z]{12}, all/);
  }
});

test("a conversation that goes on reads the same to the provider: one value, one token", async (t) => {
  const room = await start(t);
  await room.client.chat.completions.create(ask(`Write to ${mail}.`));
  await room.client.chat.completions.create({
    model: "gpt-5",
    messages: [
      { role: "user", content: `Write to ${mail}.` },
      { role: "assistant", content: `Dear ${mail}, all is well.` },
      { role: "user", content: "Again." },
    ],
  });
  const [first, second] = room.arrived.map((body) => new Set(body.match(tokens)));
  assert.deepEqual(first, second);
});

test("a token of another pod is turned back for nobody", async (t) => {
  const theirs = await start(t);
  await theirs.client.chat.completions.create(ask(`Write to ${mail}.`));
  const [stolen = ""] = theirs.arrived.join("").match(tokens) ?? [];
  const ours = await start(t);
  const own = "john@example.org";
  const said = await ours.client.chat.completions.create(ask(`Write to ${own} and ${stolen}.`));
  assert.equal(said.choices[0]?.message.content, `Dear ${own}, dear ${stolen}, all is well.`);
});

test("beside masks of answers: what the model says of its own is masked, what the agent sent is put back", async (t) => {
  const answers: DetectMask[] = [
    { detector: "email", transform: { kind: "redact" }, policy: "agents/policy" },
  ];
  const room = await start(t, 1, { detectMasks: answers }, " Or try boss@corp.example.");
  const said = await room.client.chat.completions.create(ask(`Write to ${mail}.`));
  assert.equal(said.choices[0]?.message.content, `Dear ${mail}, all is well. Or try [redacted].`);
});

test("where nothing was found in any request, an answer passes as it came", async (t) => {
  const room = await start(t);
  const said = await room.client.chat.completions.create(ask("Hello."));
  assert.equal(said.choices[0]?.message.content, "Dear , all is well.");
});

test("on http connections too: bodies, headers, and an answer that nobody can look into stays as it is", async (t) => {
  const arrived: string[] = [];
  const origin = createServer((incoming, outgoing) => {
    let body = "";
    incoming.on("data", (chunk: Buffer) => (body += chunk.toString()));
    incoming.on("end", () => {
      arrived.push(body);
      const [token = ""] = body.match(tokens) ?? [];
      const type = String(incoming.headers["x-want"]);
      outgoing.writeHead(200, { "content-type": type, location: `/people/${token}` });
      for (const character of type === "application/json" ? `{"to":"${token}"}` : `to ${token}!`)
        outgoing.write(character);
      outgoing.end();
    });
  });
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
  const address = origin.address();
  assert.ok(address !== null && typeof address === "object");
  t.after(() => {
    origin.closeAllConnections();
    origin.close();
  });
  const room = await startRoom(t, [
    { requestMasks, detail: "Full", upstream: { port: address.port } },
  ]);
  const post = (want: string) =>
    send(room, {
      method: "POST",
      path: "/",
      headers: { "content-type": "application/x-www-form-urlencoded", "x-want": want },
      body: `to=${encodeURIComponent(mail)}`,
    });
  const json = await post("application/json");
  assert.equal(json.text, `{"to":"${mail}"}`);
  assert.equal(json.headers.location, `/people/${mail}`);
  assert.equal((await post("text/plain")).text, `to ${mail}!`);
  assert.match((await post("application/octet-stream")).text, /^to email-[a-z]{12}!$/);
  assert.equal(arrived.length, 3);
  assert.doesNotMatch(arrived.join(""), secrets);
  await eventually("it is recorded", () => room.operations().length === 3);
  assert.doesNotMatch(JSON.stringify(room.events()), secrets);
});
