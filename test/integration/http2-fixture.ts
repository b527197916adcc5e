// An upstream that speaks HTTP/2 over TLS, with a certificate of a CA made for the test.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { createSecureServer } from "node:http2";
import type { Http2SecureServer, SecureServerOptions, ServerHttp2Session } from "node:http2";
import type { TestContext } from "node:test";

import { authorityCertificate, leafCertificate } from "../../proxy/tls/certificate.ts";

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
