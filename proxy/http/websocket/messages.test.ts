import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { createTextMasker } from "../../../policy/mask/detect.ts";
import { WebSocketViolation } from "./frame.ts";
import { ByteBudget } from "../byte-budget.ts";
import { maxMaskedBytes, Messages } from "./messages.ts";
import type { MessagesOptions } from "./messages.ts";

const masker = createTextMasker(
  [{ detector: "email", transform: { kind: "redact" }, policy: "a/b" }],
  Buffer.alloc(32),
);

function messages(options: Partial<MessagesOptions> = {}): Messages {
  return new Messages({
    part: "response",
    masker: () => masker,
    isKept: () => true,
    budget: new ByteBudget(2 * maxMaskedBytes),
    ...options,
  });
}

/** The text as one piece a byte, empty ones between. */
function crumbs(work: Messages, text: string): string {
  const bytes = Buffer.from(text);
  const out: Buffer[] = [];
  for (let at = 0; at < bytes.length; at++)
    for (const piece of [bytes.subarray(at, at + 1), Buffer.alloc(0)])
      for (const one of work.take("text", piece, at === 0 && piece.length === 1, false))
        out.push(Buffer.from(one.bytes));
  for (const one of work.take("text", Buffer.alloc(0), false, true))
    out.push(Buffer.from(one.bytes));
  return Buffer.concat(out).toString();
}

test("a text in crumbs is masked as one, kept as it was masked, and counted", () => {
  const work = messages();
  assert.equal(
    crumbs(work, "to ada@example.com and bob@example.com"),
    "to [redacted] and [redacted]",
  );
  assert.deepEqual(work.detected, { email: 2 });
  assert.deepEqual(work.content(), { part: "response", text: "to [redacted] and [redacted]\n" });
});

/** Garbage is collected first: other tests of this process left theirs. */
function heldBytes(): number {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  assert.ok(typeof collect === "function");
  collect();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

test("a million empty pieces take no memory", () => {
  const work = messages({ masker: () => undefined });
  const nothing = Buffer.alloc(0);
  work.take("text", Buffer.from("a"), true, false);
  const before = heldBytes();
  for (let times = 0; times < 1_000_000; times++)
    assert.deepEqual(work.take("text", nothing, false, false), []);
  assert.ok(heldBytes() - before < 30_000_000);
});

test("what cannot be held for masking is a violation, and what was held is given back", () => {
  const budget = new ByteBudget(3_000);
  const [one, other] = [messages({ budget }), messages({ budget })];
  one.take("text", Buffer.alloc(2_000, "a"), true, false);
  assert.throws(
    () => other.take("text", Buffer.alloc(2_000, "a"), true, false),
    (error: unknown) => error instanceof WebSocketViolation && error.code === 1013,
  );
  one.close();
  assert.equal(other.take("text", Buffer.alloc(2_000, "a"), true, true).length, 1);
  assert.throws(
    () => messages().take("text", Buffer.alloc(maxMaskedBytes + 1, "a"), true, true),
    (error: unknown) => error instanceof WebSocketViolation && error.code === 1008,
  );
});

test("what is not masked passes as it comes, and its record is cut and says so", () => {
  const work = messages({ masker: () => undefined });
  const piece = Buffer.alloc(50_000, "a");
  assert.deepEqual(work.take("text", piece, true, false), [
    { bytes: piece, isFirst: true, isLast: false },
  ]);
  work.take("text", piece, false, true);
  const content = work.content();
  assert.equal(content?.text.length, 64 * 1024);
  assert.equal(content?.truncated, true);
});
