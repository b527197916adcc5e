import assert from "node:assert/strict";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { duplexPair } from "node:stream";
import type { Duplex } from "node:stream";
import { test } from "node:test";
import { connect, TLSSocket } from "node:tls";
import type { ConnectionOptions } from "node:tls";

import { createPodAuthority } from "./authority.ts";
import type { PodAuthority } from "./authority.ts";
import { authorityCertificate, leafCertificate } from "./certificate.ts";

test("the CA is one by Node's reading, and a leaf is not", async () => {
  const authority = await createPodAuthority({ names: ["api.openai.com"], storage: "memory" });
  const ca = new X509Certificate(authority.certificate);
  assert.equal(ca.ca, true);
  assert.ok(ca.verify(ca.publicKey));
  assert.match(ca.subject, /Chaperone pod CA [0-9a-f]{12}/);
});

test("a certificate is minted once a name, whatever its case, and for no foreign name", async () => {
  const authority = await createPodAuthority({ names: ["Orders-DB"], storage: "memory" });
  assert.equal(authority.secureContextFor("orders-db"), authority.secureContextFor("ORDERS-db"));
  assert.ok(authority.secureContextFor("127.0.64.3"));
  assert.throws(() => authority.secureContextFor("example.com"), RangeError);
  assert.throws(() => authority.secureContextFor("10.0.0.1"), RangeError);
});

test("a leaf is minted again in the middle of its life", async () => {
  let now = new Date("2026-11-20T00:00:00Z");
  const authority = await createPodAuthority({
    names: ["a.example"],
    storage: "memory",
    now: () => now,
  });
  const first = authority.secureContextFor("a.example");
  now = new Date("2027-01-15T00:00:00Z");
  assert.notEqual(authority.secureContextFor("a.example"), first);
});

test("a stored CA survives a restart, unreadable for others, and is replaced when names change, it nears its end or it is damaged", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "authority-"));
  t.after(() => rm(directory, { recursive: true }));
  const start = async (names: string[], now = "2026-11-20T00:00:00Z") =>
    (await createPodAuthority({ names, storage: { directory }, now: () => new Date(now) }))
      .certificate;
  const first = await start(["a.example", "b.example"]);
  assert.equal(await start(["b.example", "a.example"]), first);
  assert.deepEqual(await readdir(directory), ["authority.json"]);
  assert.equal((await stat(join(directory, "authority.json"))).mode & 0o777, 0o600);
  const second = await start(["a.example"]);
  assert.notEqual(second, first);
  const third = await start(["a.example"], "2027-11-01T00:00:00Z");
  assert.notEqual(third, second);
  await writeFile(join(directory, "authority.json"), '{"names":"a.example","key":"-----BEG');
  assert.notEqual(await start(["a.example"]), third);
});

/** Shakes hands with a server that has this name's context. */
async function met(
  authority: PodAuthority,
  name: string,
  trust: ConnectionOptions = { ca: authority.certificate },
): Promise<{ readonly client: TLSSocket; readonly server: TLSSocket }> {
  const [inside, outside] = duplexPair();
  const server = new TLSSocket(inside as Duplex, {
    isServer: true,
    secureContext: authority.secureContextFor(name),
  });
  server.on("error", () => undefined);
  const client = connect({
    socket: outside as Duplex,
    ...(isIP(name) === 0 && { servername: name }),
    ...trust,
  });
  await once(client, "secureConnect");
  return { client, server };
}

/** What a server with this name's context shows. */
async function shown(authority: PodAuthority, name: string): Promise<X509Certificate> {
  const { client, server } = await met(authority, name);
  const certificate = client.getPeerX509Certificate();
  client.destroy();
  server.destroy();
  assert.ok(certificate !== undefined);
  return certificate;
}

test("a handshake costs what it must: the leaf comes without the CA, and over X25519 with whoever offers it", async () => {
  const authority = await createPodAuthority({ names: ["a.example"], storage: "memory" });
  const knowsNothing = { ca: [], rejectUnauthorized: false };
  const { client, server } = await met(authority, "a.example", knowsNothing);
  assert.ok(client.getPeerX509Certificate() !== undefined);
  assert.equal(client.getPeerX509Certificate()?.issuerCertificate, undefined);
  assert.deepEqual(client.getEphemeralKeyInfo(), { type: "ECDH", name: "X25519", size: 253 });
  client.destroy();
  server.destroy();
  for (const ecdhCurve of ["P-256", "P-384", "P-521"]) {
    const other = await met(authority, "a.example", { ...knowsNothing, ecdhCurve });
    other.client.destroy();
    other.server.destroy();
  }
});

test("leaves are ECDSA P-256 under one key of the process, and each is for one name", async () => {
  const authority = await createPodAuthority({
    names: ["a.example", "b.example"],
    storage: "memory",
  });
  const [a, b] = [await shown(authority, "a.example"), await shown(authority, "b.example")];
  assert.equal(a.publicKey.asymmetricKeyType, "ec");
  assert.equal(a.publicKey.asymmetricKeyDetails?.namedCurve, "prime256v1");
  assert.ok(a.publicKey.equals(b.publicKey));
  assert.ok(!a.publicKey.equals(new X509Certificate(authority.certificate).publicKey));
  assert.equal(a.subjectAltName, "DNS:a.example");
  assert.notEqual(a.serialNumber, b.serialNumber);
});

test("five hundred contexts are kept: the least recently used goes, one that is used stays", async () => {
  const names = Array.from({ length: 520 }, (_, index) => `host-${index}.example`);
  const authority = await createPodAuthority({ names, storage: "memory" });
  const [first = "", second = "", ...others] = names;
  const used = authority.secureContextFor(first);
  const forgotten = authority.secureContextFor(second);
  for (const name of others) {
    authority.secureContextFor(name);
    assert.equal(authority.secureContextFor(first), used);
  }
  assert.notEqual(authority.secureContextFor(second), forgotten);
});

test("names that no Connection has cost no certificate, however many are asked for", async () => {
  const authority = await createPodAuthority({ names: ["a.example"], storage: "memory" });
  const kept = authority.secureContextFor("a.example");
  for (let index = 0; index < 2_000; index++)
    assert.throws(() => authority.secureContextFor(`random-${index}.example`), RangeError);
  // Had they been minted, this one would have been the least recently used.
  assert.equal(authority.secureContextFor("a.example"), kept);
});

test("the CA's constraint holds it to the names of the pod: OpenSSL refuses what it would sign for another", async () => {
  const authority = await createPodAuthority({ names: ["a.example"], storage: "memory" });
  const text = new X509Certificate(authority.certificate).raw.toString("latin1");
  assert.ok(text.includes("a.example"), "the constraint names it");
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const validity = {
    notBefore: new Date(Date.now() - 1_000),
    notAfter: new Date(Date.now() + 86_400_000),
  };
  const ca = authorityCertificate(privateKey, ["a.example"], validity);
  const leaf = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const handshake = async (name: string): Promise<void> => {
    const [inside, outside] = duplexPair();
    const server = new TLSSocket(inside as Duplex, {
      isServer: true,
      key: leaf.privateKey.export({ type: "pkcs8", format: "pem" }),
      cert: leafCertificate(privateKey, leaf.publicKey, name, validity) + ca,
    });
    server.on("error", () => undefined);
    const client = connect({ socket: outside as Duplex, servername: name, ca });
    try {
      await once(client, "secureConnect");
    } finally {
      client.destroy();
      server.destroy();
    }
  };
  await handshake("a.example");
  await assert.rejects(handshake("evil.example"), /permitted subtree|PERMITTED/i);
});
