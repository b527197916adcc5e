import assert from "node:assert/strict";
import { test } from "node:test";
import { llm } from "../fixture.ts";
import { expectedOutput, formTokens, inputTokens } from "./estimate.ts";
import { costOf, priceOf } from "./price.ts";
import { readPriceTable } from "./price-table.ts";

test("the first entry that names the model counts, and costs are whole millionths, rounded up", () => {
  const read = readPriceTable(`
- {models: ["gpt-5-mini*"], input: 0.25, output: 2}
- models: ["gpt-5*", o3]
  input: 1.25
  output: 10
`);
  assert.ok("table" in read);
  const mini = priceOf(read.table, "gpt-5-mini-2025");
  assert.equal(mini?.input, 0.25);
  assert.equal(priceOf(read.table, "o3")?.output, 10);
  assert.equal(priceOf(read.table, "claude"), undefined);
  assert.equal(mini && costOf(mini, { input: 1, output: 0 }), 1);
  assert.equal(mini && costOf(mini, { input: 1_000_000, output: 1_000_000 }), 2_250_000);
});

for (const [what, text, problem] of [
  ["YAML that is none", "[", /is no YAML/],
  ["no list", "gpt-5: 3", /is no list/],
  ["an entry that is none", "- 5", /entry 0: is no/],
  ["no models", "- {models: [], input: 1, output: 1}", /entry 0: models is a list/],
  ["a model that is no name", '- {models: ["a b"], input: 1, output: 1}', /models is a list/],
  ["a price that is text", '- {models: [a], input: "1", output: 1}', /input is a price/],
  ["a price below nothing", "- {models: [a], input: 1, output: -1}", /output is a price/],
  ["no price", "- {models: [a], input: 1}", /output is a price/],
  ["a slip of the pen", "- {models: [a], imput: 1, output: 1}", /has no field imput/],
  [
    "an answer without a length",
    "- {models: [a], input: 1, output: 1, maxOutputTokens: 0}",
    /maxOutputTokens is the longest answer/,
  ],
  ["an alias", "- &a {models: [a], input: 1, output: 1}\n- *a", /is no YAML/],
] as const) {
  test(`a price table with ${what} is refused with a sentence`, () => {
    const read = readPriceTable(text);
    assert.ok("problem" in read);
    assert.match(read.problem, problem);
  });
}

test("a stream is not reserved the longest answer of its model, which it is given as it comes", () => {
  const [entry] = [{ models: ["m"], input: 1, output: 1, maxOutputTokens: 64_000 }];
  const asked = llm({ operation: "chat", model: "m", maxOutputTokens: null });
  const streamed = { ...asked, facts: { ...asked.facts, stream: true } };
  assert.deepEqual(expectedOutput(asked, undefined, entry), { tokens: 64_000, isNamed: false });
  assert.deepEqual(expectedOutput({ ...asked, answers: 3 }, undefined, entry).tokens, 192_000);
  assert.deepEqual(expectedOutput(streamed, undefined, entry), { tokens: 4_096, isNamed: false });
  assert.deepEqual(expectedOutput(asked, 900, entry), { tokens: 900, isNamed: true });
});

test("an image in base64 counts as one, not as the text that it is not", () => {
  const image = `data:image/png;base64,${"iVBORw0KGgo".repeat(50_000)}`;
  assert.ok(inputTokens(JSON.stringify({ image })) < 1_600);
  assert.equal(inputTokens("x".repeat(400)), 100);
});

test("a recording in a form counts as one attachment, not by its bytes", () => {
  const { facts } = llm({ operation: "transcriptions", model: "whisper", prompts: ["eight ch"] });
  assert.equal(formTokens(facts), 1_502);
});
