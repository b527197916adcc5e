import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { sha256 } from "../../contract/canonical.ts";
import { maxContentBytes } from "../pipeline.ts";
import { BodyBudget, maxKeptBytes, uncountedTextBytes } from "./body-budget.ts";
import { TextObserver } from "./text-observer.ts";

const none = { keep: () => false };

function observed(share: { keep: (bytes: number) => boolean }, pieces: readonly string[]) {
  const observer = new TextObserver("request", share);
  for (const piece of pieces) observer.take(Buffer.from(piece));
  return observer.finish().contents;
}

test("a text that finds no room is kept by its beginning, and by digest and size as a whole", () => {
  const long = "x".repeat(100_000);
  assert.deepEqual(observed(none, [long.slice(0, 70_000), long.slice(70_000)]), [
    {
      part: "request",
      text: long.slice(0, uncountedTextBytes),
      truncated: true,
      whole: { sha256: sha256(long), bytes: long.length },
    },
  ]);
  assert.deepEqual(observed(none, ["short"]), [{ part: "request", text: "short" }]);
});

test("all texts together hold what they may, each at most its own part, and give it back with their operation", () => {
  const budget = new BodyBudget();
  const long = "x".repeat(2 * maxContentBytes);
  const shares = Array.from({ length: 1_000 }, () => budget.share());
  const texts = shares.map((share) => observed(share, [long])[0]);
  const kept = texts.map((one) => one?.text.length ?? 0);
  const counted = kept.reduce((sum, length) => sum + Math.max(0, length - uncountedTextBytes), 0);
  assert.ok(counted <= maxKeptBytes && counted > maxKeptBytes - maxContentBytes, `${counted}`);
  assert.ok(kept.every((length) => length >= uncountedTextBytes && length <= maxContentBytes));
  assert.ok(texts.every((one) => one?.truncated === true));
  const digests = texts.filter((one) => one?.whole !== undefined);
  assert.equal(digests.length, kept.filter((length) => length === uncountedTextBytes).length);
  for (const share of shares) share.release();
  assert.ok(budget.share().keep(maxKeptBytes));
});

test("however a text comes in pieces and wherever the room ends, its digest is over all of it and what is kept is its beginning", () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ maxLength: 3_000, unit: "grapheme-ascii" }), { maxLength: 40 }),
      fc.nat(80_000),
      (pieces, room) => {
        let left = room;
        const share = { keep: (bytes: number) => bytes <= left && ((left -= bytes), true) };
        const [one] = observed(share, pieces);
        const whole = pieces.join("");
        if (whole === "") return assert.equal(one, undefined);
        assert.ok(one !== undefined && whole.startsWith(one.text));
        assert.equal(one.truncated === true, one.text !== whole);
        if (one.whole === undefined)
          assert.equal(one.text.length, Math.min(whole.length, maxContentBytes));
        else assert.deepEqual(one.whole, { sha256: sha256(whole), bytes: whole.length });
      },
    ),
  );
});
