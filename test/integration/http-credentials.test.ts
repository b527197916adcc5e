// Static credentials of HTTP connections on real sockets: they reach the Connection's own endpoint and nothing else, and nothing that is written holds them.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, RequestListener } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";

import type { Lease } from "../../contract/control.ts";
import { claimHeaders, credentialHeaders } from "../../proxy/http/credential/reserved.ts";
import { raw, send, startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, TestRoom } from "./http-proxy-fixture.ts";

const secret = "s3cret/Value+1";
const encoded = "s3cret%2FValue%2B1";
const query: Lease = { kind: "query", name: "api_key", value: secret };
const basic: Lease = {
  kind: "headers",
  headers: [{ name: "authorization", value: `Basic ${btoa(`u:${secret}`)}` }],
};

interface Origin {
  readonly port: number;
  readonly requests: IncomingMessage[];
}

async function origin(t: TestContext, listener: RequestListener): Promise<Origin> {
  const requests: IncomingMessage[] = [];
  const server = createServer((incoming, response) => {
    requests.push(incoming);
    incoming.resume();
    listener(incoming, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return { port: address.port, requests };
}

const hello: RequestListener = (_incoming, response) => void response.end("hello");

function rooms(
  t: TestContext,
  port: number,
  lease: Lease,
  more: Partial<ConnectionSetup> = {},
): Promise<TestRoom> {
  return startRoom(t, [{ upstream: { port }, lease, detail: "Full", ...more }]);
}

/** Everything that was written, in whatever spelling. */
function assertUnwritten(room: TestRoom, ...further: string[]): void {
  const written = [JSON.stringify(room.events()), JSON.stringify(room.gate.requests), ...further];
  for (const text of written)
    for (const spelling of [secret, encoded, btoa(`u:${secret}`), "s3cret"])
      assert.ok(!text.includes(spelling), text);
}

test("a query credential is sent with the very target that was decided on, which has no copy of the agent's", async (t) => {
  const target = await origin(t, hello);
  const room = await rooms(t, target.port, query, {
    rules: [{ name: "page", http: { query: { page: "2" } } }],
  });
  const answer = await send(room, { path: "/v1?API_KEY=mine&page=2&%61pi_key=mine" });
  assert.equal(answer.status, 200);
  assert.equal(target.requests[0]?.url, `/v1?page=2&api_key=${encoded}`);
  const [event] = room.operations();
  assert.equal(event?.body.decision?.rule, "page");
  assertUnwritten(room, answer.text);
});

test("a query credential stands in no event, refusal or held request, also where its upstream fails", async (t) => {
  const target = await origin(t, (_incoming, response) => void response.socket?.destroy());
  const room = await rooms(t, target.port, query, {
    rules: [
      { name: "get", http: { methods: ["GET"] } },
      {
        name: "held",
        action: "RequireApproval",
        http: { methods: ["POST"] },
        approval: { approvers: [{ user: "a" }], count: 1, holdSeconds: 0, validForSeconds: 60 },
      },
    ],
  });
  const failed = await send(room, { path: "/a?api_key=mine" });
  const held = await send(room, { method: "POST", path: "/a", body: "x" });
  const denied = await send(room, { method: "DELETE", path: "/a?x=1" });
  assert.deepEqual([failed.status, held.status, denied.status], [502, 403, 403]);
  assert.equal(room.gate.requests.length, 1);
  assertUnwritten(room, failed.text, held.text, denied.text);
});

test("a redirect is handed to the agent without the credential and followed by nobody", async (t) => {
  const elsewhere = await origin(t, hello);
  const target = await origin(t, (incoming, response) => {
    response.writeHead(302, {
      location: `http://127.0.0.1:${elsewhere.port}${incoming.url}`,
      link: `<${incoming.url}>; rel="next"`,
      "www-authenticate": 'Bearer realm="x"',
    });
    response.end();
  });
  for (const lease of [query, basic]) {
    const room = await rooms(t, target.port, lease);
    const answer = await send(room, { path: "/old?x=1" });
    assert.equal(answer.status, 302);
    assert.equal(answer.headers.location, `http://127.0.0.1:${elsewhere.port}/old?x=1`);
    assert.equal(answer.headers.link, `</old?x=1>; rel="next"`);
    assert.equal(answer.headers["www-authenticate"], 'Bearer realm="x"');
    assertUnwritten(room, JSON.stringify(answer.headers));
  }
  assert.equal(elsewhere.requests.length, 0);
});

test("no absolute target and no Host brings the credential to another address", async (t) => {
  const elsewhere = await origin(t, hello);
  const target = await origin(t, hello);
  const there = `127.0.0.1:${elsewhere.port}`;
  for (const lease of [query, basic]) {
    const room = await rooms(t, target.port, lease);
    for (const head of [
      `GET http://${there}/a HTTP/1.1\r\nHost: ${there}`,
      `GET http://${there}/a HTTP/1.1\r\nHost: agents.example`,
      `GET /a HTTP/1.1\r\nHost: ${there}`,
      `GET /a HTTP/1.1\r\nHost: agents.example@${there}`,
      `GET //${there}/a HTTP/1.1\r\nHost: agents.example`,
      `GET /a HTTP/1.1\r\nHost: agents.example\r\nHost: ${there}`,
      `GET /a HTTP/1.1\r\nHost: agents.example\r\nX-Forwarded-Host: ${there}\r\nForwarded: host=${there}`,
      `CONNECT ${there} HTTP/1.1\r\nHost: ${there}`,
    ])
      await raw(room.port, `${head}\r\nConnection: close\r\n\r\n`);
  }
  assert.equal(elsewhere.requests.length, 0);
  for (const { headers } of target.requests) {
    assert.equal(headers.host, `127.0.0.1:${target.port}`);
    assert.equal(headers["x-forwarded-host"], undefined);
  }
});

test("no header of the agent's that would stand for a credential or claim who asks reaches the upstream", async (t) => {
  const target = await origin(t, hello);
  const room = await rooms(t, target.port, { kind: "none" });
  const reserved = [...credentialHeaders, ...claimHeaders, "x-forwarded-user", "cookie"];
  const headers = Object.fromEntries(reserved.map((name) => [name.toUpperCase(), "mine"]));
  await send(room, { headers: { ...headers, "x-kept": "1" } });
  assert.deepEqual(Object.keys(target.requests[0]?.headers ?? {}).toSorted(), [
    "accept-encoding", // ours, because the answer is recorded
    "connection",
    "host",
    "x-kept",
  ]);
});

test("naming our header in Connection does not take it away, and repeating it brings nothing along", async (t) => {
  const target = await origin(t, hello);
  const lease: Lease = { kind: "headers", headers: [{ name: "X-Token", value: secret }] };
  const room = await rooms(t, target.port, lease);
  await raw(
    room.port,
    "GET / HTTP/1.1\r\nHost: a\r\nX-Token: mine\r\nx-token: mine\r\nConnection: close, x-token\r\n\r\n",
  );
  assert.deepEqual(target.requests[0]?.headersDistinct["x-token"], [secret]);
  assertUnwritten(room);
});

test("what an upstream writes of its request into its answer is recorded without the credential", async (t) => {
  const target = await origin(t, (incoming, response) => {
    response.setHeader("content-type", "application/json");
    const [scheme, pair = ""] = incoming.headers.authorization?.split(" ") ?? [];
    const { headers, url } = incoming;
    response.end(
      JSON.stringify({
        url,
        headers,
        next: `${url}&page=2`,
        login: scheme === "Basic" ? atob(pair) : "",
      }),
    );
  });
  const header: Lease = {
    kind: "headers",
    headers: [{ name: "authorization", value: `Bearer ${secret}` }],
  };
  for (const lease of [query, basic, header]) {
    const room = await rooms(t, target.port, lease);
    await send(room, { path: "/a?x=1" });
    const texts = room.operations().flatMap(({ contents }) => contents.map(({ text }) => text));
    assert.ok(texts.some((text) => text.includes("[credential]")));
    assertUnwritten(room, ...texts);
  }
});

test("a user and password arrive as Basic", async (t) => {
  const target = await origin(t, hello);
  const room = await rooms(t, target.port, basic);
  await send(room, { headers: { authorization: "Basic bWluZTptaW5l" } });
  const [, value = ""] = target.requests[0]?.headers.authorization?.split(" ") ?? [];
  assert.equal(atob(value), `u:${secret}`);
  assertUnwritten(room);
});

test("an upstream that answers with what was sent to it in broken HTTP shows nothing of it", async (t) => {
  const server = createTcpServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (bytes) => socket.end(Buffer.concat([Buffer.from("SSH-2.0 "), bytes])));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  for (const lease of [query, basic]) {
    const room = await rooms(t, address.port, lease);
    const answer = await send(room, {});
    assert.equal(answer.status, 502);
    assertUnwritten(room, answer.text, JSON.stringify(answer.headers));
  }
});

test("fields of an answer that repeat the credential, before it, at its head or behind it, bring it to no agent", async (t) => {
  const token = "Bearer sk-0123456789abcdef";
  const lease: Lease = { kind: "headers", headers: [{ name: "authorization", value: token }] };
  const { port, requests } = await origin(t, (incoming, response) => {
    const sent = incoming.headers.authorization ?? "";
    response.writeEarlyHints({ link: "</a>", "x-sent": sent });
    const [, part = ""] = sent.split(" ");
    response.writeHead(302, {
      location: `/next?token=${part}`,
      "www-authenticate": `Bearer realm="${sent}"`,
      trailer: "x-sent",
    });
    response.write("moved");
    response.addTrailers({ "x-sent": part });
    response.end();
  });
  const room = await rooms(t, port, lease);
  const seen = await raw(room.port, "GET / HTTP/1.1\r\nHost: target\r\nTE: trailers\r\n\r\n");
  assert.equal(requests[0]?.headers.authorization, token);
  assert.doesNotMatch(seen, /sk-0123/);
  assert.match(
    seen,
    /HTTP\/1\.1 103 .*x-sent: \[credential\].*location: \/next\?token=\[credential\]/s,
  );
  assert.match(seen, /0\r\nx-sent: \[credential\]\r\n\r\n$/);
});
