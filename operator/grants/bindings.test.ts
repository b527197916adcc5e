import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { KeyBindings, prevailing, type Binding } from "./bindings.ts";

const ten = "2026-11-20T10:00:00Z";
const later = "2026-11-20T10:05:00Z";
const now = Date.parse("2026-11-20T10:00:02Z");

function refusedReason(
  bindings: KeyBindings,
  jkt: string,
  startedAt: string | undefined,
): string | undefined {
  const verdict = bindings.bind("pod", jkt, startedAt);
  return "refused" in verdict ? verdict.refused : undefined;
}

describe("the key of a pod", () => {
  it("is the first one seen, and stays so in the same container", () => {
    const bindings = new KeyBindings(() => now);
    assert.equal(refusedReason(bindings, "first", ten), undefined);
    assert.equal(refusedReason(bindings, "first", ten), undefined);
    assert.equal(refusedReason(bindings, "second", ten), "KeyAlreadyBound");
    assert.equal(refusedReason(bindings, "second", undefined), "KeyAlreadyBound");
  });

  it("changes after a restart, and cannot go back", () => {
    const bindings = new KeyBindings(() => now);
    bindings.bind("pod", "first", ten);
    const verdict = bindings.bind("pod", "second", later);
    assert.deepEqual("bound" in verdict && verdict.replaced?.jkt, "first");
    assert.equal(refusedReason(bindings, "first", later), "KeyAlreadyBound");
  });

  it("does not change when the kubelet reports the start of the very container that bound it", () => {
    const bindings = new KeyBindings(() => now);
    bindings.bind("pod", "first", undefined);
    assert.equal(
      refusedReason(bindings, "second", ten),
      "KeyAlreadyBound",
      "ten is before the binding",
    );
    assert.equal(refusedReason(bindings, "second", later), undefined);
  });

  it("is forgotten with the pod", () => {
    const bindings = new KeyBindings(() => now);
    bindings.bind("pod", "first", ten);
    bindings.forgetPod("pod");
    assert.equal(refusedReason(bindings, "second", ten), undefined);
  });

  it("is learned from a grant, and an older binding wins back its pod", () => {
    const bindings = new KeyBindings(() => now);
    bindings.bind("pod", "usurper", ten);
    assert.equal(
      bindings.observe("pod", { jkt: "first", boundAt: now - 60_000, startedAt: Date.parse(ten) }),
      true,
    );
    assert.equal(
      bindings.observe("pod", { jkt: "usurper", boundAt: now, startedAt: Date.parse(ten) }),
      false,
    );
    assert.equal(refusedReason(bindings, "usurper", ten), "KeyAlreadyBound");
  });

  it("is voided by a grant of a later container", () => {
    const bindings = new KeyBindings(() => now);
    bindings.bind("pod", "first", ten);
    assert.equal(
      bindings.observe("pod", { jkt: "second", boundAt: now, startedAt: Date.parse(later) }),
      true,
    );
    assert.equal(
      bindings.observe("pod", { jkt: "first", boundAt: 0, startedAt: Date.parse(ten) }),
      false,
    );
  });

  const binding: fc.Arbitrary<Binding> = fc.record({
    jkt: fc.constantFrom("a", "b"),
    boundAt: fc.integer({ min: 0, max: 10_000 }),
    startedAt: fc.integer({ min: 0, max: 10_000 }),
  });
  it("is decided the same whichever of two replicas hears first", () => {
    fc.assert(
      fc.property(binding, binding, (a, b) => {
        assert.equal(prevailing(a, b).jkt, prevailing(b, a).jkt);
      }),
    );
  });
});
