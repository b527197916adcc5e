import assert from "node:assert/strict";
import { test } from "node:test";
import type { ToolPin } from "../../contract/control.ts";
import type { EventBody } from "../../contract/event.ts";
import { maxPinnedTools } from "../../contract/control.ts";
import { ToolPins } from "./tool-pins.ts";

const subject = { namespace: "agents", serviceAccount: "a", pod: "p", podUid: "u" };
const digest = (letter: string): string => `sha256-${letter.repeat(43)}`;
const connection = "agents/tools";

function pinsOver(kept: Map<string, readonly ToolPin[]> = new Map()) {
  const events: EventBody[] = [];
  let writes = 0;
  const pins = new ToolPins({
    store: {
      read: async (name) => kept.get(name) ?? [],
      write: async (name, tools) => {
        writes += 1;
        kept.set(name, tools);
      },
    },
    record: (type, body) => {
      assert.equal(type, "tool-pinned");
      events.push(body);
    },
    isLocal: false,
  });
  const see = (seen: ToolPin[], changed: ToolPin[] = []) =>
    pins.see(subject, { connection, seen, changed }, AbortSignal.timeout(1_000));
  return { see, events, kept, writes: () => writes };
}

test("the first digest that is seen stands, and each new pin is an event", async () => {
  const { see, events, writes } = pinsOver();
  await see([{ name: "search", digest: digest("a") }]);
  const tools = await see([
    { name: "search", digest: digest("b") },
    { name: "read", digest: digest("c") },
  ]);
  assert.deepEqual(tools, [
    { name: "search", digest: digest("a") },
    { name: "read", digest: digest("c") },
  ]);
  assert.deepEqual(
    events.map(({ operation }) => operation?.facts),
    [
      { tool: "search", digest: digest("a") },
      { tool: "read", digest: digest("c") },
    ],
  );
  await see([{ name: "search", digest: digest("b") }]);
  assert.equal(writes(), 2, "nothing new is written");
});

test("a change that may be replaces what stands, and the event names both", async () => {
  const { see, events } = pinsOver(
    new Map([[connection, [{ name: "search", digest: digest("a") }]]]),
  );
  const tools = await see([], [{ name: "search", digest: digest("b") }]);
  assert.deepEqual(tools, [{ name: "search", digest: digest("b") }]);
  assert.deepEqual(events[0]?.operation?.facts, {
    tool: "search",
    digest: digest("b"),
    previous: digest("a"),
  });
});

test("two that see at once do not lose each other's, and a Connection holds a bounded number", async () => {
  const { see, kept } = pinsOver();
  await Promise.all(
    Array.from({ length: 20 }, (_, at) => see([{ name: `t${at}`, digest: digest("a") }])),
  );
  assert.equal(kept.get(connection)?.length, 20);
  const many = Array.from({ length: maxPinnedTools + 10 }, (_, at) => ({
    name: `t${at}`,
    digest: digest("a"),
  }));
  assert.equal((await see(many)).length, maxPinnedTools);
});
