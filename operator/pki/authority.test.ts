import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { connect, createServer, type TLSSocket } from "node:tls";
import {
  isDue,
  newAuthority,
  newServing,
  renewedAuthority,
  servingLifeMs,
  trustBundle,
  type Serving,
} from "./authority.ts";

const names = ["chaperone.chaperone-system.svc"];
const day = 86_400_000;

/** What a client that trusts `ca` makes of a server that serves `serving`. */
async function handshake(serving: Serving, ca: string, servername: string): Promise<string> {
  const server = createServer({ ...serving, minVersion: "TLSv1.3" }, (socket) => socket.end());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  try {
    return await new Promise<string>((resolve) => {
      const socket: TLSSocket = connect({ host: "127.0.0.1", port, ca, servername }, () => {
        resolve("trusted");
        socket.destroy();
      });
      socket.on("error", (error) => resolve("code" in error ? String(error.code) : error.message));
    });
  } finally {
    server.close();
  }
}

test("a leaf is trusted under its names by whoever trusts the authority, and under no other", async () => {
  const authority = newAuthority(Date.now());
  const serving = newServing(authority, names, Date.now());
  assert.equal(
    await handshake(serving, trustBundle(authority, Date.now()), "chaperone.chaperone-system.svc"),
    "trusted",
  );
  assert.equal(
    await handshake(serving, trustBundle(authority, Date.now()), "other.svc"),
    "ERR_TLS_CERT_ALTNAME_INVALID",
  );
  assert.notEqual(
    await handshake(
      serving,
      newAuthority(Date.now()).certificate,
      "chaperone.chaperone-system.svc",
    ),
    "trusted",
  );
});

test("after a renewal those who know only the old authority still trust the new leaf, and the other way round", async () => {
  const old = newAuthority(Date.now());
  const renewed = renewedAuthority(old, Date.now());
  const serving = newServing(renewed, names, Date.now());
  const [name = ""] = names;
  assert.equal(await handshake(serving, old.certificate, name), "trusted");
  assert.equal(await handshake(serving, renewed.certificate, name), "trusted");
  assert.equal(
    await handshake(newServing(old, names, Date.now()), trustBundle(renewed, Date.now()), name),
    "trusted",
  );
});

test("a certificate is due after two thirds of its life", () => {
  const now = Date.now();
  const { cert } = newServing(newAuthority(now), names, now);
  assert.equal(isDue(cert, now), false);
  assert.equal(isDue(cert, now + (servingLifeMs * 2) / 3 - day / 2), false);
  assert.equal(isDue(cert, now + (servingLifeMs * 2) / 3 + 60_000), true);
});

test("an authority that has ended leaves the bundle and the chain", () => {
  const now = Date.now();
  const old = newAuthority(now);
  const renewed = renewedAuthority(old, now + 4 * 365 * day);
  const later = now + 6 * 365 * day;
  assert.equal(trustBundle(renewed, now + 4 * 365 * day).includes(old.certificate), true);
  assert.equal(trustBundle(renewed, later), renewed.certificate);
  assert.equal(newServing(renewed, names, later).cert.match(/BEGIN/g)?.length, 1);
});
