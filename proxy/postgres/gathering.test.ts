import assert from "node:assert/strict";
import { test } from "node:test";
import { Gathering, freeBytes, maxGatheredBytes } from "./gathering.ts";
import type { Share } from "./gathering.ts";

const mebibyte = 1024 * 1024;

interface Opened {
  readonly share: Share;
  readonly resumed: () => number;
  readonly failures: string[];
}

function open(gathering: Gathering, onResume: (share: Share) => void = () => undefined): Opened {
  let resumed = 0;
  const failures: string[] = [];
  const share = gathering.open({
    connection: "agents/orders-db",
    resume: () => {
      resumed += 1;
      onResume(share);
    },
    fail: (error) => {
      failures.push(error.message);
      share.close();
    },
  });
  return { share, resumed: () => resumed, failures };
}

test("small messages never wait, however little memory there is", () => {
  const gathering = new Gathering(() => 0);
  open(gathering).share.hold(maxGatheredBytes);
  const { share } = open(gathering);
  assert.equal(share.admits(freeBytes), true);
  assert.equal(share.admits(freeBytes + 1), false);
  share.close();
});

test("who waits is served in order, as soon as others let go", () => {
  const gathering = new Gathering(() => 0);
  const holder = open(gathering);
  assert.equal(holder.share.admits(maxGatheredBytes - mebibyte), true);
  const order: string[] = [];
  const first = open(gathering, (share) => share.admits(8 * mebibyte) && order.push("first"));
  const second = open(gathering, (share) => share.admits(mebibyte) && order.push("second"));
  assert.equal(first.share.admits(8 * mebibyte), false);
  assert.equal(second.share.admits(mebibyte), false, "it would fit, and yet is not the first");
  holder.share.hold(0);
  assert.deepEqual(order, ["first", "second"]);
  assert.equal(gathering.used, 9 * mebibyte);
  for (const { share } of [holder, first, second]) share.close();
  assert.equal(gathering.used, 0);
});

test("a session that alone holds everything goes on", () => {
  const gathering = new Gathering(() => 0);
  const { share } = open(gathering);
  share.hold(maxGatheredBytes);
  assert.equal(share.admits(8 * mebibyte), true);
  share.close();
});

test("who does not finish a message goes before who waits for room", async () => {
  const patienceMs = 20;
  const gathering = new Gathering(() => performance.now(), patienceMs);
  const slow = open(gathering);
  const busy = open(gathering);
  assert.equal(slow.share.admits(maxGatheredBytes / 2), true);
  assert.equal(busy.share.admits(maxGatheredBytes / 2), true);
  busy.share.betweenMessages();
  await new Promise<void>((resolve) => {
    const next = open(gathering, (share) => share.admits(mebibyte) && resolve());
    assert.equal(next.share.admits(mebibyte), false);
  });
  assert.match(slow.failures.join(), /agents\/orders-db.*32 MiB.*not finished in time/);
  assert.deepEqual(busy.failures, []);
});

test("who waits in vain is told so, and nobody waits for ever", async () => {
  const gathering = new Gathering(() => performance.now(), 20);
  const holder = open(gathering);
  holder.share.hold(maxGatheredBytes);
  const waiters = [open(gathering), open(gathering), open(gathering)];
  for (const { share } of waiters) assert.equal(share.admits(mebibyte), false);
  while (waiters.some(({ failures }) => failures.length === 0))
    await new Promise((resolve) => setTimeout(resolve, 5));
  for (const { failures } of waiters) assert.match(failures.join(), /waited for room in vain/);
  assert.equal(gathering.used, maxGatheredBytes);
  holder.share.close();
});
