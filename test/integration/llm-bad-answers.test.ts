// Answers that no provider should give: bounded memory, a refusal in the API's own shape or an answer broken off, an event, and everybody else unharmed.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { eventually, send, startRoom } from "./http-proxy-fixture.ts";
import type { Answer, ConnectionSetup, TestRoom } from "./http-proxy-fixture.ts";

const megabyte = 1024 * 1024;
const masks: ConnectionSetup["detectMasks"] = [
  { detector: "email", transform: { kind: "redact" }, policy: "agents/policy" },
];
const json = { "content-type": "application/json" };
const events = { "content-type": "text/event-stream" };

async function start(
  t: TestContext,
  answer: (response: ServerResponse) => void,
  setup: Partial<ConnectionSetup> = {},
): Promise<{ room: TestRoom; ask: (model?: string) => Promise<Answer> }> {
  const server = createServer((request, response) => {
    response.on("error", () => undefined);
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      if (body.includes("gpt-good")) response.writeHead(200, json).end('{"choices":[]}');
      else answer(response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const room = await startRoom(t, [
    { protocol: "openai", detail: "Full", ...setup, upstream: { port: address.port } },
  ]);
  const ask = (model = "gpt-bad") =>
    send(room, {
      method: "POST",
      path: "/v1/chat/completions",
      headers: json,
      body: JSON.stringify({ model, messages: [], stream: true }),
    });
  return { room, ask };
}

/** Writes until the other side has had enough. */
function pour(response: ServerResponse, piece: string, times: number): void {
  const more = (left: number): void => {
    let rest = left;
    while (rest > 0 && !response.destroyed) {
      rest -= 1;
      if (!response.write(piece)) {
        response.once("drain", () => more(rest));
        return;
      }
    }
    response.end();
  };
  more(times);
}

const deep = (of: number): string => `{"choices":${"[".repeat(of)}${"]".repeat(of)}}`;

const bad: readonly (readonly [
  what: string,
  answer: (response: ServerResponse) => void,
  ends: "broken" | "whole",
])[] = [
  [
    "JSON that is 100,000 deep",
    (response) => response.writeHead(200, json).end(deep(100_000)),
    "broken",
  ],
  [
    "an event that is 100,000 deep",
    (response) => response.writeHead(200, events).end(`data: ${deep(100_000)}\n\n`),
    "broken",
  ],
  [
    "a number of a million digits",
    (response) => response.writeHead(200, json).end(`{"n":${"7".repeat(megabyte)}}`),
    "broken",
  ],
  [
    "an event of 50 MB",
    (response) => {
      response.writeHead(200, events).write("data: ");
      pour(response, "x".repeat(megabyte), 50);
    },
    "broken",
  ],
  [
    "a name of 50 MB",
    (response) => {
      response.writeHead(200, json).write('{"');
      pour(response, "x".repeat(megabyte), 50);
    },
    "broken",
  ],
  [
    "JSON that ends in its middle",
    (response) => response.writeHead(200, json).end('{"choices":[{"me'),
    "broken",
  ],
  [
    "no JSON",
    (response) => response.writeHead(200, json).end("<html>jane@example.com</html>"),
    "broken",
  ],
  [
    "a stream that ends in its middle",
    (response) =>
      response.writeHead(200, events).end('data: {"choices":[{"index":0,"delta":{"content":"hel'),
    "whole",
  ],
  [
    "events that are no JSON",
    (response) => response.writeHead(200, events).end("data: jane@example.com\n\n"),
    "whole",
  ],
  [
    "arguments that are no JSON",
    (response) =>
      response
        .writeHead(200, events)
        .end(
          `data: ${JSON.stringify({ choices: [{ index: 0, delta: { tool_calls: [{ index: 0, function: { name: "f", arguments: '{"to": jane@example.com, }}' } }] }, finish_reason: "stop" }] })}\n\n`,
        ),
    "whole",
  ],
];

for (const [what, answer, ends] of bad)
  test(`${what}: ${ends === "broken" ? "nothing of it is taken for an answer" : "it ends"}, an event says so, and others go on`, async (t) => {
    const { room, ask } = await start(t, answer, { detectMasks: masks });
    global.gc?.();
    const before = process.memoryUsage().rss;
    const got = await ask().then(
      (one) => one,
      () => undefined,
    );
    if (ends === "broken") {
      assert.ok(
        got === undefined || got.status >= 400,
        `${got?.status} ${got?.text.slice(0, 100)}`,
      );
      await eventually("it is recorded", () => room.operations().length === 1);
      assert.equal(room.operations()[0]?.body.outcome?.error, "MaskNotProvable");
    } else {
      assert.equal(got?.status, 200);
      assert.doesNotMatch(got?.text ?? "", /jane@/);
      await eventually("it is recorded", () => room.operations().length === 1);
      assert.equal(room.operations()[0]?.body.outcome?.status, "ok");
    }
    assert.ok(process.memoryUsage().rss - before < 150 * megabyte, "memory is bounded");
    assert.equal((await ask("gpt-good")).status, 200);
  });

test("an answer without end is not held by who records it, where nothing is masked", async (t) => {
  const { room, ask } = await start(t, (response) => {
    response.writeHead(200, events);
    pour(
      response,
      `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: "x".repeat(1_000) } }] })}\n\n`,
      20_000,
    );
  });
  const got = await ask();
  assert.ok(got.text.length > 20 * megabyte);
  await eventually("it is recorded", () => room.operations().length === 1);
  const kept = room.operations()[0]?.contents.find(({ part }) => part === "response");
  assert.equal(kept?.truncated, true);
  assert.ok((kept?.text.length ?? Infinity) <= 64 * 1024);
});
