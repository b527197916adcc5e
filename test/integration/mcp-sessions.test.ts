// Sessions of MCP through the room: what servers ask of the agent, streams that are resumed, the older transport, generations that are mixed.
import assert from "node:assert/strict";
import { request } from "node:http";
import type { ServerResponse } from "node:http";
import { describe, test } from "node:test";
import type { TestContext } from "node:test";
import { prepare } from "../../policy/decide.ts";
import type { BundleRule, McpMatch } from "../../policy/bundle.ts";
import { answerAs, event, resultOf, session } from "../mcp-server/server.ts";
import type { Answerer, McpServer, Rpc } from "../mcp-server/server.ts";
import { eventually } from "./http-proxy-fixture.ts";
import type { TestRoom } from "./http-proxy-fixture.ts";
import {
  messageIn,
  messagesIn,
  modern,
  modernHeaders,
  modernMeta,
  startMcpRoom,
  toolResult,
} from "./mcp-fixture.ts";

const allow = (mcp: McpMatch): Partial<BundleRule> => ({ name: "allow", action: "Allow", mcp });
const onlySearch = [allow({ tools: ["search"] })];
const inSession = { "mcp-session-id": session };
const hello = {
  protocolVersion: "2025-11-25",
  capabilities: { sampling: {}, elicitation: {}, roots: { listChanged: true } },
  clientInfo: { name: "t", version: "1" },
};
const asks = (id: string, method: string): string =>
  JSON.stringify({ jsonrpc: "2.0", id, method, params: {} });

interface Stream {
  text(): string;
  close(): void;
}

/** A GET whose answer goes on. */
function open(
  t: TestContext,
  room: TestRoom,
  path: string,
  headers: Record<string, string> = {},
): Stream {
  let text = "";
  const outgoing = request({
    host: "127.0.0.1",
    port: room.port,
    path,
    headers: { accept: "text/event-stream", ...headers },
  });
  outgoing.on("error", () => {});
  outgoing.on("response", (incoming) => {
    incoming.on("error", () => {});
    incoming.on("data", (chunk: Buffer) => (text += chunk.toString("utf8")));
  });
  outgoing.end();
  t.after(() => outgoing.destroy());
  return { text: () => text, close: () => outgoing.destroy() };
}

/** POSTs are answered as ever; the GET's answer is the test's to write. */
function withStream(
  opened: (response: ServerResponse, url: string) => void,
  posts: Answerer = answerAs(),
): Answerer {
  return (received, response) => {
    if (received.method !== "GET") return posts(received, response);
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(":\n\n");
    opened(response, received.url);
  };
}

const namesIn = (message: Rpc | undefined): string[] =>
  [...JSON.stringify(message).matchAll(/"name":"(\w+)"/g)].map(([, name = ""]) => name);

const answersOf = (server: McpServer): Rpc[] =>
  server.received.flatMap(({ message }) =>
    message !== undefined && message.method === undefined ? [message] : [],
  );

describe("what a server asks of the agent", () => {
  test("is not announced as possible where no rule allows it", async (t) => {
    const { rpc, server } = await startMcpRoom(t, [
      ...onlySearch,
      allow({ methods: ["roots/list"] }),
    ]);
    await rpc("initialize", hello);
    assert.deepEqual(server.received[0]?.message?.params?.["capabilities"], {
      roots: { listChanged: true },
    });
  });

  test("is answered in the agent's place where no rule allows it, so that the server does not wait, and is recorded", async (t) => {
    let stream: ServerResponse | undefined;
    const { room, server, recorded } = await startMcpRoom(t, onlySearch, {
      answer: withStream((response) => (stream = response)),
    });
    const seen = open(t, room, "/mcp", inSession);
    await eventually("the stream opens", () => stream !== undefined);
    stream?.write(event(asks("s1", "sampling/createMessage"), "7"));
    await eventually("the server hears", () => answersOf(server).length === 1);
    const [answer] = answersOf(server);
    assert.equal(answer?.id, "s1");
    assert.equal(answer?.error?.code, -32_601);
    assert.match(answer?.error?.message ?? "", /sampling\/createMessage/);
    assert.equal(server.received.at(-1)?.headers["mcp-session-id"], session);
    await eventually("the place is kept", () => seen.text().includes("id: 7"));
    assert.deepEqual(messagesIn(seen.text()), []);
    assert.equal(
      recorded("the server's request sampling/createMessage")[0]?.body.decision?.verdict,
      "deny",
    );
  });

  test("passes where a rule names it, and so does the agent's answer, once", async (t) => {
    let stream: ServerResponse | undefined;
    const { room, server, post, recorded } = await startMcpRoom(
      t,
      [...onlySearch, allow({ methods: ["roots/list"] })],
      { answer: withStream((response) => (stream = response)) },
    );
    const seen = open(t, room, "/mcp", inSession);
    await eventually("the stream opens", () => stream !== undefined);
    const answer = { jsonrpc: "2.0", id: "r1", result: { roots: [] } };
    assert.equal((await post(answer, inSession)).status, 400, "nothing was asked yet");
    stream?.write(event(asks("r1", "roots/list")));
    await eventually("the agent is asked", () => messagesIn(seen.text()).length === 1);
    assert.equal((await post(answer, inSession)).status, 202);
    assert.deepEqual(
      answersOf(server).map(({ id }) => id),
      ["r1"],
    );
    assert.equal((await post(answer, inSession)).status, 400, "it was answered");
    assert.equal(recorded("the server's request roots/list")[0]?.body.outcome?.status, "ok");
  });

  test("is broken off when it is a flood, and nobody else is the worse for it", async (t) => {
    const { post, rpc, room } = await startMcpRoom(t, onlySearch, {
      answer: (received, response) => {
        if (received.message?.method !== "tools/call") return answerAs()(received, response);
        response.writeHead(200, { "content-type": "text/event-stream" });
        for (let id = 0; id < 500; id++)
          response.write(event(asks(`f${id}`, "sampling/createMessage")));
        response.write(event(JSON.stringify({ jsonrpc: "2.0", id: 1, result: { content: [] } })));
      },
    });
    await assert.rejects(
      post({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "search" } }),
    );
    assert.ok(room.operations().length <= 40);
    assert.ok((await rpc("tools/list")).result !== undefined);
  });

  test("of a stream without a session is asked on the answer that it belongs to", async (t) => {
    const answer: Answerer = ({ message }, response) => {
      if (message?.method === undefined) return void response.writeHead(202).end();
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(event(asks("e1", "elicitation/create")));
      response.write(event(asks("p1", "ping")));
      response.end(
        event(JSON.stringify({ jsonrpc: "2.0", id: message.id, result: { content: [] } })),
      );
    };
    const { post, server } = await startMcpRoom(t, onlySearch, { answer });
    const { text } = await post({
      jsonrpc: "2.0",
      id: 1,
      method: "tools/call",
      params: { name: "search" },
    });
    assert.deepEqual(
      messagesIn(text).map(({ id }) => id),
      ["p1", 1],
    );
    await eventually("the server hears", () => answersOf(server).some(({ id }) => id === "e1"));
    assert.equal((await post({ jsonrpc: "2.0", id: "p1", result: {} })).status, 202);
  });
});

describe("a stream that is resumed", () => {
  const broken: Answerer = ({ message, method, headers }, response) => {
    if (method === "GET") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      for (const id of [11, 12, 99])
        response.write(
          event(
            JSON.stringify({
              jsonrpc: "2.0",
              id,
              result: { content: [{ type: "text", text: `result ${id}` }], tools: [] },
            }),
            `${headers["last-event-id"] as string}+`,
          ),
        );
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(
      event(
        JSON.stringify({
          jsonrpc: "2.0",
          method: "notifications/progress",
          params: { progressToken: message?.id, progress: 1 },
        }),
        String(message?.id),
      ),
    );
  };

  test("brings the answers of requests that went out, as the rules have it now, and no others", async (t) => {
    const { post, room, recorded } = await startMcpRoom(
      t,
      [allow({ tools: ["search", "delete"] })],
      { answer: broken },
    );
    for (const [id, name] of [
      [11, "search"],
      [12, "delete"],
    ] as const)
      await post({ jsonrpc: "2.0", id, method: "tools/call", params: { name } }, inSession);
    const live = room.gate.live;
    assert.ok(live);
    const bundle = {
      ...live.bundle,
      rules: live.bundle.rules.map((rule) => ({ ...rule, mcp: { tools: ["search"] } })),
    };
    room.gate.live = { ...live, bundle, prepared: prepare(bundle) };
    const seen = open(t, room, "/mcp", { ...inSession, "last-event-id": "11" });
    await eventually("the answers come", () => messagesIn(seen.text()).length === 3);
    const [first, second, third] = messagesIn(seen.text());
    assert.equal(toolResult(first ?? {}).text, "result 11");
    assert.ok(toolResult(second ?? {}).isError);
    assert.match(toolResult(second ?? {}).text, /no rule allows tools\/call delete/);
    assert.match(third?.error?.message ?? "", /belongs to no request/);
    assert.match(seen.text(), /id: 11\+/);
    assert.doesNotMatch(seen.text(), /result 12|result 99/);
    seen.close();
    await eventually("it is recorded", () => recorded("stream/resume").length === 1);
  });

  test("is not resumed where a Deny names that", async (t) => {
    const { room, server, post } = await startMcpRoom(
      t,
      [...onlySearch, { name: "no", action: "Deny", mcp: { methods: ["stream/resume"] } }],
      { answer: broken },
    );
    const seen = open(t, room, "/mcp", { ...inSession, "last-event-id": "11" });
    await eventually("it is refused", () => seen.text().includes("stream/resume"));
    assert.equal(server.received.length, 0);
    assert.equal(
      (await post({ jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "search" } }))
        .status,
      200,
    );
  });

  test("ends when the rules no longer allow any", async (t) => {
    let stream: ServerResponse | undefined;
    const { room } = await startMcpRoom(t, onlySearch, {
      answer: withStream((response) => (stream = response)),
    });
    const seen = open(t, room, "/mcp", inSession);
    await eventually("the stream opens", () => stream !== undefined && seen.text() !== "");
    const live = room.gate.live;
    assert.ok(live);
    const bundle = { ...live.bundle, rules: [] };
    room.gate.live = { ...live, bundle, prepared: prepare(bundle) };
    let isClosed = false;
    stream?.on("close", () => (isClosed = true));
    stream?.write(event('{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'));
    await eventually("the stream ends", () => isClosed);
    assert.doesNotMatch(seen.text(), /list_changed/);
  });
});

describe("generations and versions in one session", () => {
  test("are not mixed", async (t) => {
    const { post, rpc, server } = await startMcpRoom(t, onlySearch);
    await rpc("initialize", hello);
    const list = { jsonrpc: "2.0", id: 9, method: "tools/list", params: {} };
    const tries: [string, unknown, Record<string, string>][] = [
      [
        "the session in a message without one",
        { ...list, params: modernMeta },
        { ...inSession, ...modernHeaders("tools/list") },
      ],
      ["metadata in a message of the session", { ...list, params: modernMeta }, inSession],
      [
        "the other version in the header alone",
        list,
        { ...inSession, "mcp-protocol-version": modern },
      ],
    ];
    for (const [what, message, headers] of tries) {
      const answer = await post(message, headers);
      assert.equal(answer.status, 400, what);
      assert.equal(messageIn(answer).id, 9, what);
    }
    assert.deepEqual(server.methods(), ["initialize"]);
    assert.equal(
      (await post(list, { ...inSession, "mcp-protocol-version": "2025-11-25" })).status,
      200,
    );
  });

  test("a server that answers the handshake with a version that nobody knows is not believed", async (t) => {
    const { rpc } = await startMcpRoom(t, onlySearch, {
      answer: answerAs("json", (message) => ({
        ...resultOf(message),
        protocolVersion: "2031-01-01",
      })),
    });
    assert.match(
      (await rpc("initialize", hello)).error?.message ?? "",
      /version that is not known/,
    );
  });

  test("the end of a session is the server's to confirm, and what waited in it is forgotten", async (t) => {
    const { room } = await startMcpRoom(t, onlySearch, {
      answer: (_received, response) => response.writeHead(200).end(),
    });
    const { send } = await import("./http-proxy-fixture.ts");
    assert.equal(
      (await send(room, { method: "DELETE", path: "/mcp", headers: inSession })).status,
      200,
    );
  });
});

describe("the older transport, HTTP with SSE", () => {
  interface Older {
    readonly answer: Answerer;
    stream(): ServerResponse | undefined;
  }

  function older(place: string): Older {
    let stream: ServerResponse | undefined;
    return {
      stream: () => stream,
      answer: ({ method, message }, response) => {
        if (method === "GET") {
          stream = response;
          response.writeHead(200, { "content-type": "text/event-stream" });
          response.write(`event: endpoint\ndata: ${place}\n\n`);
          return;
        }
        response.writeHead(202).end("Accepted");
        if (message?.id !== undefined && message.method !== undefined)
          stream?.write(
            event(JSON.stringify({ jsonrpc: "2.0", id: message.id, result: resultOf(message) })),
          );
      },
    };
  }

  const placeIn = (text: string): string =>
    /^data: (\/sse\?chaperone-messages=.*)$/m.exec(text)?.[1] ?? "";

  test("is told a place of ours for its messages; answers on the stream are decided, filtered and refused there", async (t) => {
    const { answer } = older("/messages?sessionId=abc");
    const { room, server } = await startMcpRoom(t, onlySearch, { answer, path: "/sse" });
    const seen = open(t, room, "/sse");
    await eventually("the place is named", () => placeIn(seen.text()) !== "");
    const { send } = await import("./http-proxy-fixture.ts");
    const say = (message: unknown, path = placeIn(seen.text())) =>
      send(room, {
        method: "POST",
        path,
        headers: { "content-type": "application/json" },
        body: JSON.stringify(message),
      });
    const accepted = await say({ jsonrpc: "2.0", id: 1, method: "tools/list" });
    assert.equal(accepted.status, 202);
    assert.equal(server.received.at(-1)?.url, "/messages?sessionId=abc");
    await say({ jsonrpc: "2.0", id: 2, method: "tools/call", params: { name: "delete" } });
    await say({
      jsonrpc: "2.0",
      id: 3,
      method: "tools/call",
      params: { name: "search", arguments: { q: "a" } },
    });
    await eventually("all is answered", () => messagesIn(seen.text()).length === 3);
    const [listed, refused, called] = messagesIn(seen.text());
    assert.deepEqual(namesIn(listed), ["search"]);
    assert.ok(toolResult(refused ?? {}).isError);
    assert.equal(toolResult(called ?? {}).text, 'called with {"q":"a"}');
    assert.equal(server.received.filter(({ method }) => method === "POST").length, 2);
    seen.close();
    await eventually("the stream is recorded", () =>
      room.operations().some(({ body }) => body.operation?.summary === "stream/open"),
    );
    assert.equal(
      (await say({ jsonrpc: "2.0", id: 4, method: "tools/list" })).status,
      400,
      "its stream is over",
    );
  });

  for (const place of [
    "http://evil.example/messages",
    "//evil.example/messages",
    "https://127.0.0.1/messages",
  ])
    test(`is broken off when the server wants messages at ${place}`, async (t) => {
      const { room } = await startMcpRoom(t, onlySearch, {
        answer: older(place).answer,
        path: "/sse",
      });
      const seen = open(t, room, "/sse");
      await eventually(
        "it is recorded",
        () => room.operations()[0]?.body.outcome?.error === "UpstreamProtocol",
      );
      assert.doesNotMatch(seen.text(), /evil/);
    });
});
