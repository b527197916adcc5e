// Which room a connection meets, by the address it dialled and by what it asks the forward proxy for.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { connect as tls } from "node:tls";
import { pino } from "pino";

import type { AddressMap, ConnectionAddress } from "../../contract/addresses.ts";
import type { ProxyError } from "../../proxy/errors.ts";
import type { ManagedGate } from "../../proxy/gate.ts";
import { openListeners } from "../../proxy/listeners.ts";
import { openRooms } from "../../proxy/rooms.ts";
import { createPodAuthority } from "../../proxy/tls/authority.ts";
import { freePorts } from "../../cli/dev/ports.ts";
import { eventually, raw, testGate } from "./http-proxy-fixture.ts";

interface Met {
  readonly room: string;
  readonly connection: string;
}

async function start(
  t: TestContext,
  interception: AddressMap["interception"],
  scheme: "http" | "https" = "http",
) {
  const [port = 0, first = 0, second = 0, third = 0, forward = 0, tcp = 0, dns = 0] =
    await freePorts(7);
  /** What the kernel would say of the next connection. */
  const next = { address: "", port: 0 };
  const entry = (
    name: string,
    protocol: ConnectionAddress["protocol"],
    host: string,
    address: string,
    endpoint: number,
  ): ConnectionAddress => ({
    connection: `agents/${name}`,
    protocol,
    scheme: protocol === "postgres" ? "postgres" : protocol === "http" ? scheme : "https",
    path: "",
    names: [host],
    hosts:
      interception === "endpoints"
        ? []
        : [{ name: host, address: interception === "hosts" ? address : virtual(address) }],
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
  const refused: ProxyError[] = [];
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
    onRefused: (error) => refused.push(error),
    logger: pino({ level: "silent" }),
    ...(interception === "redirect" && {
      redirect: {
        addresses,
        destinationOf: () => ({ ...next }),
        ports: { tcp, dns },
        search: [],
        families: [4],
        hosts: ["127.0.0.1"],
        onRefused: (error) => refused.push(error),
        logger: pino({ level: "silent" }),
      },
    }),
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
  return { met, port, forward, tcp, next, refused, endpoints: [first, second, third] as const };
}

/** 127.0.64.x in the range of redirected pods. */
function virtual(address: string): string {
  return address.replace("127.0.", "198.18.");
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

test("under redirect, the destination names the connection and its room, and the addresses of names are nobody's to listen on", async (t) => {
  const { met, port, tcp, next, refused } = await start(t, "redirect");
  for (const [address, at] of [
    ["198.18.64.1", port],
    ["2001:2::c612:4003", port],
  ] as const) {
    Object.assign(next, { address, port: at });
    assert.equal(await heard("127.0.0.1", tcp), "met");
  }
  assert.deepEqual(met, [
    { room: "postgres", connection: "db" },
    { room: "passthrough sealed.example", connection: "sealed" },
  ]);
  for (const destination of [
    { address: "198.18.64.1", port: port === 22 ? 23 : 22 },
    { address: "10.0.0.1", port },
  ]) {
    Object.assign(next, destination);
    await assert.rejects(heard("127.0.0.1", tcp), { code: "ECONNRESET" });
  }
  assert.deepEqual(
    refused.map(({ target }) => target?.host),
    ["db.example", "10.0.0.1"],
  );
});

test("under redirect, a request is for the name that was dialled, or it is answered 421", async (t) => {
  const { port, tcp, next } = await start(t, "redirect");
  Object.assign(next, { address: "198.18.64.2", port });
  const ask = (host: string): Promise<string> =>
    raw(tcp, `GET /x HTTP/1.1\r\nHost: ${host}:${port}\r\nConnection: close\r\n\r\n`);
  assert.match(await ask("api.example"), /^HTTP\/1\.1 502 /, "decided, allowed and sent to nobody");
  for (const other of ["db.example", "other.example", "198.18.64.2"])
    assert.match(await ask(other), /^HTTP\/1\.1 421 /, other);
});

for (const interception of ["hosts", "endpoints", "redirect"] as const)
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

for (const way of ["hosts", "redirect", "HTTPS_PROXY"] as const)
  test(`by ${way}, a TLS handshake that names what no Connection has, or that is none, is ended and recorded`, async (t) => {
    const interception = way === "HTTPS_PROXY" ? "endpoints" : way;
    const { port, forward, tcp, next, refused } = await start(t, interception, "https");
    Object.assign(next, { address: "198.18.64.2", port });
    const dial = async (): Promise<Socket> => {
      const socket =
        way === "hosts"
          ? connect({ host: "127.0.64.2", port })
          : connect(way === "redirect" ? tcp : forward, "127.0.0.1");
      t.after(() => socket.destroy());
      socket.on("error", () => {});
      if (way !== "HTTPS_PROXY") return socket;
      socket.write(`CONNECT api.example:${port} HTTP/1.1\r\nHost: api.example:${port}\r\n\r\n`);
      await once(socket, "data");
      return socket;
    };
    const secure = tls({
      socket: await dial(),
      servername: "evil.example",
      rejectUnauthorized: false,
    });
    await assert.rejects(once(secure, "secureConnect"));
    const plain = await dial();
    plain.resume().write("GET / HTTP/1.1\r\nHost: api.example\r\n\r\n");
    await once(plain, "close");
    await eventually("both are recorded", () => refused.length === 2);
    assert.deepEqual(
      refused.map(({ code }) => code),
      ["ConnectionUnknown", "MalformedRequest"],
    );
    assert.match(refused[0]?.message ?? "", /no Connection of this pod has .*"evil\.example"/);
    assert.match(refused[1]?.message ?? "", /TLS handshake cannot be read/);
  });
