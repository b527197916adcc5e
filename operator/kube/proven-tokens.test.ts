import assert from "node:assert/strict";
import { test } from "node:test";
import { ProvenTokens, provenTtlMs } from "./proven-tokens.ts";

test("what a token said counts for half a minute, and no longer than the token", () => {
  let now = 1_000_000;
  const tokens = new ProvenTokens<string>(() => now);
  tokens.add("long", "a pod", now + 600_000);
  tokens.add("short", "another", now + 5_000);
  assert.deepEqual([tokens.get("long"), tokens.get("short")], ["a pod", "another"]);
  assert.equal(tokens.get("lon"), undefined);
  now += 5_000;
  assert.deepEqual([tokens.get("long"), tokens.get("short")], ["a pod", undefined]);
  now += provenTtlMs - 5_001;
  assert.equal(tokens.get("long"), "a pod");
  now += 1;
  assert.equal(tokens.get("long"), undefined, "it is checked again however often it was shown");
});

test("tokens beyond the bound push out those that were proven first", () => {
  const tokens = new ProvenTokens<number>(() => 0);
  for (let n = 0; n <= 20_000; n += 1) tokens.add(`token ${n}`, n, 600_000);
  assert.deepEqual(
    [tokens.get("token 0"), tokens.get("token 1"), tokens.get("token 20000")],
    [undefined, 1, 20_000],
  );
});
