import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { test, type TestContext } from "node:test";

import type { ProxyError } from "../errors.ts";
import { acceptRedirected } from "./accept.ts";
import type { Destination } from "./original-destination.ts";
import { namesByAddress } from "./places.ts";

async function redirected(t: TestContext, destination: Destination | Error) {
  const met: string[] = [];
  const refused: ProxyError[] = [];
  const failed: Error[] = [];
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    acceptRedirected(socket, {
      destinationOf() {
        if (destination instanceof Error) throw destination;
        return destination;
      },
      nameOf: namesByAddress(new Map([["db.example", "198.18.64.1"]])),
      meet: (name, port) =>
        port === 3306 ? (taken: Socket) => void (met.push(name), taken.end("hello")) : undefined,
      onRefused: (error) => refused.push(error),
      onFailure: (error) => failed.push(error),
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const client = connect(address.port, "127.0.0.1");
  let heard = "";
  client.on("data", (chunk) => (heard += chunk.toString()));
  client.on("error", (error) => (heard += "code" in error ? String(error.code) : ""));
  await new Promise((resolve) => client.once("close", resolve));
  return { heard, met, refused, failed };
}

test("the destination alone says who serves a connection, before a byte is sent: servers may speak first", async (t) => {
  for (const address of ["198.18.64.1", "2001:2::c612:4001"]) {
    const { heard, met } = await redirected(t, { address, port: 3306 });
    assert.deepEqual([heard, met], ["hello", ["db.example"]]);
  }
});

test("a destination of no Connection is reset and told, with the Connection that would be needed", async (t) => {
  const cases = [
    [{ address: "10.96.0.1", port: 443 }, "10.96.0.1", "https", /by number: dial a name/],
    [{ address: "198.18.64.1", port: 22 }, "db.example", "tcp", /endpoint\.port 22/],
    [{ address: "198.18.64.1", port: 5432 }, "db.example", "tcp", /protocol postgres/],
    [{ address: "198.18.64.9", port: 80 }, "198.18.64.9", "http", /by number/],
  ] as const;
  for (const [destination, host, scheme, message] of cases) {
    const { heard, met, refused } = await redirected(t, destination);
    assert.deepEqual([heard, met], ["ECONNRESET", []]);
    assert.deepEqual(
      refused.map(({ code, target }) => [code, target]),
      [["HostUnknown", { host, port: destination.port, scheme }]],
    );
    assert.match(refused[0]?.message ?? "", message);
  }
});

test("the verifier's port says which address was dialled", async (t) => {
  const { heard, refused } = await redirected(t, { address: "1.1.1.1", port: 15_001 });
  assert.deepEqual([heard, refused], ["chaperone-redirect 1.1.1.1 15001\n", []]);
});

test("where the destination cannot be told nobody is served, and the proxy says why", async (t) => {
  const { heard, met, failed } = await redirected(t, new Error("no such option"));
  assert.deepEqual([heard, met, failed.length], ["", [], 1]);
});

test("only addresses that no network routes stand for names", () => {
  assert.throws(() => namesByAddress(new Map([["db.example", "10.0.0.1"]])), /no address for/);
});
