// Who wrote a policy and who deployed an agent: the API server's word, kept by what changes nothing, and nobody else's.
import assert from "node:assert/strict";
import { test } from "node:test";
import fastJsonPatch, { type Operation } from "fast-json-patch";
import { textAt, type JsonObject } from "../kube/objects.ts";
import { asPod } from "./fixture.ts";
import type { AdmissionRequest } from "./review.ts";
import { deployerPatch, isController, isStamped, refuseAuthor, stamp } from "./stamps.ts";

const author = ["metadata", "annotations", "chaperone.dev/author"] as const;
const deployer = ["metadata", "annotations", "chaperone.dev/deployed-by"] as const;

function request(resource: string, changes: Partial<AdmissionRequest> = {}): AdmissionRequest {
  return {
    uid: "r",
    resource,
    subresource: "",
    operation: "CREATE",
    namespace: "agents",
    name: "x",
    kind: "",
    user: { username: "alice", groups: [] },
    object: {},
    oldObject: undefined,
    ...changes,
  };
}

function applied(object: unknown, patch: readonly Operation[] = []): unknown {
  return fastJsonPatch.applyPatch(structuredClone(object), patch).newDocument;
}

function stamped(from: AdmissionRequest): unknown {
  const answer = stamp(from);
  assert.equal(answer.allowed, true);
  return applied(from.object, answer.allowed ? answer.patch : []);
}

const policy = (spec: unknown, annotations?: JsonObject): JsonObject => ({
  metadata: { name: "p", ...(annotations && { annotations }) },
  spec,
});

test("a policy carries the name of who wrote its spec last, whatever it said of itself", () => {
  for (const resource of ["accesspolicies", "clusteraccesspolicies"]) {
    const forged = policy({ a: 1 }, { "chaperone.dev/author": "bob", other: "kept" });
    const created = stamped(request(resource, { object: forged }));
    assert.equal(textAt(created, ...author), "alice");
    assert.equal(textAt(created, "metadata", "annotations", "other"), "kept");
    assert.equal(refuseAuthor(request(resource, { object: created })), undefined);
    const changed = { operation: "UPDATE", oldObject: created } as const;
    const bob = { username: "bob", groups: [] };
    const edited = request(resource, { ...changed, user: bob, object: policy({ a: 2 }) });
    assert.equal(textAt(stamped(edited), ...author), "bob");
  }
});

test("who changes nothing of a policy's spec does not become its author, and nobody takes the name off", () => {
  const old = policy({ a: 1 }, { "chaperone.dev/author": "alice" });
  const bob = { username: "bob", groups: [] };
  for (const annotations of [undefined, {}, { "chaperone.dev/author": "bob" }, { label: "x" }]) {
    const update = request("accesspolicies", {
      operation: "UPDATE",
      user: bob,
      oldObject: old,
      object: policy({ a: 1 }, annotations),
    });
    assert.equal(textAt(stamped(update), ...author), "alice");
    const refused = refuseAuthor(update);
    assert.equal(refused?.allowed, false, "as it came, without the stamp");
    assert.equal(refuseAuthor({ ...update, object: stamped(update) }), undefined);
  }
  // Written before there were stamps: nobody is made up.
  const unknown = request("accesspolicies", {
    operation: "UPDATE",
    user: bob,
    oldObject: policy({ a: 1 }),
    object: policy({ a: 1 }, { "chaperone.dev/author": "carol" }),
  });
  assert.equal(textAt(stamped(unknown), ...author), undefined);
  assert.equal(refuseAuthor(request("connections", { object: {} })), undefined);
});

const template = (image: string, annotations?: JsonObject): JsonObject => ({
  metadata: { labels: { "chaperone.dev/inject": "true" }, ...(annotations && { annotations }) },
  spec: { containers: [{ image }] },
});

const workloads: readonly (readonly [string, readonly string[]])[] = [
  ["deployments", ["spec", "template"]],
  ["jobs", ["spec", "template"]],
  ["cronjobs", ["spec", "jobTemplate", "spec", "template"]],
];

for (const [resource, at] of workloads)
  test(`of ${resource}, the template carries who deployed it, and whoever only scales it does not`, () => {
    const workload = (one: JsonObject, replicas = 1): JsonObject =>
      at.toReversed().reduce<JsonObject>((inner, name) => ({ [name]: inner, replicas }), one);
    const made = stamped(
      request(resource, {
        object: workload(template("a:1", { "chaperone.dev/deployed-by": "carol" })),
      }),
    );
    assert.equal(textAt(made, ...at, ...deployer), "alice");
    const update = (object: JsonObject): AdmissionRequest =>
      request(resource, {
        operation: "UPDATE",
        user: { username: "bob", groups: [] },
        oldObject: made,
        object,
      });
    assert.equal(
      textAt(stamped(update(workload(template("a:1"), 3))), ...at, ...deployer),
      "alice",
    );
    assert.equal(textAt(stamped(update(workload(template("a:2"), 1))), ...at, ...deployer), "bob");
    const restarted = update(workload(template("a:1", { restartedAt: "now" })));
    assert.equal(textAt(stamped(restarted), ...at, ...deployer), "bob");
    assert.deepEqual(stamped(update(asPod(applied(made)))), made, "no change, no rollout");
  });

test("a pod carries who made it by hand, and what its template says when a controller makes it", () => {
  const object = template("a:1", { "chaperone.dev/deployed-by": "alice" });
  const by = (username: string): unknown =>
    applied(object, deployerPatch(request("pods", { object, user: { username, groups: [] } })));
  assert.equal(textAt(by("mallory"), ...deployer), "mallory");
  assert.equal(
    textAt(by("system:serviceaccount:kube-system:replicaset-controller"), ...deployer),
    "alice",
  );
  assert.equal(
    textAt(by("system:serviceaccount:argo:rollouts-controller"), ...deployer),
    "system:serviceaccount:argo:rollouts-controller",
  );
});

test("only the controllers of Kubernetes itself pass a name on", () => {
  for (const yes of [
    "system:kube-controller-manager",
    "system:serviceaccount:kube-system:job-controller",
    "system:serviceaccount:kube-system:daemon-set-controller",
  ])
    assert.equal(isController(yes), true, yes);
  for (const no of [
    "replicaset-controller",
    "system:serviceaccount:agents:replicaset-controller",
    "system:serviceaccount:kube-system:default",
    "x system:serviceaccount:kube-system:job-controller",
  ])
    assert.equal(isController(no), false, no);
});

test("a status, a scale and a deletion are stamped by nobody", () => {
  assert.equal(isStamped(request("deployments")), true);
  assert.equal(isStamped(request("deployments", { subresource: "scale" })), false);
  assert.equal(isStamped(request("accesspolicies", { subresource: "status" })), false);
  assert.equal(isStamped(request("deployments", { operation: "DELETE" })), false);
  assert.equal(isStamped(request("configmaps")), false);
});
