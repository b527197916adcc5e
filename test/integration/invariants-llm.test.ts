// Invariant 2 for language models: what two readers could read differently never reaches the provider.
import assert from "node:assert/strict";
import { request, type OutgoingHttpHeaders } from "node:http";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import {
  createSystem,
  startServers,
  type Dev,
  type LocalSystem,
  type Servers,
} from "./local-system.ts";

let servers: Servers;
let system: LocalSystem;
let dev: Dev;

before(async () => {
  servers = await startServers({ steps: [{ text: "hello" }] });
  system = await createSystem(servers.targets);
  dev = await system.dev();
});

after(async () => {
  await dev?.stop();
  await system?.close();
  await servers?.close();
});

interface Attempt {
  readonly body?: string | Buffer;
  readonly headers?: OutgoingHttpHeaders;
  readonly path?: string;
  readonly method?: string;
}

function send(attempt: Attempt): Promise<{ readonly status: number; readonly text: string }> {
  const { hostname, port } = new URL(dev.openaiUrl);
  const body = Buffer.from(attempt.body ?? good);
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        hostname,
        port,
        method: attempt.method ?? "POST",
        path: attempt.path ?? "/v1/chat/completions",
        headers: {
          authorization: `Bearer ${dev.openaiKey}`,
          "content-type": "application/json",
          "content-length": body.length,
          ...attempt.headers,
        },
      },
      (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString()));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
        response.on("error", reject);
      },
    );
    sent.on("error", reject);
    sent.end(body);
  });
}

const messages = '"messages":[{"role":"user","content":"hi"}]';
const good = `{"model":"gpt-5-mini",${messages}}`;
const with_ = (more: string): Attempt => ({ body: `{"model":"gpt-5-mini",${more},${messages}}` });
const utf7 = `{"model":"gpt-5-mini","messages":[{"role":"user","content":"+ACIAfQBdACwAIg-model+ACI:+ACI-gpt-5+ACI-"}]}`;

const refused: Readonly<Record<string, Attempt>> = {
  "another model": { body: `{"model":"gpt-5",${messages}}` },
  "two models": with_('"model":"gpt-5"'),
  "two models, one escaped": with_('"mod\\u0065l":"gpt-5"'),
  "a model in other letters": with_('"Model":"gpt-5"'),
  "a name with a long s": with_('"toolſ":[]'),
  "a list of models": { body: `{"model":["gpt-5-mini","gpt-5"],${messages}}` },
  "no model": { body: `{${messages}}` },
  "fallback models": with_('"models":["gpt-5"]'),
  "a model with a NUL": { body: `{"model":"gpt-5-mini\\u0000",${messages}}` },
  "a byte order mark": { body: Buffer.concat([Buffer.of(0xef, 0xbb, 0xbf), Buffer.from(good)]) },
  "UTF-16": { body: Buffer.from(good, "utf16le") },
  "UTF-16 by its name": { headers: { "content-type": "application/json; charset=utf-16le" } },
  "UTF-7, where +ACI- is a quotation mark": {
    body: utf7,
    headers: { "content-type": "application/json; charset=utf-7" },
  },
  "a body no JSON parser finishes": { body: good + good },
  "an invalid UTF-8 byte": {
    body: Buffer.concat([
      Buffer.from(good.slice(0, -3)),
      Buffer.of(0xff),
      Buffer.from(good.slice(-3)),
    ]),
  },
  "another model in a compressed body": {
    body: gzipSync(`{"model":"gpt-5",${messages}}`),
    headers: { "content-encoding": "gzip" },
  },
  "another content type": { headers: { "content-type": "text/plain" } },
  "two content types": { headers: { "content-type": "application/json, text/plain" } },
  "deep nesting": {
    body: `{"model":"gpt-5-mini","messages":${"[".repeat(5_000)}${"]".repeat(5_000)}}`,
  },
  "a tool": with_('"tools":[{"type":"function","function":{"name":"rm"}}]'),
  "a tool of the old kind": with_('"functions":[{"name":"rm"}]'),
  "a tool of the provider's": with_('"tools":[{"type":"web_search_preview"}]'),
  "searching the web": with_('"web_search_options":{}'),
  "more tokens": with_('"max_tokens":2001'),
  "more tokens under the other name": with_('"max_tokens":1,"max_completion_tokens":100000'),
  "more tokens as a float": with_('"max_tokens":1e5'),
  "more tokens as text": with_('"max_tokens":"2001"'),
  "less than no tokens": with_('"max_tokens":-1'),
  "more tokens by asking several times": with_('"max_tokens":1000,"n":3'),
  "a path with a slash too many": { path: "/v1//chat/completions" },
  "a path that leaves": { path: "/v1/../v1/chat/completions" },
  "an encoded slash": { path: "/v1/chat%2fcompletions" },
  "an encoded NUL": { path: "/v1/chat/completions%00" },
  "a path parameter": { path: "/v1/chat/completions;x=1" },
  "another path": { path: "/v1/files" },
  "outside of the endpoint": { path: "/chat/completions" },
  "an overridden method": { headers: { "x-http-method-override": "DELETE" } },
  "a body on a GET": { path: "/v1/models", method: "GET" },
};

test(`${Object.keys(refused).length} requests that a server could read otherwise are refused and never sent on`, async () => {
  for (const [what, attempt] of Object.entries(refused)) {
    const before = servers.openai.requests.length;
    const { status, text } = await send(attempt);
    assert.equal(status, 403, `${what}: ${status} ${text}`);
    assert.equal(servers.openai.requests.length, before, what);
    const { error } = JSON.parse(text) as { error: { message: string; type: string } };
    assert.equal(error.type, "chaperone_denied", what);
    assert.ok(error.message.length > 10, what);
  }
});

test("a compressed body is decided on as its text, and the text is what is sent", async () => {
  const { status, text } = await send({
    body: gzipSync(good),
    headers: { "content-encoding": "gzip" },
  });
  assert.equal(status, 200, text);
  const sent = servers.openai.requests.at(-1);
  assert.equal(sent?.headers["content-encoding"], undefined);
  assert.equal(Object(sent?.body).model, "gpt-5-mini");
});

test("a content type that Connection takes away is said anew: what was read as JSON is sent as JSON", async () => {
  const { status, text } = await send({ headers: { connection: "content-type" } });
  assert.equal(status, 200, text);
  assert.equal(servers.openai.requests.at(-1)?.headers["content-type"], "application/json");
});

test("a limit that the request leaves out is set to the rule's, and shared among several answers", async () => {
  const asked = async (more: string): Promise<unknown> => {
    assert.equal((await send({ body: `{"model":"gpt-5-mini"${more},${messages}}` })).status, 200);
    const body: unknown = servers.openai.requests.at(-1)?.body;
    assert.ok(typeof body === "object" && body !== null);
    return "max_completion_tokens" in body ? body.max_completion_tokens : undefined;
  };
  assert.equal(await asked(""), 2000);
  assert.equal(await asked(',"max_tokens":null'), 2000);
  assert.equal(await asked(',"n":4'), 500);
  assert.equal(await asked(',"max_completion_tokens":7'), 7);
});

test("the agent's own keys and claims do not travel on, and the real key comes back in nothing", async () => {
  const { status, text } = await send({
    headers: {
      "api-key": "mine",
      "x-api-key": "mine",
      "proxy-authorization": "Bearer mine",
      "x-forwarded-for": "10.0.0.1",
      forwarded: "for=10.0.0.1",
      "chaperone-chain": "summarise-1",
      connection: "authorization",
    },
  });
  assert.equal(status, 200, text);
  const headers: Readonly<Record<string, unknown>> = servers.openai.requests.at(-1)?.headers ?? {};
  assert.equal(headers["authorization"], `Bearer ${servers.targets.openaiKey}`);
  for (const name of [
    "api-key",
    "x-api-key",
    "proxy-authorization",
    "x-forwarded-for",
    "forwarded",
    "chaperone-chain",
  ])
    assert.equal(headers[name], undefined, name);
  assert.ok(!text.includes(servers.targets.openaiKey));
});
