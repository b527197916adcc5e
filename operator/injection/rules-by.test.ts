// Redirected pods whose rules the node loads: no container with a capability, an annotation for the node's plugin, and that nothing else passes for it.
import assert from "node:assert/strict";
import { test } from "node:test";
import fastJsonPatch from "fast-json-patch";

import { fieldAt, listAt, textAt, type JsonObject } from "../kube/objects.ts";
import { annotated, asPod, contextOf, podOf } from "./fixture.ts";
import { inject, type InjectionContext } from "./inject.ts";
import { notInjected } from "./injected.ts";

const { settings } = contextOf();
const now = Date.parse("2026-11-30T12:00:00Z");
const byNode = { "chaperone.dev/interception": "redirect", "chaperone.dev/redirect-by": "node" };

function injected(pod: JsonObject, context: InjectionContext = contextOf()): JsonObject {
  const decision = inject(pod, context);
  assert.equal(decision.kind, "patch", JSON.stringify(decision));
  const copy: unknown = JSON.parse(JSON.stringify(pod));
  return asPod(
    decision.kind === "patch" && fastJsonPatch.applyPatch(copy, decision.patch).newDocument,
  );
}

const initNames = (pod: JsonObject): unknown[] =>
  listAt(pod, "spec", "initContainers").map((one) => textAt(one, "name"));
const annotationsOf = (pod: JsonObject): unknown => fieldAt(pod, "metadata", "annotations");

function withAnnotation(pod: JsonObject, name: string, value: string | undefined): JsonObject {
  const metadata = asPod(pod["metadata"]);
  const { [name]: _, ...others } = asPod(metadata["annotations"]);
  return {
    ...pod,
    metadata: {
      ...metadata,
      annotations: value === undefined ? others : { ...others, [name]: value },
    },
  };
}

test("the node loads the rules: the proxy and the verifier alone are added, none has a capability, and PodSecurity restricted admits both", () => {
  const pod = injected(annotated(byNode));
  assert.deepEqual(initNames(pod), ["chaperone-proxy", "chaperone-verify"]);
  for (const container of listAt(pod, "spec", "initContainers")) {
    const context = fieldAt(container, "securityContext");
    assert.deepEqual(fieldAt(context, "capabilities"), { drop: ["ALL"] });
    assert.equal(fieldAt(context, "allowPrivilegeEscalation"), false);
    assert.equal(fieldAt(context, "runAsNonRoot"), true);
    assert.equal(fieldAt(context, "seccompProfile", "type"), "RuntimeDefault");
  }
  for (const volume of listAt(pod, "spec", "volumes"))
    assert.equal(fieldAt(volume, "hostPath"), undefined);
  assert.equal(fieldAt(pod, "spec", "securityContext", "sysctls"), undefined);
  assert.equal(notInjected(pod, settings, now), undefined);
});

test("the plugin is told the proxy's user and the ports of this very pod, whatever its author wrote there", () => {
  const agent = { name: "agent", image: "agent:1", ports: [{ containerPort: 8080 }] };
  const author = { ...byNode, "chaperone.dev/rules": '{"proxyUid":1000,"inbound":"tcp:1"}' };
  const pod = injected(podOf({ containers: [agent] }, { annotations: author }));
  assert.equal(
    textAt(pod, "metadata", "annotations", "chaperone.dev/rules"),
    '{"proxyUid":64535,"inbound":"tcp:15020,tcp:8080"}',
  );
});

test("a second round finds nothing to do", () => {
  const context = contextOf(undefined, { redirectBy: "node" });
  for (const pod of [annotated(byNode), annotated({ "chaperone.dev/interception": "redirect" })]) {
    const decision = inject(injected(pod, context), context);
    assert.deepEqual(decision.kind === "patch" && decision.patch, []);
  }
});

test("where a pod does not say it the installation does, and the pod keeps it when the installation changes its mind", () => {
  const silent = annotated({ "chaperone.dev/interception": "redirect" });
  const pod = injected(silent, contextOf(undefined, { redirectBy: "node" }));
  assert.equal(textAt(pod, "metadata", "annotations", "chaperone.dev/redirect-by"), "node");
  assert.deepEqual(initNames(pod), ["chaperone-proxy", "chaperone-verify"]);
  for (const redirectBy of ["init", "node"] as const) {
    assert.equal(notInjected(pod, { ...settings, redirectBy }, now), undefined);
    const other = injected(silent);
    assert.equal(initNames(other)[0], "chaperone-init");
    assert.equal(notInjected(other, { ...settings, redirectBy }, now), undefined);
  }
  const asked = annotated({ ...byNode, "chaperone.dev/redirect-by": "init" });
  const own = injected(asked, contextOf(undefined, { redirectBy: "node" }));
  assert.equal(initNames(own)[0], "chaperone-init");
});

test("under another interception nothing is asked of the node, not even where the pod says so", () => {
  const context = contextOf(undefined, { redirectBy: "node" });
  const author = { "chaperone.dev/redirect-by": "node", "chaperone.dev/rules": "{}" };
  const pod = injected(annotated(author), context);
  assert.deepEqual(initNames(pod), ["chaperone-proxy"]);
  assert.equal(Object.hasOwn(asPod(annotationsOf(pod)), "chaperone.dev/rules"), false);
  assert.equal(notInjected(pod, settings, now), undefined);
});

test("a word that is neither, and nodes that load no rules, are refused with what to do", () => {
  const other = inject(annotated({ ...byNode, "chaperone.dev/redirect-by": "Node" }), contextOf());
  assert.equal(other.kind === "refuse" && other.reason, "RedirectByUnknown");
  const none = inject(annotated(byNode), contextOf(undefined, { hasNodeRules: false }));
  assert.equal(none.kind === "refuse" && none.reason, "NodeRulesAbsent");
  assert.match(none.kind === "refuse" ? none.message : "", /node\.enabled/);
});

for (const [what, name, value, why] of [
  [
    "rules for another user",
    "chaperone.dev/rules",
    '{"proxyUid":1000,"inbound":"tcp:15020"}',
    /chaperone.dev\/rules/,
  ],
  [
    "rules with another port",
    "chaperone.dev/rules",
    '{"proxyUid":64535,"inbound":"tcp:15020,tcp:22"}',
    /chaperone.dev\/rules/,
  ],
  ["no rules", "chaperone.dev/rules", undefined, /chaperone.dev\/rules/],
  [
    "an init container that was promised and is not there",
    "chaperone.dev/redirect-by",
    "init",
    /chaperone-init is not its first/,
  ],
] as const)
  test(`a pod with ${what} gets no grant, and injecting it again mends it`, () => {
    const pod = injected(annotated(byNode));
    const changed = withAnnotation(pod, name, value);
    assert.match(notInjected(changed, settings, now) ?? "", why);
    assert.equal(notInjected(injected(changed), settings, now), undefined);
  });

test("a pod whose init container loads its rules, and which asks the node as well, gets no grant", () => {
  const pod = injected(annotated({ "chaperone.dev/interception": "redirect" }));
  const changed = withAnnotation(
    pod,
    "chaperone.dev/rules",
    '{"proxyUid":64535,"inbound":"tcp:15020"}',
  );
  assert.match(notInjected(changed, settings, now) ?? "", /chaperone.dev\/rules/);
});

test("a pod of the node's that lost its verifier, or has another, only looks injected", () => {
  const pod = injected(annotated(byNode));
  const [proxy, verify] = listAt(pod, "spec", "initContainers");
  for (const own of [[proxy], [verify, proxy], [proxy, { ...asPod(verify), command: ["true"] }]])
    assert.notEqual(
      notInjected({ ...pod, spec: { ...asPod(pod["spec"]), initContainers: own } }, settings, now),
      undefined,
    );
});
