// HTTP/2 over TLS in tests: an upstream with a certificate of a CA made for the test, and a room behind the pod's own TLS.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { connect, constants, createSecureServer } from "node:http2";
import type {
  ClientHttp2Session,
  Http2SecureServer,
  IncomingHttpHeaders,
  OutgoingHttpHeaders,
  SecureServerOptions,
  ServerHttp2Session,
} from "node:http2";
import type { TestContext } from "node:test";
import { connect as secure } from "node:tls";
import type { TLSSocket } from "node:tls";

import { createPodAuthority } from "../../proxy/tls/authority.ts";
import { authorityCertificate, leafCertificate } from "../../proxy/tls/certificate.ts";
import { createTlsTerminator } from "../../proxy/tls/terminate.ts";
import { startRoom } from "./http-proxy-fixture.ts";
import type { ConnectionSetup, RoomSetup, TestRoom } from "./http-proxy-fixture.ts";

const dayMs = 86_400_000;

export interface Certified {
  readonly ca: string;
  readonly key: string;
  readonly cert: string;
}

export function certified(name = "localhost"): Certified {
  const valid = {
    notBefore: new Date(Date.now() - dayMs),
    notAfter: new Date(Date.now() + dayMs),
  };
  const authority = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const leaf = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  return {
    ca: authorityCertificate(authority.privateKey, [name], valid),
    key: leaf.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    cert: leafCertificate(authority.privateKey, leaf.publicKey, name, valid),
  };
}

export interface H2Origin {
  readonly port: number;
  /** For an upstream of a test room. */
  readonly upstream: { readonly port: number; readonly host: string; readonly ca: string };
  readonly server: Http2SecureServer;
  readonly sessions: ServerHttp2Session[];
}

/** @param prepare adds the listeners that answer */
export async function h2Origin(
  t: Pick<TestContext, "after">,
  prepare: (server: Http2SecureServer) => void,
  options: SecureServerOptions = {},
): Promise<H2Origin> {
  const { ca, key, cert } = certified();
  const server = createSecureServer({ key, cert, ...options });
  const sessions: ServerHttp2Session[] = [];
  server.on("session", (session) => {
    sessions.push(session);
    session.on("error", () => {});
  });
  server.on("tlsClientError", () => {});
  prepare(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const { port } = address;
  return { port, upstream: { port, host: "localhost", ca }, server, sessions };
}

export const h2Name = "app.example";

export interface H2Room extends TestRoom {
  /** PEM of the pod's own CA, which the listener's certificates are of. */
  readonly ca: string;
  /** A client of node:http2, closed with the test. */
  connect(): ClientHttp2Session;
  /** A TLS connection that settled on h2, for frames written by hand. */
  socket(alpn?: string[]): Promise<TLSSocket>;
}

/** A room behind the pod's TLS. */
export async function startH2Room(
  t: Pick<TestContext, "after">,
  setups: readonly ConnectionSetup[],
  names: readonly string[] = [h2Name],
  options: Pick<RoomSetup, "bodyPatienceMs"> = {},
): Promise<H2Room> {
  const authority = await createPodAuthority({ names, storage: "memory" });
  const terminator = createTlsTerminator({ authority });
  const room = await startRoom(t, setups, {
    ...options,
    route: { scheme: "https" },
    secure: (socket, accept) => terminator.accept(socket, accept),
  });
  const clients: ClientHttp2Session[] = [];
  const sockets: TLSSocket[] = [];
  t.after(() => {
    for (const client of clients) client.destroy();
    for (const socket of sockets) socket.destroy();
  });
  const ca = authority.certificate;
  const open = (ALPNProtocols: string[]): TLSSocket =>
    secure({ host: "127.0.0.1", port: room.port, servername: h2Name, ca, ALPNProtocols });
  return {
    ...room,
    ca,
    connect() {
      const client = connect(`https://${h2Name}`, { createConnection: () => open(["h2"]) });
      client.on("error", () => {});
      clients.push(client);
      return client;
    },
    async socket(alpn = ["h2"]) {
      const socket = open(alpn);
      sockets.push(socket);
      socket.on("error", () => {});
      await once(socket, "secureConnect");
      return socket;
    },
  };
}

export interface H2Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly text: string;
}

/** One request; rejects when its stream breaks off. */
export function ask(
  client: ClientHttp2Session,
  fields: OutgoingHttpHeaders,
  body?: string | Buffer,
): Promise<H2Answer> {
  return new Promise((resolve, reject) => {
    const stream = client.request({ ":path": "/", ...fields }, { endStream: body === undefined });
    const chunks: Buffer[] = [];
    let headers: IncomingHttpHeaders = {};
    let trailers: IncomingHttpHeaders = {};
    stream.on("response", (fields_) => (headers = fields_));
    stream.on("trailers", (fields_) => (trailers = fields_));
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("close", () => {
      if (stream.rstCode !== constants.NGHTTP2_NO_ERROR || headers[":status"] === undefined)
        reject(new Error(`the stream was closed with ${stream.rstCode}`));
      else
        resolve({
          status: Number(headers[":status"]),
          headers,
          trailers,
          text: Buffer.concat(chunks).toString("utf8"),
        });
    });
    if (body !== undefined) stream.end(body);
  });
}
