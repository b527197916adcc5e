import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Limits, Recording, Transform } from "./bundle.ts";
import { mergeMasks, stricterLimits, stricterRecording, stricterTransform } from "./strictness.ts";

const keep = fc.nat({ max: 4 });
const transform: fc.Arbitrary<Transform> = fc.oneof(
  fc.constantFrom<Transform>(
    { kind: "redact" },
    { kind: "nullify" },
    { kind: "hash" },
    { kind: "tokenize" },
  ),
  fc.constantFrom("a", "b").map((value) => ({ kind: "fixed" as const, value })),
  fc.constantFrom("year", "month", "day").map((to) => ({ kind: "truncateDate" as const, to })),
  fc
    .record({ keepFirst: keep, keepLast: keep })
    .map((kept) => ({ kind: "partial" as const, ...kept })),
);
const amount = fc.option(fc.nat({ max: 5 }), { nil: undefined });
const limits: fc.Arbitrary<Limits> = fc
  .record({
    requestsPerMinute: amount,
    tokensPerDay: amount,
    costPerDay: amount,
    rowsPerResult: amount,
    idleTimeoutSeconds: amount,
    repeats: fc.option(
      fc
        .uniqueArray(fc.record({ max: fc.nat({ max: 3 }), withinSeconds: fc.nat({ max: 3 }) }), {
          minLength: 1,
          selector: ({ withinSeconds }) => withinSeconds,
        })
        .map((all) => all.toSorted((a, b) => a.withinSeconds - b.withinSeconds)),
      { nil: undefined },
    ),
  })
  .map((given): Limits => JSON.parse(JSON.stringify(given)));
const recording: fc.Arbitrary<Recording> = fc.record(
  {
    detail: fc.constantFrom("Metadata", "Statements", "Full"),
    strict: fc.boolean(),
    retentionDays: fc.nat({ max: 9 }),
  },
  { noNullPrototype: true },
);

function promises<T>(what: string, arbitrary: fc.Arbitrary<T>, merge: (a: T, b: T) => T): void {
  test(`merging ${what} is commutative, associative and idempotent`, () => {
    fc.assert(
      fc.property(arbitrary, arbitrary, arbitrary, (a, b, c) => {
        assert.deepEqual(merge(a, b), merge(b, a));
        assert.deepEqual(merge(merge(a, b), c), merge(a, merge(b, c)));
        assert.deepEqual(merge(a, a), a);
      }),
      { numRuns: 2000 },
    );
  });
}
promises("transforms", transform, stricterTransform);
promises("limits", limits, stricterLimits);
promises("recordings", recording, stricterRecording);

test("merging masks does not depend on their order, the named policy included", () => {
  const mask = fc
    .record({
      transform,
      policy: fc.constantFrom("ns/a", "ns/b", "ns/c"),
      predicates: fc.constantFrom<("Allow" | undefined)[]>("Allow", undefined),
    })
    .map(({ predicates, ...rest }) => (predicates === undefined ? rest : { ...rest, predicates }));
  const lists = fc
    .array(mask, { minLength: 1, maxLength: 4 })
    .chain((given) =>
      fc.tuple(fc.constant(given), fc.shuffledSubarray(given, { minLength: given.length })),
    );
  fc.assert(
    fc.property(lists, ([[first, ...rest], [other, ...others]]) => {
      if (!first || !other) return;
      assert.deepEqual(mergeMasks([first, ...rest]), mergeMasks([other, ...others]));
    }),
  );
});

const pairs: [Transform, Transform, Transform][] = [
  [{ kind: "redact" }, { kind: "partial", keepFirst: 0, keepLast: 4 }, { kind: "redact" }],
  [{ kind: "partial", keepFirst: 0, keepLast: 4 }, { kind: "nullify" }, { kind: "nullify" }],
  [{ kind: "fixed", value: "x" }, { kind: "hash" }, { kind: "fixed", value: "x" }],
  [{ kind: "hash" }, { kind: "truncateDate", to: "year" }, { kind: "hash" }],
  [
    { kind: "truncateDate", to: "day" },
    { kind: "partial", keepFirst: 1, keepLast: 0 },
    { kind: "truncateDate", to: "day" },
  ],
  [
    { kind: "truncateDate", to: "day" },
    { kind: "truncateDate", to: "year" },
    { kind: "truncateDate", to: "year" },
  ],
  [
    { kind: "partial", keepFirst: 2, keepLast: 0 },
    { kind: "partial", keepFirst: 0, keepLast: 4 },
    { kind: "partial", keepFirst: 0, keepLast: 0 },
  ],
];
for (const [a, b, stays] of pairs) {
  test(`of ${JSON.stringify(a)} and ${JSON.stringify(b)} stays ${JSON.stringify(stays)}`, () => {
    assert.deepEqual(stricterTransform(a, b), stays);
  });
}
