import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";

import { createResolver } from "./resolve.ts";

interface Zone {
  [name: string]: {
    readonly a?: readonly string[];
    readonly aaaa?: readonly string[];
    readonly ttl?: number;
    readonly rcode?: number;
    readonly truncate?: boolean;
  };
}

/** A name server on UDP and TCP of one port that counts what it is asked. */
async function nameServer(
  t: TestContext,
  zone: Zone,
): Promise<{ address: string; asked: string[] }> {
  const asked: string[] = [];
  const tcp = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.on("data", (data) => {
      const reply = respond(data.subarray(2), zone, asked, "tcp");
      const length = Buffer.alloc(2);
      length.writeUInt16BE(reply.length);
      socket.write(Buffer.concat([length, reply]));
    });
  });
  await new Promise<void>((resolve) => tcp.listen(0, "127.0.0.1", resolve));
  const address = tcp.address();
  assert.ok(address !== null && typeof address === "object");
  const udp = createSocket("udp4");
  udp.on("message", (query, peer) =>
    udp.send(respond(query, zone, asked, "udp"), peer.port, peer.address),
  );
  await new Promise<void>((resolve) => udp.bind(address.port, "127.0.0.1", resolve));
  t.after(() => {
    udp.close();
    tcp.close();
  });
  return { address: `127.0.0.1:${address.port}`, asked };
}

function respond(query: Buffer, zone: Zone, asked: string[], over: string): Buffer {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += length + 1;
  }
  const type = query.readUInt16BE(at + 1);
  const question = query.subarray(12, at + 5);
  const name = labels.join(".").toLowerCase();
  asked.push(`${over} ${type === 1 ? "A" : "AAAA"} ${name}`);
  const entry = zone[name];
  const truncated = over === "udp" && entry?.truncate === true;
  const values =
    entry === undefined || truncated ? [] : type === 1 ? (entry.a ?? []) : (entry.aaaa ?? []);
  const header = Buffer.alloc(12);
  query.copy(header, 0, 0, 2);
  header.writeUInt16BE(
    0x8180 | (truncated ? 0x0200 : 0) | (entry === undefined ? 3 : (entry.rcode ?? 0)),
    2,
  );
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(values.length, 6);
  const answers = values.map((value) => {
    const data =
      type === 1
        ? Buffer.from(value.split(".").map(Number))
        : Buffer.from(
            value
              .split(":")
              .map((part) => part.padStart(4, "0"))
              .join(""),
            "hex",
          );
    const record = Buffer.alloc(12);
    record.writeUInt16BE(0xc00c, 0);
    record.writeUInt16BE(type, 2);
    record.writeUInt16BE(1, 4);
    record.writeUInt32BE(entry?.ttl ?? 60, 6);
    record.writeUInt16BE(data.length, 10);
    return Buffer.concat([record, data]);
  });
  return Buffer.concat([header, question, ...answers]);
}

async function resolver(t: TestContext, zone: Zone, conf = "", allowLocalhost = false) {
  const server = await nameServer(t, zone);
  const folder = await mkdtemp(join(tmpdir(), "resolve-"));
  t.after(() => rm(folder, { recursive: true }));
  const resolvConf = join(folder, "resolv.conf");
  await writeFile(resolvConf, conf);
  let now = 0;
  const made = createResolver({
    resolvConf,
    servers: [server.address],
    allowLocalhost,
    now: () => now,
  });
  t.after(() => made.close());
  return {
    resolve: (name: string) => made.resolve(name, AbortSignal.timeout(10_000)),
    asked: server.asked,
    advance: (ms: number) => (now += ms),
    made,
  };
}

test("a short name is found through the search list, both families, IPv4 first", async (t) => {
  const { resolve } = await resolver(
    t,
    {
      "orders-db.agents.svc.cluster.local": {
        a: ["10.1.2.3", "10.1.2.4"],
        aaaa: ["fd00:0:0:0:0:0:0:1"],
      },
    },
    "search agents.svc.cluster.local\noptions ndots:5\n",
  );
  assert.deepEqual(await resolve("orders-db"), ["10.1.2.3", "fd00::1", "10.1.2.4"]);
});

test("what /etc/hosts says is never the answer", async (t) => {
  const { resolve } = await resolver(t, { localhost: { a: ["10.9.9.9"] } });
  await assert.rejects(resolve("localhost"), /is this pod itself/);
  const { hostname } = await import("node:os");
  await assert.rejects(resolve(hostname()), /cannot be resolved: no such name/);
});

test("localhost is 127.0.0.1 where the caller allows it, and is never asked for", async (t) => {
  const { resolve, asked } = await resolver(t, {}, "", true);
  assert.deepEqual(await resolve("localhost"), ["127.0.0.1"]);
  assert.deepEqual(asked, []);
});

test("IP literals pass, bracketed ones too", async (t) => {
  const { resolve, asked } = await resolver(t, {});
  assert.deepEqual(await resolve("192.0.2.7"), ["192.0.2.7"]);
  assert.deepEqual(await resolve("[2001:db8::1]"), ["2001:db8::1"]);
  assert.deepEqual(asked, []);
});

test("an answer is kept for its TTL, and not longer", async (t) => {
  const { resolve, asked, advance } = await resolver(t, {
    "a.example": { a: ["10.0.0.1"], ttl: 30 },
  });
  await resolve("a.example");
  const once = asked.length;
  advance(29_000);
  await resolve("A.example");
  assert.equal(asked.length, once);
  advance(2_000);
  await resolve("a.example");
  assert.equal(asked.length, 2 * once);
});

test("a missing name is asked for again after a second", async (t) => {
  const zone: Zone = {};
  const { resolve, asked, advance } = await resolver(t, zone);
  await assert.rejects(resolve("late.example"), { code: "UpstreamUnreachable" });
  const once = asked.length;
  await assert.rejects(resolve("late.example"));
  assert.equal(asked.length, once);
  zone["late.example"] = { a: ["10.0.0.2"] };
  advance(1_001);
  assert.deepEqual(await resolve("late.example"), ["10.0.0.2"]);
});

test("a hundred callers at once make one look-up", async (t) => {
  const { resolve, asked } = await resolver(t, { "a.example": { a: ["10.0.0.1"] } });
  await Promise.all(Array.from({ length: 100 }, () => resolve("a.example")));
  assert.deepEqual(asked.toSorted(), ["udp A a.example", "udp AAAA a.example"]);
});

test("a truncated answer is fetched over TCP", async (t) => {
  const many = Array.from({ length: 40 }, (_, index) => `10.0.1.${index}`);
  const { resolve, asked } = await resolver(t, { "many.example": { a: many, truncate: true } });
  assert.deepEqual((await resolve("many.example")).toSorted(), many.toSorted());
  assert.ok(asked.includes("tcp A many.example"));
});

test("a failing server ends the search instead of making the next candidate the answer", async (t) => {
  const { resolve } = await resolver(
    t,
    { "api.agents.local": { rcode: 2 }, "api.other.local": { a: ["10.6.6.6"] } },
    "search agents.local other.local\n",
  );
  await assert.rejects(resolve("api"), /SERVFAIL/);
});

test("a caller that gives up stops waiting", async (t) => {
  const { made } = await resolver(t, { "a.example": { a: ["10.0.0.1"] } });
  const controller = new AbortController();
  const waiting = made.resolve("a.example", controller.signal);
  controller.abort(new Error("gone"));
  await assert.rejects(waiting, /gone/);
});
