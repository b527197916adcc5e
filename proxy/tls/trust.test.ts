import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { rootCertificates } from "node:tls";

import { createPodAuthority } from "./authority.ts";
import { trustBundle, writeTrust } from "./trust.ts";
import { truststore } from "./truststore.ts";

test("the trust bundle holds roots, extra CAs and the pod's own, each on lines of its own", async () => {
  const { certificate } = await createPodAuthority({ names: [], storage: "memory" });
  const bundle = trustBundle({
    roots: rootCertificates,
    extraCAs: [`\n${rootCertificates[0] ?? ""}`],
    podCa: certificate,
  });
  const parsed = bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n/g) ?? [];
  assert.equal(parsed.length, rootCertificates.length + 2);
  assert.equal(
    new X509Certificate(parsed.at(-1) ?? "").fingerprint256,
    new X509Certificate(certificate).fingerprint256,
  );
});

test("the truststore holds every certificate of the bundle once, marked as trusted", async () => {
  const { certificate } = await createPodAuthority({ names: ["a.example"], storage: "memory" });
  const roots = rootCertificates.slice(0, 3);
  const store = truststore([...roots, ...roots, certificate].join("\n"));
  for (const pem of [...roots, certificate])
    assert.equal(occurrences(store, new X509Certificate(pem).raw), 1);
  // 2.16.840.1.113894.746875.1.1, Oracle's trustedKeyUsage
  assert.equal(occurrences(store, Buffer.from("060c6086480186f966adca7b0101", "hex")), 4);
  const name = Buffer.from("chaperone-4", "utf16le").swap16();
  assert.equal(occurrences(store, name), 1);
});

test("a restart replaces both files whole and leaves nothing beside them", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "trust-"));
  t.after(() => rm(directory, { recursive: true }));
  const file = join(directory, "ca.crt");
  for (const podCa of rootCertificates.slice(0, 2)) {
    await writeTrust(file, { roots: [], extraCAs: [], podCa });
    assert.deepEqual((await readdir(directory)).toSorted(), ["ca.crt", "ca.p12"]);
    assert.equal(await readFile(file, "utf8"), `${podCa.trim()}\n`);
    const store = await readFile(join(directory, "ca.p12"));
    assert.equal(occurrences(store, new X509Certificate(podCa).raw), 1);
  }
});

function occurrences(where: Buffer, what: Buffer): number {
  let count = 0;
  for (let at = where.indexOf(what); at >= 0; at = where.indexOf(what, at + 1)) count += 1;
  return count;
}
