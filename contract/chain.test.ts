import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { canonicalJson } from "./canonical.ts";
import type { EventBody, StoredEvent } from "./event.ts";
import {
  type ChainLink,
  firstPrev,
  flattenEvent,
  hashBody,
  hashHeader,
  parseFlat,
  shadowsHeader,
  startOf,
  verifyChain,
} from "./chain.ts";

const stream = "agents/invoice-7c9d/6f1c";

function chainOf(bodies: readonly EventBody[], name = stream): StoredEvent[] {
  let prev = firstPrev;
  return bodies.map((body, index) => {
    const header = {
      stream: name,
      seq: index + 1,
      time: "2026-11-20T10:00:00.123Z",
      type: "operation" as const,
      prev,
      bodyHash: hashBody(body),
    };
    prev = hashHeader(header);
    return { header, hash: prev, body };
  });
}

const jsonValue = fc.jsonValue({ maxDepth: 4, stringUnit: "grapheme" });
const bodies = fc.array(
  fc.record({
    session: fc.string({ unit: "grapheme" }),
    operation: fc.record({
      kind: fc.constant("sql"),
      summary: fc.string({ unit: "grapheme" }),
      facts: fc.dictionary(
        fc.string({ unit: "grapheme" }).filter((key) => key !== "__proto__"),
        jsonValue,
      ),
    }),
  }),
  { minLength: 2, maxLength: 8 },
);

test("an untouched chain verifies, whole or in batches", () => {
  fc.assert(
    fc.property(bodies, fc.nat(8), (list, cut) => {
      const events = chainOf(list);
      const first = verifyChain(events.slice(0, cut), startOf(stream));
      const second = verifyChain(events.slice(cut), first.position);
      assert.equal(first.fault ?? second.fault, undefined);
      assert.equal(second.position.seq, events.length);
    }),
  );
});

/** Every scalar position in a JSON value, with a way to put another value there. */
function places(
  value: unknown,
  set: (next: unknown) => unknown,
): { readonly was: unknown; readonly put: (next: unknown) => unknown }[] {
  if (Array.isArray(value))
    return value.flatMap((item, index) => places(item, (next) => set(value.with(index, next))));
  if (typeof value === "object" && value !== null)
    return Object.entries(value).flatMap(([key, item]) =>
      places(item, (next) => set({ ...value, [key]: next })),
    );
  return [{ was: value, put: set }];
}

test("altering any one field of any event is found, at that event", () => {
  fc.assert(
    fc.property(bodies, fc.nat(), fc.nat(), jsonValue, (list, pick, place, instead) => {
      const events = chainOf(list);
      const index = pick % events.length;
      const all = places(events[index], (next) => next);
      const target = all[place % all.length];
      assert.ok(target !== undefined);
      fc.pre(canonicalJson(target.was) !== canonicalJson(instead));
      const forged: ChainLink[] = [...events];
      forged[index] = JSON.parse(JSON.stringify(target.put(instead))) as ChainLink;
      const { fault, position } = verifyChain(forged, startOf(stream));
      assert.ok(fault !== undefined, "not found");
      assert.equal(position.seq, index);
    }),
    { numRuns: 400 },
  );
});

test("an event altered together with its own hash is found at the next one", () => {
  const events = chainOf([{ session: "a" }, { session: "b" }, { session: "c" }]);
  const [first, second, third] = events;
  assert.ok(first && second && third);
  const header = { ...second.header, bodyHash: hashBody({ session: "x" }) };
  const { fault } = verifyChain(
    [first, { header, hash: hashHeader(header), body: { session: "x" } }, third],
    startOf(stream),
  );
  assert.deepEqual([fault?.kind, fault?.seq], ["broken-link", 3]);
});

test("a removed event is a gap at its number", () => {
  fc.assert(
    fc.property(bodies, fc.nat(), (list, pick) => {
      const events = chainOf(list);
      const index = pick % (events.length - 1);
      const { fault } = verifyChain(events.toSpliced(index, 1), startOf(stream));
      assert.deepEqual([fault?.kind, fault?.seq], ["gap", index + 1]);
    }),
  );
});

test("reordered and repeated events are found", () => {
  fc.assert(
    fc.property(bodies, fc.nat(), fc.nat(), (list, one, other) => {
      const events = chainOf(list);
      const [a, b] = [one % events.length, other % events.length];
      const [x, y] = [events[a], events[b]];
      assert.ok(x && y);
      if (a !== b) assert.ok(verifyChain(events.with(a, y).with(b, x), startOf(stream)).fault);
      assert.equal(
        verifyChain(events.toSpliced(a, 0, x), startOf(stream)).fault?.kind,
        "broken-link",
      );
    }),
  );
});

test("events of another stream do not pass as this stream's", () => {
  const { fault } = verifyChain(chainOf([{}, {}], "agents/other/1"), startOf(stream));
  assert.equal(fault?.kind, "altered-header");
});

test("a lost body is a fault, a pruned one is not", () => {
  const events: ChainLink[] = chainOf([{ session: "a" }, { session: "b" }]);
  const [first, second] = events;
  assert.ok(first && second);
  assert.equal(
    verifyChain([{ ...first, body: "pruned" }, second], startOf(stream)).fault,
    undefined,
  );
  assert.deepEqual(
    verifyChain([{ ...first, body: undefined }, second], startOf(stream)).fault?.kind,
    "missing-body",
  );
});

test("only a successor stream may start at another number, and never by hiding what stood before", () => {
  const late = (name: string, prev: string): ChainLink => {
    const header = {
      stream: name,
      seq: 7,
      time: "2026-11-20T10:00:00.123Z",
      type: "gap" as const,
      prev,
      bodyHash: hashBody({}),
    };
    return { header, hash: hashHeader(header), body: {} };
  };
  assert.equal(
    verifyChain([late(`${stream}.1`, firstPrev)], startOf(`${stream}.1`)).fault,
    undefined,
  );
  assert.equal(verifyChain([late(stream, firstPrev)], startOf(stream)).fault?.kind, "gap");
  assert.equal(
    verifyChain([late(`${stream}.1`, hashBody({}))], startOf(`${stream}.1`)).fault?.kind,
    "broken-link",
  );
});

test("the printed line has the contract's member order and leads back to the same event", () => {
  const [event] = chainOf([
    {
      outcome: { status: "ok" },
      decision: {
        verdict: "allow",
        policy: "agents/p",
        rule: "r",
        reason: "RuleMatched",
        message: "m",
        mode: "Enforce",
      },
      session: "s",
      intent: 41,
      assurance: "local",
    },
  ]);
  assert.ok(event);
  const line = JSON.stringify(flattenEvent(event));
  assert.deepEqual(Object.keys(JSON.parse(line) as object), [
    "stream",
    "seq",
    "time",
    "type",
    "prev",
    "bodyHash",
    "hash",
    "intent",
    "session",
    "decision",
    "outcome",
    "assurance",
  ]);
  const back = parseFlat(line);
  assert.deepEqual(back, event);
  assert.equal(verifyChain([back], startOf(stream)).fault, undefined);
});

test("a line that is no event is refused by the name of the member", () => {
  assert.throws(() => parseFlat('{"stream":"s","seq":"1"}'), /"seq" must be a number/);
  assert.throws(() => parseFlat("[]"), /not a JSON object/);
  assert.equal(shadowsHeader({ seq: 1 }), true);
});
