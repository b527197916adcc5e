import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { LeaseRefused } from "../grants/lease-refused.ts";
import { withAdmin, type AdminTarget } from "./admin.ts";

const password = "the-administrator's-password";

/** Answers the startup message with one AuthenticationRequest and keeps what comes then. */
async function asking(
  t: TestContext,
  request: Buffer,
): Promise<{ readonly port: number; readonly received: () => string }> {
  let received = "";
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => {
      socket.write(request);
      socket.on("data", (bytes: Buffer) => (received += bytes.toString("latin1")));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const address = server.address() as AddressInfo;
  return { port: address.port, received: () => received };
}

function targetOn(port: number): AdminTarget {
  return {
    connection: "agents/orders-db",
    endpoint: { host: "127.0.0.1", port, tls: { mode: "Disable" } },
    database: "orders",
    username: "admin",
    password,
  };
}

/** Type R, length, method and what belongs to it. */
function authentication(method: number, rest: Buffer = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.write("R");
  head.writeInt32BE(8 + rest.length, 1);
  head.writeInt32BE(method, 5);
  return Buffer.concat([head, rest]);
}

for (const [title, request] of [
  ["in the clear", authentication(3)],
  ["as MD5", authentication(5, Buffer.from([1, 2, 3, 4]))],
] as const)
  test(`a server that asks for the administrator's password ${title} does not get it`, async (t) => {
    const server = await asking(t, request);
    const signal = AbortSignal.timeout(10_000);
    await assert.rejects(
      withAdmin(targetOn(server.port), { resolve: async () => [] }, signal, async () => undefined),
      (error: unknown) => {
        assert.ok(error instanceof LeaseRefused, String(error));
        assert.equal(error.reason, "AdminRefused");
        assert.match(error.message, /connection agents\/orders-db: .* in the clear or as MD5/);
        return true;
      },
    );
    assert.doesNotMatch(server.received(), /password|md5/);
  });

test("a server that never answers is given up when the caller is, without a word of its own", async (t) => {
  const server = await asking(t, Buffer.alloc(0));
  const given = new AbortController();
  const began = performance.now();
  setTimeout(() => given.abort(new Error("the caller is gone")), 50);
  const access = { resolve: async () => [] };
  await assert.rejects(
    withAdmin(targetOn(server.port), access, given.signal, async () => undefined),
    /the caller is gone/,
  );
  assert.ok(performance.now() - began < 2_500, "and not only after the connection's own 3 s");
});

test("a resolver that never answers holds up nobody longer than they wait", async () => {
  const given = new AbortController();
  setTimeout(() => given.abort(new Error("the caller is gone")), 20);
  const target = targetOn(1);
  const access = { resolve: () => Promise.withResolvers<readonly string[]>().promise };
  const named = { ...target, endpoint: { ...target.endpoint, host: "db.example" } };
  await assert.rejects(
    withAdmin(named, access, given.signal, async () => undefined),
    /the caller is gone/,
  );
});
