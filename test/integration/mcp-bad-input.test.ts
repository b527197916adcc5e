// Hostile agents and hostile MCP servers: bounded memory, an answer in JSON-RPC, an event, and nobody else the worse for it.
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { answerAs, event } from "../mcp-server/server.ts";
import type { Answerer } from "../mcp-server/server.ts";
import { messageIn, startMcpRoom, toolResult } from "./mcp-fixture.ts";
import type { McpRoom } from "./mcp-fixture.ts";

const rules = [{ name: "allow", action: "Allow" as const, mcp: { tools: ["search"] } }];
const piece = Buffer.alloc(256 * 1024, "x");

/** A room whose server answers calls of `search` as the test says, and everything else as ever. */
function start(t: TestContext, bad: Answerer): Promise<McpRoom> {
  const ever = answerAs();
  return startMcpRoom(t, rules, {
    answer: (received, response) =>
      received.message?.method === "tools/call"
        ? bad(received, response)
        : ever(received, response),
  });
}

async function isUnharmed({ rpc }: McpRoom): Promise<void> {
  assert.ok((await rpc("tools/list")).result !== undefined, "the next request is answered");
}

/** Sends without an end, as fast as it is read, until the other side has enough. Returns how much that was. */
function pour(response: ServerResponse, head: string): { readonly bytes: () => number } {
  let bytes = 0;
  response.write(head);
  const more = (): void => {
    while (!response.destroyed && bytes < 60 * 1024 * 1024) {
      bytes += piece.length;
      if (!response.write(piece)) {
        response.once("drain", more);
        return;
      }
    }
  };
  more();
  return { bytes: () => bytes };
}

const text = (value: string) => ({ "content-type": value });

describe("an agent that sends", () => {
  const bodies: Readonly<Record<string, string>> = {
    "a hundred thousand levels": `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}}}`,
    "a batch": '[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]',
    "half a message": '{"jsonrpc":"2.0","id":1,"method":"tools/ca',
    "arguments that are text":
      '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":"{}"}}',
    nothing: "",
    "a name twice":
      '{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"delete"}}',
  };
  for (const [what, body] of Object.entries(bodies))
    test(`${what} is answered with an error of JSON-RPC, and recorded`, async (t) => {
      const room = await start(t, answerAs());
      const answer = await room.post(body);
      assert.equal(answer.status, 400);
      assert.ok((messageIn(answer).error?.code ?? 0) < -32_000);
      assert.equal(room.room.operations()[0]?.body.decision?.reason, "Unrecognised");
      assert.equal(room.server.received.length, 0);
      await isUnharmed(room);
    });

  test("more than four megabytes is told so before it is read to its end", async (t) => {
    const room = await start(t, answerAs());
    const answer = await room.post(
      `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{"a":"${"x".repeat(5 * 1024 * 1024)}"}}}`,
    );
    assert.equal(answer.status, 413);
    assert.match(messageIn(answer).error?.message ?? "", /at most 4194304 bytes/);
    assert.equal(room.room.refusals[0]?.code, "TooLarge");
    await isUnharmed(room);
  });

  test("an encoded body is not looked into, and so not let through", async (t) => {
    const room = await start(t, answerAs());
    const answer = await room.post('{"jsonrpc":"2.0","id":1,"method":"tools/list"}', {
      "content-encoding": "gzip",
    });
    assert.equal(answer.status, 400);
    await isUnharmed(room);
  });
});

describe("a server that sends", () => {
  const answers: Readonly<Record<string, Answerer>> = {
    "a line of fifty megabytes in its events": (_received, response) =>
      pour(response.writeHead(200, text("text/event-stream")), "data: "),
    "fifty megabytes of one event": (_received, response) =>
      pour(response.writeHead(200, text("text/event-stream")), `data: ${"x\ndata: ".repeat(10)}`),
    "fifty megabytes of JSON": (_received, response) =>
      pour(
        response.writeHead(200, text("application/json")),
        '{"jsonrpc":"2.0","id":1,"result":{"x":"',
      ),
    "no JSON": (_received, response) =>
      response.writeHead(200, text("application/json")).end("<html>"),
    "half an answer": (_received, response) =>
      response.writeHead(200, text("application/json")).end('{"jsonrpc":"2.0","id":1,"result":{'),
    "a batch": (_received, response) =>
      response
        .writeHead(200, text("application/json"))
        .end('[{"jsonrpc":"2.0","id":1,"result":{}}]'),
    "a result twice": (_received, response) =>
      response
        .writeHead(200, text("application/json"))
        .end('{"jsonrpc":"2.0","id":1,"result":{"content":[]},"result":{"content":[]}}'),
    "a hundred thousand levels": (_received, response) =>
      response
        .writeHead(200, text("application/json"))
        .end(
          `{"jsonrpc":"2.0","id":1,"result":{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}}`,
        ),
    "another's answer": (_received, response) =>
      response
        .writeHead(200, text("application/json"))
        .end('{"jsonrpc":"2.0","id":77,"result":{"content":[{"type":"text","text":"theirs"}]}}'),
    "events that are no JSON": (_received, response) =>
      response.writeHead(200, text("text/event-stream")).end(event("hello")),
  };
  for (const [what, answer] of Object.entries(answers))
    test(`${what} is not passed on: the call ends with a result that says so`, async (t) => {
      let poured: { bytes: () => number } | undefined;
      const room = await start(
        t,
        (received, response) => (poured = answer(received, response) as unknown as typeof poured),
      );
      const said = messageIn(
        await room.post({
          jsonrpc: "2.0",
          id: 1,
          method: "tools/call",
          params: { name: "search" },
        }),
      );
      assert.equal(
        said.result === undefined ? said.error !== undefined : toolResult(said).isError,
        true,
      );
      assert.doesNotMatch(JSON.stringify(said), /theirs|html|hello/);
      assert.equal(room.recorded("tools/call search").length, 1);
      if (what.includes("fifty"))
        assert.ok(
          (poured?.bytes() ?? Infinity) < 24 * 1024 * 1024,
          `${poured?.bytes()} bytes were taken`,
        );
      await isUnharmed(room);
    });

  const refusedAtOnce: Readonly<Record<string, Answerer>> = {
    "a page": (_received, response) => response.writeHead(200, text("text/html")).end("<html>"),
    "an encoded answer": (_received, response) =>
      response.writeHead(200, { ...text("application/json"), "content-encoding": "gzip" }).end("x"),
  };
  for (const [what, answer] of Object.entries(refusedAtOnce))
    test(`${what} is refused before any of it is passed on`, async (t) => {
      const room = await start(t, answer);
      const refused = await room.call("search");
      assert.ok(refused.isError);
      assert.equal(refused.refusal?.["code"], "UpstreamProtocol");
      assert.equal(room.recorded("tools/call search")[0]?.body.outcome?.error, "UpstreamProtocol");
      await isUnharmed(room);
    });

  test("events and then nothing is broken off where its stream breaks", async (t) => {
    const room = await start(t, (_received, response) => {
      response.writeHead(200, text("text/event-stream"));
      response.write(
        event(
          '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}',
        ),
      );
      setTimeout(() => response.destroy(), 20);
    });
    await assert.rejects(
      room.post({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "search" } }),
    );
    assert.equal(room.recorded("tools/call search")[0]?.body.outcome?.status, "error");
    await isUnharmed(room);
  });

  test("nothing at all, because nobody listens: the call ends with a result that says so", async (t) => {
    const room = await start(t, answerAs());
    await isUnharmed(room);
    await room.server.close();
    const refused = await room.call("search");
    assert.ok(refused.isError);
    assert.equal(refused.refusal?.["code"], "UpstreamUnreachable");
  });
});
