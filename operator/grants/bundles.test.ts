import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { connection, policy } from "../api/fixture.ts";
import { bundleCompiler } from "./bundles.ts";

const subject = { namespace: "agents", serviceAccount: "invoice-agent" };

describe("a remembered bundle", () => {
  it("is used again for the very same objects, and for nothing else", () => {
    const compile = bundleCompiler();
    const input = { connection: connection(), policies: [policy()], subject, maskKey: "k" };
    const first = compile(input);
    assert.equal(compile({ ...input, policies: [...input.policies] }), first);
    assert.notEqual(compile({ ...input, policies: [policy()] }), first);
    assert.notEqual(compile({ ...input, connection: connection() }), first);
    assert.notEqual(compile({ ...input, subject: { ...subject, serviceAccount: "other" } }), first);
    assert.deepEqual(compile({ ...input, policies: [] }).policies, []);
    const second = policy({ limits: { rowsPerResult: 1 } }, "second");
    assert.equal(
      compile({ ...input, policies: [...input.policies, second] }).limits.rowsPerResult,
      1,
    );
  });
});
