import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { UnseenRequests } from "./h2-unseen.ts";

test("requests that were begun and not handed up are counted once, in the middle and at the end", () => {
  const unseen = new UnseenRequests();
  assert.equal(unseen.take(0), 0);
  unseen.seen(1);
  unseen.seen(5);
  assert.equal(unseen.take(5), 1);
  assert.equal(unseen.take(7), 1);
  assert.equal(unseen.take(7), 0);
  unseen.seen(9);
  assert.equal(unseen.take(9), 0);
  unseen.seen(1_001);
  assert.equal(unseen.take(1_001), 10);
});

test("however requests come and whenever it is asked, all that were not handed up are found", () => {
  const step = fc.record({ isSeen: fc.boolean(), asks: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 10 }), (steps) => {
      const unseen = new UnseenRequests();
      let found = 0;
      let id = -1;
      for (const { isSeen, asks } of steps) {
        id += 2;
        if (isSeen) unseen.seen(id);
        if (asks) found += unseen.take(id);
      }
      found += unseen.take(Math.max(id, 0));
      assert.equal(found, steps.filter(({ isSeen }) => !isSeen).length);
    }),
  );
});
