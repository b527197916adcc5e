// The DNS listener as real resolvers meet it (c-ares here; glibc in the cluster's tests), and as nobody should.
import assert from "node:assert/strict";
import { Resolver } from "node:dns/promises";
import { connect } from "node:net";
import { test, type TestContext } from "node:test";

import { answerTo } from "./answer.ts";
import { openDns } from "./listener.ts";
import { maxQueryBytes } from "./message.ts";

async function opened(t: TestContext) {
  const unknown: string[] = [];
  const dns = await openDns({
    hosts: ["127.0.0.1"],
    port: 0,
    answer: (message) =>
      answerTo(message, {
        names: new Map([["db.example", "198.18.64.1"]]),
        families: [4, 6],
        search: [],
      }),
    onUnknown: (name) => unknown.push(name),
  });
  t.after(() => dns.close());
  const resolver = new Resolver({ timeout: 2_000, tries: 1 });
  resolver.setServers([`127.0.0.1:${dns.port}`]);
  return { port: dns.port, resolver, unknown };
}

/** `db.example`, A, id 7. */
const query = Buffer.from("000701000001000000000000026462076578616d706c650000010001", "hex");

function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

function spoken(port: number, pieces: readonly Buffer[]): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const socket = connect({ host: "127.0.0.1", port, noDelay: true });
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(Buffer.concat(chunks)));
    for (const piece of pieces) socket.write(piece);
    socket.end();
  });
}

test("a resolver finds what is there, and learns at once what is not", async (t) => {
  const { resolver, unknown } = await opened(t);
  assert.deepEqual(await resolver.resolve4("db.example", { ttl: true }), [
    { address: "198.18.64.1", ttl: 60 },
  ]);
  assert.deepEqual(await resolver.resolve6("db.example"), ["2001:2::c612:4001"]);
  await assert.rejects(resolver.resolveTxt("db.example"), { code: "ENODATA" });
  await assert.rejects(resolver.resolve4("other.example"), { code: "ENOTFOUND" });
  await assert.rejects(resolver.resolveTxt("c2VjcmV0.tunnel.example"), { code: "ENOTFOUND" });
  assert.deepEqual(unknown, ["other.example", "c2vjcmv0.tunnel.example"]);
});

test("over TCP, queries come in any pieces, several on one connection, each answered in turn", async (t) => {
  const { port } = await opened(t);
  const two = Buffer.concat([framed(query), framed(query)]);
  const once = await spoken(port, [framed(query)]);
  assert.equal(once.readUInt16BE(0), once.length - 2);
  assert.deepEqual(once.subarray(-4), Buffer.from([198, 18, 64, 1]));
  for (let cut = 1; cut < two.length; cut += 7)
    assert.deepEqual(
      await spoken(port, [two.subarray(0, cut), two.subarray(cut)]),
      Buffer.concat([once, once]),
    );
});

test("over TCP, what is too long, no query, or without end is cut", async (t) => {
  const { port } = await opened(t);
  assert.deepEqual(await spoken(port, [framed(Buffer.alloc(maxQueryBytes + 1))]), Buffer.alloc(0));
  const answer = Buffer.from(query);
  answer[2] = 0x81;
  assert.deepEqual(await spoken(port, [framed(answer)]), Buffer.alloc(0));
  const flood = Buffer.concat(Array<Buffer>(300).fill(framed(query)));
  const heard = await spoken(port, [flood]);
  assert.ok(heard.length <= 256 * (await spoken(port, [framed(query)])).length);
});
