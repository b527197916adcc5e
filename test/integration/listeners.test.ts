// Which room a connection meets, by the address it dialled and by what it asks the forward proxy for.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { pino } from "pino";

import type { AddressMap, ConnectionAddress } from "../../contract/addresses.ts";
import type { ManagedGate } from "../../proxy/gate.ts";
import { openListeners } from "../../proxy/listeners.ts";
import { openRooms } from "../../proxy/rooms.ts";
import { createPodAuthority } from "../../proxy/tls/authority.ts";
import { freePorts } from "../../cli/dev/ports.ts";
import { raw, testGate } from "./http-proxy-fixture.ts";

interface Met {
  readonly room: string;
  readonly connection: string;
}

async function start(t: TestContext, interception: AddressMap["interception"]) {
  const [port = 0, first = 0, second = 0, third = 0, forward = 0] = await freePorts(5);
  const entry = (
    name: string,
    protocol: ConnectionAddress["protocol"],
    host: string,
    address: string,
    endpoint: number,
  ): ConnectionAddress => ({
    connection: `agents/${name}`,
    protocol,
    scheme: protocol === "postgres" ? "postgres" : protocol === "http" ? "http" : "https",
    path: "",
    names: [host],
    hosts: interception === "hosts" ? [{ name: host, address }] : [],
    port,
    endpoint: { address: "127.0.0.1", port: endpoint },
  });
  const addresses: AddressMap = {
    version: 1,
    interception,
    forwardProxy: { address: "127.0.0.1", port: forward },
    connections: [
      entry("db", "postgres", "db.example", "127.0.64.1", first),
      entry("api", "http", "api.example", "127.0.64.2", second),
      entry("sealed", "passthrough", "sealed.example", "127.0.64.3", third),
    ],
  };
  const gates = new Map<string, ManagedGate>(
    addresses.connections.map(({ connection, protocol }) => [
      connection,
      testGate({ name: connection.slice("agents/".length), protocol, upstream: { port: 1 } }),
    ]),
  );
  const authority = await createPodAuthority({ names: ["api.example"], storage: "memory" });
  const met: Met[] = [];
  const end = (socket: Socket, room: string, connection: string): void => {
    met.push({ room, connection });
    socket.resume().end("met");
  };
  const real = await openRooms({
    dial: () => Promise.reject(new Error("nobody dials here")),
    authority,
    addresses: { ...addresses, connections: addresses.connections.slice(1) },
    onRefused: () => undefined,
    onUnexpected: () => undefined,
  });
  const listeners = await openListeners({
    addresses,
    gates,
    authority,
    logger: pino({ level: "silent" }),
    rooms: {
      ...real,
      acceptPostgres: (socket, gate) => end(socket, "postgres", gate.connection.name),
      passthrough: {
        ...real.passthrough,
        accept: (socket, { gate, names }) =>
          end(socket, `passthrough ${names.join()}`, gate.connection.name),
        open: async ({ gate }, host) => ({
          take: (socket) => end(socket, `tunnel ${host}`, gate.connection.name),
        }),
      },
    },
  });
  t.after(async () => {
    await listeners.close();
    await real.close();
  });
  return { met, port, forward, endpoints: [first, second, third] as const };
}

async function heard(address: string, port: number): Promise<string> {
  const socket = connect({ host: address, port });
  socket.write("x");
  const [text] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  return text.toString();
}

test("under hosts, the address that was dialled names the connection and its room", async (t) => {
  const { met, port } = await start(t, "hosts");
  assert.equal(await heard("127.0.64.1", port), "met");
  assert.equal(await heard("127.0.64.3", port), "met");
  assert.deepEqual(met, [
    { room: "postgres", connection: "db" },
    { room: "passthrough sealed.example", connection: "sealed" },
  ]);
});

test("under endpoints, each connection has a port of its own", async (t) => {
  const { met, endpoints } = await start(t, "endpoints");
  assert.equal(await heard("127.0.0.1", endpoints[0]), "met");
  assert.equal(await heard("127.0.0.1", endpoints[2]), "met");
  assert.deepEqual(
    met.map(({ connection }) => connection),
    ["db", "sealed"],
  );
});

for (const interception of ["hosts", "endpoints"] as const)
  test(`under ${interception}, the forward proxy meets connections by host and port, and nothing else`, async (t) => {
    const { met, port, forward } = await start(t, interception);
    const open = (target: string): Promise<string> =>
      raw(forward, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
    assert.match(await open(`db.example:${port}`), /^HTTP\/1\.1 200 [^]*met$/);
    assert.match(await open(`sealed.example:${port}`), /^HTTP\/1\.1 200 [^]*met$/);
    assert.match(await open(`sealed.example:${port === 443 ? 444 : 443}`), /^HTTP\/1\.1 403 /);
    assert.match(await open(`127.0.64.3:${port}`), /^HTTP\/1\.1 403 [^]*never reached by number/);
    assert.deepEqual(met, [
      { room: "postgres", connection: "db" },
      { room: "tunnel sealed.example", connection: "sealed" },
    ]);
    const asked = await raw(
      forward,
      `GET http://api.example:${port}/x HTTP/1.1\r\nHost: api.example:${port}\r\n\r\n`,
    );
    assert.match(asked, /^HTTP\/1\.1 502 /, "decided, allowed and sent to nobody");
  });
