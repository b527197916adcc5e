// WebSocket clients, unmodified, over verified TLS: `ws` of Node and `websockets` of Python, by the host's own address and through HTTPS_PROXY.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { request as plainRequest } from "node:http";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { createForwardProxy } from "../../../proxy/http/forward-proxy.ts";
import { listen } from "../../../proxy/net/listen.ts";
import { createPodAuthority } from "../../../proxy/tls/authority.ts";
import { createTlsTerminator } from "../../../proxy/tls/terminate.ts";
import { eventually, startRoom } from "../../integration/http-proxy-fixture.ts";
import type { TestRoom } from "../../integration/http-proxy-fixture.ts";
import { pythonPackages, reasonWithoutPython, runPython } from "../python.ts";

const requirements = ["websockets==17.4"];

interface Setup extends TestRoom {
  readonly ca: string;
  readonly caFile: string;
  readonly proxyUrl: string;
}

async function start(t: TestContext): Promise<Setup> {
  const origin = createServer();
  const server = new WebSocketServer({
    server: origin,
    perMessageDeflate: true,
    maxPayload: 16 * 1024 * 1024,
    handleProtocols: (offered) => (offered.has("v2") ? "v2" : false),
  });
  server.on("connection", (peer) =>
    peer.on("message", (data: Buffer, isBinary: boolean) => {
      const text = isBinary ? "" : data.toString();
      if (text.startsWith("close ")) peer.close(Number(text.slice(6)), "as asked");
      else peer.send(data, { binary: isBinary });
    }),
  );
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
  const address = origin.address();
  assert.ok(address !== null && typeof address === "object");
  const authority = await createPodAuthority({ names: ["live.example"], storage: "memory" });
  const terminator = createTlsTerminator({ authority });
  const room = await startRoom(
    t,
    [
      {
        upstream: { port: address.port },
        rules: [{ name: "live", http: { upgrades: ["websocket"] } }],
      },
    ],
    {
      route: { scheme: "https", select: (host) => (host === "live.example" ? gate() : undefined) },
      secure: (socket, accept) => terminator.accept(socket, accept),
    },
  );
  function gate() {
    return room.gate;
  }
  const forward = createForwardProxy({
    authority,
    accept: room.room.accept.bind(room.room),
    targetFor: (host, port) =>
      host === "live.example" && port === room.port
        ? { kind: "http", route: { scheme: "https", select: () => room.gate } }
        : undefined,
  });
  const proxy = await listen({
    host: "127.0.0.1",
    port: 0,
    onConnection: (socket) => forward.accept(socket),
  });
  const folder = await mkdtemp(join(tmpdir(), "websocket-"));
  const caFile = join(folder, "ca.pem");
  await writeFile(caFile, authority.certificate);
  t.after(async () => {
    for (const peer of server.clients) peer.terminate();
    await forward.close();
    await terminator.close();
    await proxy.close(0);
    origin.closeAllConnections();
    origin.close();
    await rm(folder, { recursive: true });
  });
  const proxyUrl = `http://127.0.0.1:${proxy.port}`;
  return { ...room, ca: authority.certificate, caFile, proxyUrl };
}

const expected = {
  subprotocol: "v2",
  extensions: [],
  text: "grüße €",
  fragments: "fragmented",
  large: 5_000_000,
  ping: true,
  close: [4321, "as asked"],
};

for (const way of ["by address", "through HTTPS_PROXY"])
  test(
    `websockets of Python, ${way}, hears what the server says`,
    { skip: reasonWithoutPython() ?? false },
    async (t) => {
      const setup = await start(t);
      const packages = await pythonPackages(requirements);
      const proxy = way === "by address" ? "direct" : setup.proxyUrl;
      const args = [String(setup.port), setup.caFile, proxy];
      assert.deepEqual(await runPython("http/websockets_scenes.py", args, packages), expected);
      await eventually("recorded", () => setup.operations().length === 1);
      const [event] = setup.operations();
      assert.deepEqual([event?.body.outcome?.status, event?.body.outcome?.httpStatus], ["ok", 101]);
    },
  );

for (const way of ["by address", "through HTTPS_PROXY"])
  test(`ws of Node, ${way}, hears what the server says`, async (t) => {
    const setup = await start(t);
    const tunnel = way === "by address" ? undefined : await tunnelTo(setup);
    const client = new WebSocket(`wss://live.example:${setup.port}/live`, ["v1", "v2"], {
      ca: setup.ca,
      ...(tunnel === undefined
        ? { lookup: (_host, _options, done) => done(null, [{ address: "127.0.0.1", family: 4 }]) }
        : { socket: tunnel }),
    });
    await once(client, "open");
    assert.equal(client.protocol, "v2");
    client.send("grüße €");
    const [text] = (await once(client, "message")) as [Buffer];
    assert.equal(text.toString(), "grüße €");
    client.send(Buffer.alloc(5_000_000));
    const [large] = (await once(client, "message")) as [Buffer];
    assert.equal(large.length, 5_000_000);
    client.send("close 4321");
    const [code, reason] = (await once(client, "close")) as [number, Buffer];
    assert.deepEqual([code, reason.toString()], [4321, "as asked"]);
  });

/** What an agent like https-proxy-agent does for it. */
async function tunnelTo({ proxyUrl, port }: Setup): Promise<Socket> {
  const { hostname, port: proxyPort } = new URL(proxyUrl);
  const target = `live.example:${port}`;
  const asked = plainRequest({
    host: hostname,
    port: proxyPort,
    method: "CONNECT",
    path: target,
    headers: { host: target },
  }).end();
  const [answer, socket] = (await once(asked, "connect")) as [{ statusCode: number }, Socket];
  assert.equal(answer.statusCode, 200);
  return socket;
}
