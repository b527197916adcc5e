// Every CEL rule of the CRDs on a real API server: one object that it accepts and one that it refuses in the rule's own words.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { celCases } from "../../crds/cel-cases.ts";
import { clusterKinds } from "../../crds/schema.ts";
import { dry, openApi, type Api } from "./api.ts";
import { operatorNamespace, refusedBy, type KubeObject } from "./cluster.ts";

const plurals: Readonly<Record<string, string>> = {
  Connection: "connections",
  AccessPolicy: "accesspolicies",
  ClusterAccessPolicy: "clusteraccesspolicies",
  AccessRequest: "accessrequests",
  AccessSession: "accesssessions",
  Quarantine: "quarantines",
};

const admin = openApi();
/** Access requests are the operator's alone to create. */
const operator = openApi({ user: `system:serviceaccount:${operatorNamespace}:chaperone` });
after(async () => {
  await Promise.all([admin.close(), operator.close()]);
});

/** What our webhook says besides: it runs after the schema and its rules, so they have let the object pass. */
const semantic = /admission webhook "validate\.chaperone\.dev" denied the request/;

for (const { kind, path, message, good, bad, isUpdate } of celCases) {
  const api: Api = kind === "AccessRequest" ? operator : admin;
  const scope = clusterKinds.has(kind) ? "" : "/namespaces/default";
  const collection = `/apis/chaperone.dev/v1alpha1${scope}/${plurals[kind] ?? ""}`;
  const titled = `${kind} ${path}: "${message.slice(0, 60)}"`;
  if (!isUpdate) {
    test(`${titled} accepts its good object`, async () => {
      await api.call("POST", collection, asObject(good), dry).catch((error: unknown) => {
        if (!semantic.test(String(error))) throw error;
      });
    });
    test(`${titled} refuses its bad object`, async () => {
      says(await refusedBy(api.call("POST", collection, asObject(bad), dry)), path, message);
    });
  } else {
    test(`${titled} refuses the change from its good object to its bad one`, async (t) => {
      const stored = Object(await api.call("POST", collection, asObject(good)));
      const { name, resourceVersion } = stored.metadata;
      t.after(() => admin.call("DELETE", `${collection}/${name}`));
      const metadata = { ...Object(asObject(bad)["metadata"]), resourceVersion };
      // Whatever admission stamped stays as it is: the change under test is the only one.
      const spec = { ...stored.spec, ...Object(asObject(bad)["spec"]) };
      const changed = { ...asObject(bad), metadata, spec };
      says(
        await refusedBy(admin.call("PUT", `${collection}/${name}`, changed, dry)),
        path,
        message,
      );
    });
  }
}

function says(refusal: string, path: string, message: string): void {
  assert.ok(refusal.includes(message), refusal);
  assert.ok(refusal.includes(path), refusal);
  assert.doesNotMatch(refusal, semantic);
}

function asObject(value: unknown): KubeObject {
  return Object(value);
}
