import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bundle } from "../bundle.ts";
import { ask, bundleOf, llm, rule } from "../fixture.ts";
import type { HttpFacts, LlmOperation } from "../operation.ts";

const limited: Bundle = {
  ...bundleOf([rule("all", "Allow", { llm: { operations: ["*"] } })]),
  limits: { tokensPerDay: 5 },
};
const costly: Bundle = {
  ...limited,
  limits: { costPerDay: 5 },
  prices: [{ models: ["gpt-5"], input: 1, output: 2 }],
};

const asked = (
  operation: string,
  model: string,
  http: Partial<HttpFacts> = { method: "POST", path: "/v1/x" },
): LlmOperation => {
  const made = llm({ operation, model });
  return { ...made, http: { ...made.http, ...http } };
};

for (const [what, bundle, operation, verdict] of [
  ["a batch", limited, asked("batches", ""), "deny"],
  ["a batch, by its cost", costly, asked("batches", ""), "deny"],
  ["a realtime session", limited, asked("realtime", "gpt-5", { method: "GET" }), "allow"],
  [
    "a session with a model without a price",
    costly,
    asked("realtime", "o3", { method: "GET" }),
    "deny",
  ],
  ["a look at a batch", limited, asked("batches", "", { method: "GET" }), "allow"],
  ["the end of a batch", limited, asked("batches", "", { path: "/v1/batches/b/cancel" }), "allow"],
  ["a model without a price", costly, asked("chat", "o3"), "deny"],
  ["a model without a price, where only tokens count", limited, asked("chat", "o3"), "allow"],
  ["a model with a price", costly, asked("chat", "gpt-5"), "allow"],
  ["the list of models", costly, asked("models", "", { method: "GET" }), "allow"],
  ["a count of tokens", costly, asked("count-tokens", "o3"), "allow"],
] as const) {
  test(`${what} under a budget: ${verdict}`, () => {
    const decision = ask(bundle, operation);
    assert.equal(decision.verdict, verdict, decision.message);
    if (verdict === "deny") assert.equal(decision.reason, "LimitExceeded");
  });
}
