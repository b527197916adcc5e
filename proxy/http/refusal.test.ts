import assert from "node:assert/strict";
import { test } from "node:test";

import { ProxyError, proxyErrors } from "../errors.ts";
import type { ProxyErrorCode } from "../errors.ts";
import { refusalOf } from "./refusal.ts";

const codes = Object.keys(proxyErrors) as ProxyErrorCode[];
/** What the OpenAI SDKs send again by themselves, unless x-should-retry says no. */
const retriedBySdk = (status: number): boolean =>
  status === 408 || status === 409 || status === 429 || status >= 500;

for (const code of codes) {
  test(`${code} is problem+json with its code, title and detail`, () => {
    const { status, headers, body } = refusalOf(new ProxyError(code, "why"), undefined, "http");
    const problem = JSON.parse(body.toString()) as Record<string, unknown>;
    assert.equal(status, proxyErrors[code].status);
    assert.equal(problem["status"], status);
    assert.equal(problem["type"], `https://chaperone.dev/errors/${code}`);
    assert.equal(problem["detail"], "why");
    assert.ok(String(problem["title"]).length > 0);
    assert.ok(headers.includes("application/problem+json"));
  });

  test(`${code} on an openai connection is sent again by an SDK only where that can help`, () => {
    const { status, headers, body } = refusalOf(new ProxyError(code, "why"), undefined, "openai");
    const again = headers[headers.indexOf("x-should-retry") + 1];
    if (again === "false") assert.ok(!retriedBySdk(status) || status >= 500, `${status}`);
    else assert.ok(proxyErrors[code].retry && status >= 500);
    const { error } = JSON.parse(body.toString()) as { error: Record<string, unknown> };
    assert.deepEqual(
      [error["code"], error["message"], error["type"], error["param"]],
      [code, "why", "chaperone_denied", null],
    );
  });
}

test("the decision's policy, rule and reason are named", () => {
  const decision = {
    verdict: "deny",
    policy: "ns/p",
    rule: "r",
    reason: "RuleMatched",
    message: "m",
    mode: "Enforce",
  } as const;
  const problem = JSON.parse(
    refusalOf(new ProxyError("Denied", "m"), decision, "http").body.toString(),
  ) as Record<string, unknown>;
  assert.deepEqual(
    [problem["policy"], problem["rule"], problem["reason"]],
    ["ns/p", "r", "RuleMatched"],
  );
});
