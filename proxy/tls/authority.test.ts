import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { createPodAuthority } from "./authority.ts";

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
