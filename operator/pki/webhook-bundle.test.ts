import assert from "node:assert/strict";
import { test } from "node:test";
import jsonPatch from "fast-json-patch";
import { bundlePatch } from "./webhook-bundle.ts";

const bundle = "-----BEGIN CERTIFICATE-----\n";
const encoded = Buffer.from(bundle).toString("base64");

test("every webhook whose bundle differs gets it, and no other is touched", () => {
  const configuration = {
    webhooks: [
      { name: "a.chaperone.dev", clientConfig: { service: { name: "chaperone" } } },
      { name: "b.chaperone.dev", clientConfig: { caBundle: encoded } },
      { name: "c.chaperone.dev", clientConfig: { caBundle: "b2xk" } },
    ],
  };
  const patch = bundlePatch(configuration, bundle);
  assert.equal(patch.filter(({ op }) => op === "add").length, 2);
  const patched = jsonPatch.applyPatch(structuredClone(configuration), patch).newDocument;
  assert.deepEqual(
    patched.webhooks.map(({ clientConfig }) => clientConfig.caBundle),
    [encoded, encoded, encoded],
  );
  assert.deepEqual(bundlePatch(patched, bundle), []);
});
