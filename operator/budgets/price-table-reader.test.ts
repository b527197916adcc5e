import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeObject } from "../kube/objects.ts";
import { connection, policy, startTestApi } from "../api/fixture.ts";
import { govern } from "../grants/govern.ts";
import { bundleCompiler } from "../grants/bundles.ts";
import { PriceTableReader } from "./price-table-reader.ts";

const configMap = (
  text: string | undefined,
  name = "chaperone-prices",
  namespace = "chaperone-system",
): KubeObject =>
  ({
    metadata: { name, namespace, uid: "u", resourceVersion: "1" },
    ...(text !== undefined && { data: { "prices.yaml": text } }),
  }) as KubeObject;

test("a table with a mistake keeps the one before it, one that is deleted leaves none, other ConfigMaps are none", () => {
  const problems: string[] = [];
  const reader = new PriceTableReader("chaperone-system", (problem) => problems.push(problem));
  const good = configMap('- {models: ["gpt-5*"], input: 1, output: 2}');
  assert.equal(reader.take({ after: good }), true);
  assert.equal(reader.table?.[0]?.output, 2);
  assert.equal(reader.take({ before: good, after: configMap("- {models: [a]}") }), false);
  assert.equal(reader.take({ before: good, after: configMap(undefined) }), false);
  assert.equal(reader.take({ after: configMap("[]", "kube-root-ca.crt") }), false);
  assert.equal(reader.take({ after: configMap("[]", "chaperone-prices", "agents") }), false);
  assert.equal(reader.table?.[0]?.output, 2);
  assert.deepEqual(problems, [
    "ConfigMap chaperone-system/chaperone-prices prices.yaml entry 0: input is a price for a million tokens, from 0 to 1000000",
    "ConfigMap chaperone-system/chaperone-prices has no prices.yaml",
  ]);
  assert.equal(reader.take({ before: good }), true);
  assert.equal(reader.table, undefined);
});

test("prices go with the grants of those whose costs are limited, and a change of the table makes other bundles", async (t) => {
  const api = await startTestApi();
  t.after(() => api.close());
  const governing = {
    view: api.view,
    compile: bundleCompiler(),
    maskKey: () => "",
    operatorNamespace: undefined,
    now: Date.now,
  };
  const subject = { namespace: "agents", serviceAccount: "invoice-agent" };
  const bundle = () => {
    const governed = govern(governing, subject, undefined, "agents/orders-db");
    assert.ok("bundle" in governed);
    return governed.bundle;
  };
  api.view.put(connection({ protocol: "openai", endpoint: { url: "http://127.0.0.1:1/v1" } }));
  api.view.putPrices([{ models: ["*"], input: 1, output: 2 }]);
  assert.equal(bundle().prices, undefined, "nobody asked for them");
  api.view.put(policy({ limits: { costPerDay: "0.50" } }));
  const first = bundle();
  assert.deepEqual(first.prices, [{ models: ["*"], input: 1, output: 2 }]);
  assert.equal(first.limits.costPerDay, 500_000);
  assert.ok(first.requires.includes("limits.costPerDay"));
  assert.equal(bundle(), first);
  api.view.putPrices([{ models: ["*"], input: 1, output: 3 }]);
  assert.notEqual(bundle().generation, first.generation);
});
