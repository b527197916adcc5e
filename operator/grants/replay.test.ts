import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { maxProofsPerCaller, ReplayCache } from "./replay.ts";
import { noncePeriodMs, serverNonces } from "./nonces.ts";

describe("the replay cache", () => {
  it("knows a proof for at least its period, and forgets it within two", () => {
    let now = 0;
    const cache = new ReplayCache(1_000, () => now);
    now = 900;
    assert.equal(cache.use("caller", "a"), "fresh");
    now = 1_899;
    assert.equal(cache.use("caller", "a"), "replayed");
    now = 3_000;
    assert.equal(cache.use("caller", "b"), "fresh");
    assert.equal(cache.use("caller", "a"), "fresh");
  });

  it("tells callers apart, and one that floods is refused alone", () => {
    const cache = new ReplayCache(1_000, () => 0);
    for (let i = 0; i < maxProofsPerCaller; i += 1)
      assert.equal(cache.use("noisy", String(i)), "fresh");
    assert.equal(cache.use("noisy", "one-more"), "too-many");
    assert.equal(cache.use("quiet", "0"), "fresh");
  });

  it("counts nothing twice when it has been idle for long", () => {
    let now = 0;
    const cache = new ReplayCache(1_000, () => now);
    for (let i = 0; i < 10; i += 1) cache.use("caller", String(i));
    now = 10_000;
    cache.use("caller", "new");
    assert.equal(cache.size, 1);
  });
});

describe("server nonces", () => {
  const secret = Buffer.alloc(32, 7);

  it("are accepted in their period and the next, by every replica with the same secret", () => {
    let now = 10 * noncePeriodMs;
    const one = serverNonces(secret, () => now);
    const other = serverNonces(secret, () => now);
    const nonce = one.current();
    assert.equal(other.accepts(nonce), true);
    now += noncePeriodMs;
    assert.notEqual(one.current(), nonce);
    assert.equal(other.accepts(nonce), true);
    now += noncePeriodMs;
    assert.equal(other.accepts(nonce), false);
  });

  it("cannot be made without the secret", () => {
    const nonce = serverNonces(Buffer.alloc(32, 8), () => 0).current();
    assert.equal(serverNonces(secret, () => 0).accepts(nonce), false);
    assert.equal(serverNonces(secret, () => 0).accepts(""), false);
  });
});
