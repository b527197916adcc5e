import assert from "node:assert/strict";
import { test } from "node:test";
import { prepare } from "../policy/decide.ts";
import type { Decision } from "../policy/decision.ts";
import { bundleOf, http } from "../policy/fixture.ts";
import { changedRules } from "./changed-rules.ts";
import { ProxyError } from "./errors.ts";
import type { LiveGrant } from "./pipeline.ts";

const decision: Decision = {
  verdict: "allow",
  policy: "agents/p",
  rule: "all",
  reason: "RuleMatched",
  message: "allowed",
  mode: "Enforce",
};

function grant(): LiveGrant {
  const bundle = bundleOf([]);
  return {
    id: "g",
    endpoint: { host: "api", port: 443, tls: { mode: "Disable" }, basePath: "" },
    lease: { kind: "none" },
    bundle,
    prepared: prepare(bundle),
  };
}

function follow() {
  const live = grant();
  const state = { live: live as LiveGrant | undefined, marks: [] as readonly string[], asked: 0 };
  const heard: LiveGrant[] = [];
  const check = changedRules(
    { current: () => state.live },
    {
      get marks() {
        return state.marks;
      },
      refusalNow: (_operation, before) => {
        state.asked += 1;
        assert.equal(before, decision);
        return new ProxyError("Denied", "no more");
      },
    },
    http("GET", "/"),
    { go: true, decision, marks: state.marks, done: () => undefined },
    live,
    (now) => heard.push(now),
  );
  return { state, heard, check };
}

test("nothing is asked while neither rules nor marks changed", () => {
  const { state, check } = follow();
  assert.equal(check(), undefined);
  assert.equal(check(), undefined);
  assert.equal(state.asked, 0);
});

test("another mark asks once, and so does another grant, which is told", () => {
  const { state, heard, check } = follow();
  state.marks = ["pii"];
  assert.equal(check()?.code, "Denied");
  assert.equal(check(), undefined);
  assert.equal(state.asked, 1);
  const next = grant();
  state.live = next;
  assert.equal(check()?.code, "Denied");
  assert.deepEqual(heard, [next]);
  assert.equal(check(), undefined);
  assert.equal(state.asked, 2);
});

test("a grant that is away for a moment is no other one", () => {
  const { state, check } = follow();
  state.live = undefined;
  assert.equal(check(), undefined);
  assert.equal(state.asked, 0);
});
