import assert from "node:assert/strict";
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { memoryKeyStore } from "../api/fixture.ts";
import { keyFileStore } from "./key-file.ts";
import {
  keyLifetimeMs,
  keyOverlapMs,
  newKey,
  reloadIntervalMs,
  SigningKeys,
  type KeyStore,
} from "./keys.ts";
import { signGrant, verifyPodGrant } from "./token.ts";

const soon = (): AbortSignal => AbortSignal.timeout(5_000);
const hour = 60 * 60 * 1000;
const claims = {
  subject: { namespace: "agents", serviceAccount: "a", pod: "p", podUid: "u" },
  audience: "chaperone.dev",
  binding: { jkt: "k", boundAt: 1, startedAt: 2 },
};

describe("signing keys", () => {
  it("are made once, and read by whoever comes later", async () => {
    const store = memoryKeyStore();
    const [one, other] = await Promise.all([
      SigningKeys.open({ store, now: Date.now }, soon()),
      SigningKeys.open({ store, now: Date.now }, soon()),
    ]);
    assert.equal(one.signer().kid, other.signer().kid);
    assert.equal(store.saved.length, 1);
    assert.deepEqual(one.derive("nonce"), other.derive("nonce"));
    assert.notDeepEqual(one.derive("mask/a"), one.derive("mask/b"));
  });

  it("never publish a private part", async () => {
    const keys = await SigningKeys.open({ store: memoryKeyStore(), now: Date.now }, soon());
    assert.deepEqual(Object.keys(keys.jwks().keys[0] ?? {}).sort(), [
      "alg",
      "crv",
      "kid",
      "kty",
      "use",
      "x",
    ]);
  });

  it("publish the next key a day before it signs, and the previous one a day after", async () => {
    let now = Date.parse("2026-01-01T00:00:00Z");
    const keys = await SigningKeys.open({ store: memoryKeyStore(), now: () => now }, soon());
    const first = keys.signer().kid;
    const secret = keys.derive("nonce");
    const published = (): string[] => keys.jwks().keys.map(({ kid }) => String(kid));

    now += keyLifetimeMs - keyOverlapMs - hour;
    await keys.maintain(soon());
    assert.deepEqual(published(), [first]);
    now += hour;
    await keys.maintain(soon());
    const [, next] = published();
    assert.equal(keys.signer().kid, first);
    assert.ok(next);

    now += keyOverlapMs - hour;
    await keys.maintain(soon());
    assert.equal(keys.signer().kid, first, "not before its time");
    now += hour;
    await keys.maintain(soon());
    assert.equal(keys.signer().kid, next);
    assert.deepEqual(published(), [next, first]);

    now += keyOverlapMs;
    await keys.maintain(soon());
    assert.deepEqual(published(), [next]);
    assert.deepEqual(keys.derive("nonce"), secret, "what is derived outlives the keys");
  });

  it("sign with a key that was published for a day first, also after the operator slept through the rotation", async () => {
    let now = 0;
    const store = memoryKeyStore();
    const keys = await SigningKeys.open({ store, now: () => now }, soon());
    const first = keys.signer().kid;
    now = 10 * keyLifetimeMs;
    await keys.maintain(soon());
    assert.equal(keys.signer().kid, first);
    now += keyOverlapMs;
    await keys.maintain(soon());
    assert.notEqual(keys.signer().kid, first);
  });

  it("verify a grant that another replica signed with a key this one has not read yet", async () => {
    let now = 0;
    const store = memoryKeyStore();
    const one = await SigningKeys.open({ store, now: () => now }, soon());
    const other = await SigningKeys.open({ store, now: () => now }, soon());
    now = keyLifetimeMs;
    await one.maintain(soon());
    now += keyOverlapMs;
    await one.maintain(soon());
    const { token } = signGrant(one, claims, 60, now);
    assert.equal((await verifyPodGrant(other, token, now, soon())).subject.pod, "p");
  });

  it("are not read again for every unknown key id", async () => {
    let now = reloadIntervalMs * 10;
    let loads = 0;
    const inner = memoryKeyStore();
    const store: KeyStore = { ...inner, load: (signal) => ((loads += 1), inner.load(signal)) };
    const keys = await SigningKeys.open({ store, now: () => now }, soon());
    now += reloadIntervalMs;
    const before = loads;
    for (let i = 0; i < 20; i += 1)
      assert.equal(await keys.verifier(`forged-${i}`, soon()), undefined);
    assert.equal(loads, before + 1);
  });

  it("refuse grants that are expired, of strangers, or signed with another algorithm", async () => {
    const keys = await SigningKeys.open({ store: memoryKeyStore(), now: Date.now }, soon());
    const stranger = await SigningKeys.open({ store: memoryKeyStore(), now: Date.now }, soon());
    const now = Date.now();
    const { token } = signGrant(keys, claims, 60, now);
    await assert.rejects(verifyPodGrant(keys, token, now + 66_000, soon()), {
      reason: "GrantExpired",
    });
    await assert.rejects(verifyPodGrant(stranger, token, now, soon()), { reason: "GrantInvalid" });
    const [, payload] = token.split(".");
    const none = `${Buffer.from(JSON.stringify({ alg: "none", typ: "at+jwt", kid: keys.signer().kid })).toString("base64url")}.${payload}.`;
    await assert.rejects(verifyPodGrant(keys, none, now, soon()), { reason: "GrantInvalid" });
  });
});

describe("keys in files", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "chaperone-keys-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it("can be read by their owner alone, and survive a restart", async () => {
    const inside = join(directory, "keys");
    const one = await SigningKeys.open({ store: keyFileStore(inside), now: Date.now }, soon());
    const other = await SigningKeys.open({ store: keyFileStore(inside), now: Date.now }, soon());
    assert.equal(one.signer().kid, other.signer().kid);
    assert.deepEqual(await readdir(inside), ["keys.1.json"]);
    assert.equal((await stat(join(inside, "keys.1.json"))).mode & 0o777, 0o600);
    assert.equal((await stat(inside)).mode & 0o777, 0o700);
  });

  it("are refused when others can read them, with the command that mends it", async () => {
    await SigningKeys.open({ store: keyFileStore(directory), now: Date.now }, soon());
    await chmod(join(directory, "keys.1.json"), 0o644);
    await assert.rejects(
      keyFileStore(directory).load(soon()),
      /can be read by others \(mode 644\); run: chmod 600/,
    );
  });

  it("are refused when they are not keys, without saying what they are", async () => {
    await writeFile(join(directory, "keys.1.json"), '{"secret":"hunter2"}', { mode: 0o600 });
    await assert.rejects(
      keyFileStore(directory).load(soon()),
      (error: Error) =>
        /does not hold signing keys/.test(error.message) && !/hunter2/.test(error.message),
    );
  });

  it("are written by one of many that write at once", async () => {
    const store = keyFileStore(directory);
    const { keys: nothing, revision } = await store.load(soon());
    assert.equal(nothing, undefined);
    const key = await newKey(0);
    const stored = {
      version: 1,
      current: key,
      since: key.createdAt,
      secret: Buffer.alloc(32).toString("base64url"),
    } as const;
    const results = await Promise.all(
      Array.from({ length: 20 }, () => store.save(stored, revision, soon())),
    );
    assert.equal(results.filter((saved) => saved).length, 1);
  });

  it("cannot be replaced by someone who slept through two revisions", async () => {
    const store = keyFileStore(directory);
    const key = await newKey(0);
    const stored = {
      version: 1,
      current: key,
      since: key.createdAt,
      secret: Buffer.alloc(32).toString("base64url"),
    } as const;
    for (const revision of ["0", "1", "2"])
      assert.equal(await store.save(stored, revision, soon()), true);
    assert.equal(await store.save(stored, "0", soon()), false);
    assert.equal((await store.load(soon())).revision, "3");
    assert.deepEqual((await readdir(directory)).sort(), ["keys.2.json", "keys.3.json"]);
  });
});
