// Answers of model providers that break off, never end, or are no answers: bounded, broken off or refused in the provider's own form,
// recorded, and without harm to the connections beside them.
import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { stringHeader, writtenFrame } from "../../policy/llm/framing/aws-frames.ts";
import type { LlmProtocol } from "../../policy/operation.ts";
import { detectorNames } from "../../policy/mask/detectors.ts";
import { eventually, send, startRoom, type TestRoom } from "./http-proxy-fixture.ts";

const detectMasks = detectorNames.map((detector) => ({
  detector,
  transform: { kind: "redact" } as const,
  policy: "agents/policy",
}));
const secret = "jane@example.com";

/** What the errors of providers have, some of it each. */
interface ErrorBody {
  readonly message?: string;
  readonly code?: string;
  readonly error?: {
    readonly message: string;
    readonly code: unknown;
    readonly details?: readonly { readonly reason: string }[];
  };
}

interface Kind {
  readonly path: string;
  readonly body: unknown;
  readonly type: string;
  /** Some of a stream that says this text, of which more follows. */
  readonly say: (text: string) => string | Uint8Array;
  /** Where in the error our code and sentence stand. */
  readonly said: (body: ErrorBody) => readonly [message: unknown, code: unknown];
}

const contents = { contents: [{ parts: [{ text: "hi" }] }] };
const candidate = (text: string) =>
  JSON.stringify({ candidates: [{ index: 0, content: { parts: [{ text }] } }] });
const kinds: Readonly<Record<Exclude<LlmProtocol, "openai">, Kind>> & Record<"array", Kind> = {
  anthropic: {
    path: "/v1/messages",
    body: { model: "m", max_tokens: 9, messages: [], stream: true },
    type: "text/event-stream",
    say: (text) =>
      `event: content_block_delta\ndata: ${JSON.stringify({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text } })}\n\n`,
    said: ({ error }) => [error?.message, error?.code],
  },
  gemini: {
    path: "/v1beta/models/m:streamGenerateContent?alt=sse",
    body: contents,
    type: "text/event-stream",
    say: (text) => `data: ${candidate(text)}\n\n`,
    said: ({ error }) => [error?.message, error?.details?.[0]?.reason],
  },
  array: {
    path: "/v1beta/models/m:streamGenerateContent",
    body: contents,
    type: "application/json",
    say: (text) => `[${candidate(text)},`,
    said: ({ error }) => [error?.message, error?.details?.[0]?.reason],
  },
  bedrock: {
    path: "/model/m/converse-stream",
    body: { messages: [] },
    type: "application/vnd.amazon.eventstream",
    say: (text) =>
      writtenFrame({
        headers: [stringHeader(":event-type", "contentBlockDelta")],
        payload: Buffer.from(JSON.stringify({ contentBlockIndex: 0, delta: { text } })),
      }),
    said: ({ message, code }) => [message, code],
  },
};
const all = Object.entries(kinds) as [keyof typeof kinds, Kind][];
const protocolOf = (name: keyof typeof kinds) => (name === "array" ? "gemini" : name);

async function start(
  t: TestContext,
  name: keyof typeof kinds,
  answer: (response: ServerResponse) => void,
): Promise<TestRoom> {
  const server = createServer((incoming, response) => {
    incoming.resume();
    incoming.on("end", () => {
      if (incoming.headers["x-plain"] === undefined) answer(response);
      else
        response
          .writeHead(200, { "content-type": kinds[name].type })
          .end(name === "array" ? "[]" : "");
    });
    response.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return startRoom(t, [
    { protocol: protocolOf(name), detectMasks, detail: "Full", upstream: { port } },
  ]);
}

const asking = (kind: Kind, headers: Record<string, string> = {}) => ({
  method: "POST",
  path: kind.path,
  headers: { "content-type": "application/json", ...headers },
  body: JSON.stringify(kind.body),
});

/** What came before the answer ended or broke off. */
function received(room: TestRoom, kind: Kind): Promise<{ bytes: Buffer; isWhole: boolean }> {
  return new Promise((resolve) => {
    const { body, ...options } = asking(kind);
    const chunks: Buffer[] = [];
    const done = (isWhole: boolean): void => resolve({ bytes: Buffer.concat(chunks), isWhole });
    const outgoing = request({ host: "127.0.0.1", port: room.port, ...options }, (incoming) => {
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("error", () => {});
      incoming.on("close", () => done(incoming.complete));
    });
    // A reset may overtake the answer's beginning.
    outgoing.on("error", () => done(false));
    outgoing.end(body);
  });
}

async function goesOn(room: TestRoom, kind: Kind): Promise<void> {
  const { status } = await send(room, asking(kind, { "x-plain": "1" }));
  assert.equal(status, 200);
}

for (const [name, kind] of all) {
  const begin = (response: ServerResponse): void => {
    response.writeHead(200, { "content-type": kind.type });
  };

  test(`${name}: a stream that breaks off is broken off, says nothing unmasked, and is recorded`, async (t) => {
    const room = await start(t, name, (response) => {
      begin(response);
      response.write(kind.say(`mail ${secret}`), () => setImmediate(() => response.destroy()));
    });
    const { bytes, isWhole } = await received(room, kind);
    assert.equal(isWhole, false);
    assert.ok(!bytes.includes("jane"), bytes.toString());
    await eventually("it is recorded", () => room.operations().length === 1);
    const [operation] = room.operations();
    assert.equal(operation?.body.outcome?.status, "error");
    assert.ok(!JSON.stringify(operation).includes("jane"));
    await goesOn(room, kind);
  });

  test(`${name}: what never ends is broken off at its bound`, async (t) => {
    let sent = 0;
    const endless = Buffer.alloc(64 * 1024, "x");
    const room = await start(t, name, (response) => {
      begin(response);
      const start = {
        anthropic: 'data: {"a":"',
        gemini: 'data: {"a":"',
        array: '[{"a":"',
        bedrock: "",
      };
      const long = Buffer.from(writtenFrame({ headers: [], payload: new Uint8Array(1024) }));
      response.write(name === "bedrock" ? long.subarray(0, 100) : start[name]);
      const more = (): void => {
        while (!response.destroyed && sent < 50 * 1024 * 1024) {
          sent += endless.length;
          if (!response.write(endless)) return void response.once("drain", more);
        }
        response.end();
      };
      more();
    });
    const { isWhole, bytes } = await received(room, kind);
    assert.equal(isWhole, false);
    assert.ok(bytes.length < 1024, `${bytes.length} bytes came`);
    assert.ok(sent < 32 * 1024 * 1024, `${sent} bytes were read`);
    await eventually("it is recorded", () => room.operations().length === 1);
    assert.equal(room.operations()[0]?.body.outcome?.error, "MaskNotProvable");
    await goesOn(room, kind);
  });

  test(`${name}: an answer that cannot be masked is refused in the provider's own form`, async (t) => {
    const room = await start(t, name, (response) => {
      response.writeHead(200, { "content-type": "application/octet-stream" });
      response.end(secret);
    });
    const { status, text } = await send(room, asking(kind));
    assert.equal(status, 403);
    const [message, code] = kind.said(JSON.parse(text));
    assert.match(String(message), /cannot be masked/);
    assert.equal(code, "MaskNotProvable");
  });

  test(`${name}: what the provider says of an error is masked`, async (t) => {
    const room = await start(t, name, (response) => {
      response.writeHead(429, { "content-type": "application/json", "x-hint": secret });
      response.end(JSON.stringify({ message: secret, error: { message: secret, code: 429 } }));
    });
    const { status, text, headers } = await send(room, asking(kind));
    assert.equal(status, 429);
    assert.ok(!`${text}${JSON.stringify(headers)}`.includes("jane"));
    assert.equal(room.operations()[0]?.contents.at(-1)?.text, "[redacted]");
  });
}

test("frames with a wrong checksum are broken off before anything of them is passed on", async (t) => {
  const { bedrock } = kinds;
  const bad = Buffer.from(bedrock.say("mail ").slice());
  bad[bad.length - 8] = (bad[bad.length - 8] ?? 0) ^ 1;
  const room = await start(t, "bedrock", (response) => {
    response.writeHead(200, { "content-type": bedrock.type });
    response.write(bedrock.say("All is well. "));
    setTimeout(() => response.end(bad), 50);
  });
  const { bytes, isWhole } = await received(room, bedrock);
  assert.equal(isWhole, false);
  assert.deepEqual(bytes, Buffer.from(bedrock.say("All is well. ")));
  await eventually("it is recorded", () => room.operations().length === 1);
  assert.equal(room.operations()[0]?.body.outcome?.error, "MaskNotProvable");
});

test("tool arguments that are no JSON are masked as the text they are", async (t) => {
  const events = [
    {
      type: "content_block_start",
      index: 0,
      content_block: { type: "tool_use", id: "t", name: "mail", input: {} },
    },
    ...[`{"to": ${secret.slice(0, 8)}`, `${secret.slice(8)} [`].map((partial_json) => ({
      type: "content_block_delta",
      index: 0,
      delta: { type: "input_json_delta", partial_json },
    })),
    { type: "content_block_stop", index: 0 },
  ];
  const room = await start(t, "anthropic", (response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(
      events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(""),
    );
  });
  const { text } = await send(room, asking(kinds.anthropic));
  const args = [...text.matchAll(/"partial_json":("(?:[^"\\]|\\.)*")/g)].map(
    ([, one = ""]) => JSON.parse(one) as string,
  );
  assert.equal(args.join(""), '{"to": [redacted] [');
  assert.equal(room.operations()[0]?.contents.at(-1)?.text, 'mail({"to": [redacted] [)');
});

const requests: readonly (readonly [
  protocol: LlmProtocol,
  path: string,
  body: (text: string) => unknown,
])[] = [
  [
    "anthropic",
    "/v1/messages",
    (text) => ({
      model: "m",
      max_tokens: 9,
      system: text,
      messages: [
        { role: "user", content: [{ type: "tool_result", tool_use_id: "t", content: text }] },
      ],
    }),
  ],
  [
    "gemini",
    "/v1beta/models/m:generateContent",
    (text) => ({
      system_instruction: { parts: { text } },
      contents: [{ parts: [{ functionResponse: { name: "f", response: { text } } }] }],
    }),
  ],
  [
    "bedrock",
    "/model/m/converse",
    (text) => ({
      system: [{ text }],
      messages: [
        {
          role: "user",
          content: [{ toolResult: { toolUseId: "t", content: [{ json: { text } }] } }],
        },
      ],
    }),
  ],
];
for (const [protocol, path, body] of requests)
  test(`${protocol}: what is sent out is masked where a policy says so, in the record too`, async (t) => {
    let sent = "";
    const server = createServer((incoming, response) => {
      incoming.on("data", (chunk: Buffer) => (sent += chunk.toString()));
      incoming.on("end", () =>
        response.writeHead(200, { "content-type": "application/json" }).end("{}"),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(() => server.close());
    const { port } = server.address() as AddressInfo;
    const room = await startRoom(t, [
      { protocol, requestMasks: detectMasks, detail: "Full", upstream: { port } },
    ]);
    const { status } = await send(room, {
      method: "POST",
      path,
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body(`ask ${secret}`)),
    });
    assert.equal(status, 200);
    assert.deepEqual(JSON.parse(sent), body("ask [redacted]"));
    assert.ok(!JSON.stringify(room.operations()).includes("jane"));
    assert.deepEqual(room.operations()[0]?.body.outcome?.masked, { detected: { email: 2 } });
  });
