import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { recogniseHttp } from "../http/recognise.ts";
import type { JsonObject } from "../operation.ts";
import { encoded } from "./headers.ts";
import type { Headers } from "./headers.ts";
import { recogniseMcp } from "./recognise.ts";
import type { McpReading } from "./recognise.ts";

const modern = "2026-07-28";

interface Sent {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Headers;
  readonly body?: string;
  readonly original?: string;
  readonly answers?: Readonly<Record<string, string>>;
}

function read({
  method = "POST",
  path = "/mcp",
  headers = {},
  answers = {},
  ...sent
}: Sent): McpReading {
  const all = method === "POST" ? { "content-type": "application/json", ...headers } : headers;
  return recogniseMcp({
    http: recogniseHttp({ method, host: "tools.example.com", target: path, headers: all }),
    headers: all,
    basePath: "/mcp",
    answers: (id) => answers[id],
    ...sent,
  });
}

function request(method: string, params: JsonObject = {}, more: JsonObject = {}): string {
  return JSON.stringify({ jsonrpc: "2.0", id: 1, method, params, ...more });
}

const call = request("tools/call", { name: "search", arguments: { path: "/data/a", limit: 3 } });

/** A message of the generation without sessions, with the headers that belong to it. */
function modernSent(method: string, params: JsonObject, headers: Headers = {}): Sent {
  const meta = { "io.modelcontextprotocol/protocolVersion": modern };
  const name = params["name"] ?? params["uri"];
  return {
    body: request(method, { ...params, _meta: meta }),
    headers: {
      "mcp-protocol-version": modern,
      "mcp-method": method,
      ...(typeof name === "string" && { "mcp-name": encoded(name) }),
      ...headers,
    },
  };
}

function refusal(sent: Sent): { code: number; why: string } {
  const { operation, problem } = read(sent);
  assert.ok(operation.unrecognised !== undefined && problem !== undefined, "it was understood");
  return { code: problem.code, why: operation.unrecognised };
}

describe("what a message is about", () => {
  test("is its method, and the tool, resource or prompt that it names", () => {
    const { operation } = read({ body: call });
    assert.equal(operation.unrecognised, undefined);
    assert.deepEqual(operation.accesses, [
      {
        kind: "mcp",
        method: "tools/call",
        tool: "search",
        arguments: { path: "/data/a", limit: 3 },
      },
    ]);
    assert.equal(operation.summary, "tools/call search");
    const resource = read({ body: request("resources/read", { uri: "file:///a" }) }).operation;
    assert.equal(resource.facts.resource, "file:///a");
    const prompt = read({
      body: request("prompts/get", { name: "review", arguments: { a: "b" } }),
    });
    assert.equal(prompt.operation.facts.prompt, "review");
  });

  test("of a stream, its resumption and the end of a session is said by the transport", () => {
    const methods = [
      read({ method: "GET" }),
      read({ method: "GET", headers: { "last-event-id": "7" } }),
      read({ method: "DELETE", headers: { "mcp-session-id": "s" } }),
    ].map(({ operation }) => operation.facts.method);
    assert.deepEqual(methods, ["stream/open", "stream/resume", "session/end"]);
  });

  test("of an answer of the client is the request of the server that it answers, which has to have been let through", () => {
    const body = JSON.stringify({ jsonrpc: "2.0", id: "s1", result: { roots: [] } });
    const { operation } = read({ body, answers: { s1: "roots/list" } });
    assert.deepEqual(operation.accesses, [{ kind: "mcp", method: "roots/list", fromServer: true }]);
    assert.match(refusal({ body }).why, /answers no request of the server/);
  });

  test("is asked twice where masks changed it: as it was, and as it is sent", () => {
    const original = request("tools/call", { name: "search", arguments: { path: "/secret" } });
    const { operation } = read({ body: call, original });
    assert.deepEqual(
      operation.accesses.map((access) => access.arguments?.["path"]),
      ["/data/a", "/secret"],
    );
  });

  test("of a subscription is each resource that it names", () => {
    const listen = modernSent("subscriptions/listen", {
      notifications: { toolsListChanged: true, resourceSubscriptions: ["file:///a", "file:///b"] },
    });
    assert.deepEqual(
      read(listen).operation.accesses.map(({ resource, basic }) => [resource, basic]),
      [
        [undefined, true],
        ["file:///a", undefined],
        ["file:///b", undefined],
      ],
    );
  });
});

describe("what is refused because readers differ about it", () => {
  const tricks: Readonly<Record<string, string>> = {
    "a batch": `[${call}]`,
    "a name twice": call.replace('"name":"search"', '"name":"search","name":"delete"'),
    "an escaped name twice": call.replace(
      '"name":"search"',
      '"name":"search","n\\u0061me":"delete"',
    ),
    "a method in capitals beside it": request("tools/list", {}, { Method: "tools/call" }),
    "a parameter in capitals": request("tools/call", { Name: "delete", name: "search" }),
    "a parameter with a Kelvin sign": request("tools/call", {
      name: "search",
      tasK: 1,
    } as JsonObject),
    "a parameter in capitals alone": request("tools/call", { NAME: "search" }),
    "a tool without a name": request("tools/call", { arguments: {} }),
    "a tool whose name is no text": request("tools/call", { name: ["search"] }),
    "arguments that are text": request("tools/call", { name: "search", arguments: "{}" }),
    "an id that is a fraction": request("tools/list", {}, { id: 1.5 }),
    "an id that is null": request("tools/list", {}, { id: null }),
    "an id that is too large": call.replace('"id":1', '"id":12345678901234567890'),
    "another version of JSON-RPC": request("tools/list", {}, { jsonrpc: "2.1" }),
    "a request that is an answer": request("tools/list", {}, { result: {} }),
    "params that are a list": request("tools/list", [] as unknown as JsonObject),
    "a method that is no name": request("tools/call\u0000"),
    "no JSON": "{",
    "a byte order mark": `\uFEFF${call}`,
    nothing: "",
    "deep nesting": request("tools/call", {
      name: "a",
      arguments: JSON.parse(`{"a":${"[".repeat(200)}${"]".repeat(200)}}`),
    }),
  };
  for (const [what, body] of Object.entries(tricks))
    test(what, () => assert.ok(refusal({ body }).code < -32_000));

  test("a hundred thousand levels, and a number of a million digits, cost no more than their bytes", () => {
    assert.match(
      refusal({ body: `${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}` }).why,
      /JSON|nested/,
    );
    const long = request("tools/call", { name: "a" }).replace(
      '"params":{',
      `"params":{"n":${"9".repeat(1_000_000)},`,
    );
    assert.match(refusal({ body: long }).why, /number/);
  });

  test("another content type, another path, another method of HTTP", () => {
    assert.match(
      refusal({ body: call, headers: { "content-type": "text/plain" } }).why,
      /application\/json/,
    );
    assert.match(refusal({ body: call, path: "/mcp/admin" }).why, /only the path of its endpoint/);
    assert.match(refusal({ body: call, method: "PUT" }).why, /no part of the protocol's transport/);
    assert.match(refusal({ body: call, path: "/mcp/%2e%2e/admin" }).why, /./);
  });
});

describe("headers have to say what the message says", () => {
  test("of a message without a session: version, method and name, encoded or not", () => {
    for (const name of ["search", "sucheé", " padded ", "=?base64?literal?="]) {
      const { operation, claims } = read(modernSent("tools/call", { name }));
      assert.equal(operation.unrecognised, undefined);
      assert.equal(claims?.generation, "sessionless");
      assert.equal(operation.facts.version, modern);
    }
    const tricks: Readonly<Record<string, Headers>> = {
      "another method": { "mcp-method": "tools/list" },
      "another tool": { "mcp-name": "delete" },
      "a tool in another case": { "mcp-name": "Search" },
      "no base64": { "mcp-name": "=?base64?!!?=" },
      "another version": { "mcp-protocol-version": "2025-11-25" },
      "two methods": { "mcp-method": ["tools/call", "tools/list"] },
      "a parameter of no argument": { "mcp-param-region": "us-west1" },
    };
    for (const [what, headers] of Object.entries(tricks))
      assert.equal(
        refusal(modernSent("tools/call", { name: "search" }, headers)).code,
        -32_020,
        what,
      );
    const { headers, ...bare } = modernSent("tools/call", { name: "search" });
    assert.equal(refusal(bare).code, -32_020, "none at all");
    const { "mcp-name": _, ...unnamed } = headers ?? {};
    assert.equal(refusal({ ...bare, headers: unnamed }).code, -32_020, "no name");
  });

  test("arguments that are mirrored in headers are found among the arguments", () => {
    const params = {
      name: "sql",
      arguments: { region: "us-west1", deep: { limit: 42, all: true } },
    };
    const headers = {
      "mcp-param-region": "us-west1",
      "mcp-param-limit": "42.0",
      "mcp-param-all": "true",
    };
    assert.equal(read(modernSent("tools/call", params, headers)).operation.unrecognised, undefined);
  });

  test("older versions need none, and are not believed when they lie", () => {
    assert.equal(
      read({ body: call, headers: { "mcp-protocol-version": "2025-06-18" } }).claims?.version,
      "2025-06-18",
    );
    assert.equal(refusal({ body: call, headers: { "mcp-method": "tools/list" } }).code, -32_020);
    assert.equal(refusal({ body: call, headers: { "mcp-name": "delete" } }).code, -32_020);
  });

  test("every name of a tool comes through the header as it is", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 64, unit: "grapheme" }), (name) => {
        const header = encoded(name);
        assert.match(header, /^[\t -~]+$/);
        assert.equal(read(modernSent("tools/call", { name })).operation.unrecognised, undefined);
      }),
    );
  });
});

describe("versions", () => {
  test("that are not known are refused, in the handshake as everywhere", () => {
    const hello = (protocolVersion: string) =>
      request("initialize", { protocolVersion, capabilities: {}, clientInfo: {} });
    for (const version of ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
      assert.equal(read({ body: hello(version) }).operation.facts.version, version);
    assert.equal(refusal({ body: hello("2031-01-01") }).code, -32_602);
    assert.equal(
      refusal({ body: call, headers: { "mcp-protocol-version": "2031-01-01" } }).code,
      -32_022,
    );
  });

  test("of both generations are not mixed in one message", () => {
    const session = { "mcp-session-id": "s1" };
    assert.match(refusal(modernSent("tools/list", {}, session)).why, /cannot be mixed/);
    assert.match(
      refusal(modernSent("initialize", { protocolVersion: modern })).why,
      /cannot be mixed/,
    );
    const resume = { "mcp-protocol-version": modern, "last-event-id": "1" };
    assert.match(refusal({ method: "GET", headers: resume }).why, /cannot be mixed/);
    assert.match(
      refusal({ method: "DELETE", headers: { "mcp-protocol-version": modern } }).why,
      /cannot be mixed/,
    );
  });
});
