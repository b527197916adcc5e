import assert from "node:assert/strict";
import { test } from "node:test";
import type { KubeObject } from "./objects.ts";
import { ObjectStore } from "./store.ts";

function object(
  name: string,
  version: number,
  uid = `uid-${name}`,
  labels: Record<string, string> = {},
): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace: "agents", uid, resourceVersion: String(version), labels },
  };
}

function newStore(): ObjectStore {
  return new ObjectStore({}, (error) => assert.fail(String(error)));
}

test("an index follows its objects through changes and removals, sorted", () => {
  const store = new ObjectStore(
    {
      team: ({ metadata }) =>
        metadata.labels?.["team"] === undefined ? [] : [metadata.labels["team"]],
    },
    () => undefined,
  );
  store.put(object("b", 1, "b", { team: "x" }));
  store.put(object("a", 2, "a", { team: "x" }));
  assert.deepEqual(
    store.by("team", "x").map(({ metadata }) => metadata.name),
    ["a", "b"],
  );
  store.put(object("a", 3, "a", { team: "y" }));
  store.remove("agents/b");
  assert.deepEqual(store.by("team", "x"), []);
  assert.equal(store.by("team", "y").length, 1);
});

test("an older state of an object never replaces a newer one", () => {
  const store = newStore();
  store.put(object("a", 12));
  store.put(object("a", 9));
  assert.equal(store.get("agents/a")?.metadata.resourceVersion, "12");
});

test("the late answer to a write does not bring back what the watch saw go", () => {
  const store = newStore();
  store.put(object("a", 12));
  store.remove("agents/a", "14");
  store.put(object("a", 13));
  assert.equal(store.get("agents/a"), undefined);
  store.put(object("a", 15)); // its label came back
  assert.equal(store.get("agents/a")?.metadata.resourceVersion, "15");
});

test("a listener that throws is reported, and the others still hear", () => {
  const errors: unknown[] = [];
  const store = new ObjectStore({}, (error) => errors.push(error));
  const heard: string[] = [];
  store.onChange(() => {
    throw new Error("mine");
  });
  store.onChange(({ key }) => heard.push(key));
  store.put(object("a", 1));
  assert.deepEqual(heard, ["agents/a"]);
  assert.equal(errors.length, 1);
});
