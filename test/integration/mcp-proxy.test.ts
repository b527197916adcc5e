// MCP through the room: what is decided, filtered, refused, masked and recorded, of both generations of the protocol.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { BundleRule, McpMatch } from "../../policy/bundle.ts";
import { answerAs, event, resultOf } from "../mcp-server/server.ts";
import {
  startMcpRoom,
  messageIn,
  messagesIn,
  modernHeaders,
  modernMeta,
  toolResult,
} from "./mcp-fixture.ts";

const allow = (mcp: McpMatch): Partial<BundleRule> => ({ name: "allow", action: "Allow", mcp });
const onlySearch = [allow({ tools: ["search"] })];
const redact = { transform: { kind: "redact" }, policy: "agents/policy" } as const;
const emails = [{ detector: "email", ...redact }];
const lengthOf = (params: unknown): number => Number(/"n":(\d+)/.exec(JSON.stringify(params))?.[1]);
const names = (list: unknown): unknown[] => (list as { name: string }[]).map(({ name }) => name);

describe("a tool call", () => {
  test("that a rule allows goes through with the credential of the Connection, and is recorded before it leaves", async (t) => {
    const { call, server, recorded, room } = await startMcpRoom(t, onlySearch, {
      lease: { kind: "headers", headers: [{ name: "Authorization", value: "Bearer real" }] },
    });
    const result = await call("search", { q: "a" });
    assert.equal(result.text, 'called with {"q":"a"}');
    assert.equal(server.received[0]?.headers.authorization, "Bearer real");
    const [operation] = recorded("tools/call search");
    assert.equal(operation?.body.operation?.kind, "mcp");
    assert.deepEqual(operation?.body.operation?.facts, {
      method: "tools/call",
      fromServer: false,
      tool: "search",
      resource: "",
      prompt: "",
      version: "",
    });
    assert.equal(operation?.body.outcome?.status, "ok");
    assert.equal(room.events().findIndex(({ type }) => type === "intent") >= 0, true);
    assert.deepEqual(operation?.contents, []);
  });

  test("that no rule allows is answered by a result that says so, and never reaches the server", async (t) => {
    const { call, server, recorded } = await startMcpRoom(t, onlySearch);
    const result = await call("delete");
    assert.ok(result.isError);
    assert.match(result.text, /no rule allows tools\/call delete/);
    assert.deepEqual(result.refusal, {
      code: "Denied",
      policy: "",
      rule: "",
      reason: "NoMatchingRule",
    });
    assert.deepEqual(server.methods(), []);
    assert.equal(recorded("tools/call delete")[0]?.body.decision?.verdict, "deny");
  });

  test("is decided on its arguments", async (t) => {
    const { call, server } = await startMcpRoom(t, [
      allow({ tools: ["read_file"], arguments: { path: "/data/[a-z]+" } }),
    ]);
    assert.equal((await call("read_file", { path: "/data/a" })).isError, false);
    assert.ok((await call("read_file", { path: "/etc/passwd" })).isError);
    assert.ok((await call("read_file", {})).isError);
    assert.equal(server.received.length, 1);
  });

  test("that a person has to let pass waits, and passes once for the same call, whatever its id", async (t) => {
    const { rpc, call, room } = await startMcpRoom(t, [
      {
        name: "person",
        action: "RequireApproval",
        mcp: { tools: ["search"] },
        approval: { approvers: [], count: 1, holdSeconds: 1, validForSeconds: 60 },
      },
    ]);
    room.gate.decide = () => "Denied";
    const refused = await call("search", { q: "a" });
    assert.ok(refused.isError);
    assert.equal(refused.refusal?.["code"], "ApprovalDenied");
    room.gate.decide = () => "Approved";
    const answer = await rpc("tools/call", {
      name: "search",
      arguments: { q: "a" },
      _meta: { progressToken: 7 },
    });
    assert.equal(toolResult(answer).text, 'called with {"q":"a"}');
    const digests = room.gate.requests.map(({ digest }) => digest);
    assert.equal(digests[0], digests[1]);
    assert.match(room.gate.requests[0]?.detail ?? "", /"name":"search"/);
    await call("search", { q: "b" });
    assert.notEqual(room.gate.requests[2]?.digest, digests[0]);
  });

  test("that fails leaves its failure in the record", async (t) => {
    const answer = answerAs("json", () => ({
      content: [{ type: "text", text: "no" }],
      isError: true,
    }));
    const { call, recorded } = await startMcpRoom(t, onlySearch, { answer });
    assert.ok((await call("search")).isError);
    assert.deepEqual(recorded("tools/call search")[0]?.body.outcome?.error, "ToolError");
  });
});

describe("other requests", () => {
  test("that are refused are answered by an error of JSON-RPC", async (t) => {
    const { rpc, post } = await startMcpRoom(t, onlySearch);
    const { error, id } = await rpc("resources/read", { uri: "file:///etc/b" });
    assert.equal(error?.code, 403);
    assert.equal(id, 1);
    assert.match(error?.message ?? "", /no rule allows resources\/read file:\/\/\/etc\/b/);
    const notified = await post({ jsonrpc: "2.0", method: "notifications/other" });
    assert.equal(notified.status, 403);
  });

  for (const form of ["json", "events"] as const)
    test(`lists lose what the policy does not allow, as ${form}`, async (t) => {
      const { rpc, server } = await startMcpRoom(
        t,
        [
          allow({ tools: ["search", "read_*"] }),
          allow({ resources: ["file:///data/*"] }),
          allow({ prompts: ["review"] }),
        ],
        { answer: answerAs(form) },
      );
      const listed = await rpc("tools/list");
      assert.deepEqual(names(listed.result?.["tools"]), ["search", "read_file"]);
      assert.equal(listed.result?.["nextCursor"], "2");
      assert.deepEqual(names((await rpc("resources/list")).result?.["resources"]), ["a"]);
      assert.deepEqual(
        names((await rpc("resources/templates/list")).result?.["resourceTemplates"]),
        ["data"],
      );
      assert.deepEqual(names((await rpc("prompts/list")).result?.["prompts"]), ["review"]);
      assert.equal(server.received.length, 4);
    });

  test("what was not filtered goes out as the server wrote it", async (t) => {
    const text =
      '{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"x"}],"n":12345678901234567890,"e":1e2}}';
    const { post } = await startMcpRoom(t, onlySearch, {
      answer: (_received, response) =>
        response.writeHead(200, { "content-type": "application/json" }).end(text),
    });
    const answer = await post({
      jsonrpc: "2.0",
      id: 1,
      method: "tools/call",
      params: { name: "search" },
    });
    assert.equal(answer.text, text);
  });
});

describe("messages without a session", () => {
  test("are decided, filtered and answered like those of a session", async (t) => {
    const { rpc, server } = await startMcpRoom(t, onlySearch);
    const listed = await rpc("tools/list", modernMeta, modernHeaders("tools/list"));
    assert.deepEqual(names(listed.result?.["tools"]), ["search"]);
    const params = { name: "delete", ...modernMeta };
    const { result } = await rpc("tools/call", params, modernHeaders("tools/call", "delete"));
    assert.equal(result?.["resultType"], "complete");
    assert.equal(result?.["isError"], true);
    assert.deepEqual(server.methods(), ["tools/list"]);
  });

  test("discovery names the versions that are spoken here, too", async (t) => {
    const { rpc } = await startMcpRoom(t, onlySearch);
    const { result } = await rpc("server/discover", modernMeta, modernHeaders("server/discover"));
    assert.deepEqual(result?.["supportedVersions"], ["2026-07-28"]);
  });

  test("whose headers say something else are refused as the protocol says", async (t) => {
    const { post, server, recorded } = await startMcpRoom(t, onlySearch);
    const body = {
      jsonrpc: "2.0",
      id: 5,
      method: "tools/call",
      params: { name: "delete", ...modernMeta },
    };
    const answer = await post(body, modernHeaders("tools/call", "search"));
    assert.equal(answer.status, 400);
    assert.equal(messageIn(answer).error?.code, -32_020);
    assert.equal(messageIn(answer).id, 5);
    assert.equal(server.received.length, 0);
    assert.equal(recorded("tools/call")[0]?.body.decision?.reason, "Unrecognised");
  });

  test("a server that wants something of the agent in its answer is heard only where a rule names it", async (t) => {
    const answer = answerAs("json", () => ({
      resultType: "input_required",
      inputRequests: { a: { method: "elicitation/create", params: { message: "Your password?" } } },
    }));
    const refused = await startMcpRoom(t, onlySearch, { answer });
    const headers = modernHeaders("tools/call", "search");
    const params = { name: "search", ...modernMeta };
    const said = toolResult(await refused.rpc("tools/call", params, headers));
    assert.ok(said.isError);
    assert.match(said.text, /elicitation\/create/);
    assert.equal(
      refused.recorded("the server's request elicitation/create")[0]?.body.decision?.verdict,
      "deny",
    );
    const allowed = await startMcpRoom(
      t,
      [...onlySearch, allow({ methods: ["elicitation/create"] })],
      { answer },
    );
    const { result } = await allowed.rpc("tools/call", params, headers);
    assert.equal(result?.["resultType"], "input_required");
  });
});

describe("masks", () => {
  const answer = answerAs("json", (message) =>
    message.method === "tools/call"
      ? {
          content: [{ type: "text", text: "write to ann@example.com" }],
          structuredContent: { to: ["ann@example.com"] },
        }
      : resultOf(message),
  );

  test("cover what a server answers, whole or as an event, and what is recorded", async (t) => {
    for (const form of ["json", "events"] as const) {
      const { rpc, recorded } = await startMcpRoom(t, onlySearch, {
        answer: answerAs(form, () => ({
          content: [{ type: "text", text: "write to ann@example.com" }],
          structuredContent: { to: ["ann@example.com"] },
        })),
        detectMasks: emails,
        detail: "Full",
      });
      const { result } = await rpc("tools/call", { name: "search", arguments: { q: "a" } });
      assert.doesNotMatch(JSON.stringify(result), /ann@example/);
      const [operation] = recorded("tools/call search");
      assert.deepEqual(operation?.body.outcome?.masked, { detected: { email: 2 } });
      const texts = operation?.contents.map(({ part, text }) => [part, text]) ?? [];
      assert.deepEqual(
        texts.map(([part]) => part),
        ["request", "response"],
      );
      assert.match(String(texts[0]?.[1]), /"arguments":\{"q":"a"\}/);
      assert.match(String(texts[1]?.[1]), /write to/);
      assert.doesNotMatch(JSON.stringify(texts), /ann@example/);
    }
  });

  test("of requests change what is sent, headers that mirror it included; what was asked has to be allowed as well", async (t) => {
    const { rpc, server } = await startMcpRoom(t, [allow({ tools: ["search"] })], {
      answer,
      requestMasks: emails,
    });
    const params = { name: "search", arguments: { to: "ann@example.com" }, ...modernMeta };
    await rpc("tools/call", params, {
      ...modernHeaders("tools/call", "search"),
      "mcp-param-to": "ann@example.com",
    });
    const [received] = server.received;
    assert.doesNotMatch(received?.body ?? "", /ann@example/);
    const sent = /"to":"([^"]*)"/.exec(received?.body ?? "")?.[1];
    assert.equal(received?.headers["mcp-param-to"], sent);
    const denied = await startMcpRoom(
      t,
      [
        allow({}),
        {
          name: "deny",
          action: "Deny",
          mcp: { tools: ["search"], arguments: { to: ".*@example\\.com" } },
        },
      ],
      { answer, requestMasks: emails },
    );
    assert.ok((await denied.call("search", { to: "ann@example.com" })).isError);
    assert.equal(denied.server.received.length, 0);
  });
});

describe("results are bounded", () => {
  test("by limits.bytesPerResult, one by one", async (t) => {
    const answer = answerAs("events", ({ params }) => ({
      content: [{ type: "text", text: "x".repeat(lengthOf(params)) }],
    }));
    const { call, recorded } = await startMcpRoom(t, onlySearch, {
      answer,
      limits: { bytesPerResult: 1_000 },
    });
    assert.equal((await call("search", { n: 500 })).isError, false);
    const long = await call("search", { n: 5_000 });
    assert.ok(long.isError);
    assert.match(long.text, /more than 1000 bytes/);
    assert.equal(recorded("tools/call search").at(-1)?.body.outcome?.error, "LimitExceeded");
  });
});

describe("an answer", () => {
  test("that came after the rules changed is held against those in force then", async (t) => {
    let finish = (): void => {};
    const { call, room, server } = await startMcpRoom(t, onlySearch, {
      answer: ({ message }, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write(":\n\n");
        finish = () =>
          response.end(
            event(
              JSON.stringify({
                jsonrpc: "2.0",
                id: message?.id,
                result: { content: [{ type: "text", text: "late" }] },
              }),
            ),
          );
      },
    });
    const calling = call("search");
    while (server.received.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const { prepare } = await import("../../policy/decide.ts");
    const live = room.gate.live;
    assert.ok(live);
    const bundle = { ...live.bundle, rules: [] };
    room.gate.live = { ...live, bundle, prepared: prepare(bundle) };
    finish();
    const result = await calling;
    assert.ok(result.isError);
    assert.doesNotMatch(result.text, /late/);
  });

  test("to another request than the one that was sent is none", async (t) => {
    const { call } = await startMcpRoom(t, onlySearch, {
      answer: (_received, response) =>
        response
          .writeHead(200, { "content-type": "text/event-stream" })
          .end(
            event(
              '{"jsonrpc":"2.0","id":999,"result":{"content":[{"type":"text","text":"other"}]}}',
            ) + event('{"jsonrpc":"2.0","id":1,"result":{"content":[]}}'),
          ),
    });
    assert.equal((await call("search")).text, "");
  });
});

test("what a tool's answer brings into a session counts for the next call", async (t) => {
  const { call } = await startMcpRoom(t, [
    { name: "read", action: "Allow", mcp: { tools: ["search"] }, marks: ["pii"] },
    { name: "send", action: "Allow", mcp: { tools: ["send"] } },
    {
      name: "not-after",
      action: "Deny",
      mcp: { tools: ["send"] },
      when: "session.marks.exists(m, m == 'pii')",
      message: "Nothing leaves once personal data was read.",
    },
  ]);
  assert.equal((await call("send")).isError, false);
  assert.equal((await call("search")).isError, false);
  assert.match((await call("send")).text, /Nothing leaves/);
});

test("messages in a stream that a client does not see keep their place, so that it can resume there", async (t) => {
  const { post } = await startMcpRoom(t, onlySearch, {
    answer: ({ message }, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("id: a0\ndata: \n\n");
      response.write(
        event(
          '{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///secret"}}',
          "a1",
        ),
      );
      response.write(
        event(
          '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}',
          "a2",
        ),
      );
      response.end(
        event(JSON.stringify({ jsonrpc: "2.0", id: message?.id, result: { content: [] } }), "a3"),
      );
    },
  });
  const { text } = await post({
    jsonrpc: "2.0",
    id: 1,
    method: "tools/call",
    params: { name: "search" },
  });
  assert.deepEqual(
    [...text.matchAll(/^id: (.*)$/gm)].map(([, id]) => id),
    ["a0", "a1", "a2", "a3"],
  );
  assert.doesNotMatch(text, /secret/);
  assert.equal(messagesIn(text).length, 2);
});
