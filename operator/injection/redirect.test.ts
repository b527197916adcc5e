// Pods under interception `redirect`: what is added before and after the proxy, and that nothing else passes for it.
import assert from "node:assert/strict";
import { test } from "node:test";
import fastJsonPatch from "fast-json-patch";

import { parseAddressMap } from "../../contract/addresses.ts";
import { isVirtualAddress } from "../../contract/redirect.ts";
import { fieldAt, listAt, textAt, type JsonObject } from "../kube/objects.ts";
import { asPod, contextOf, podOf } from "./fixture.ts";
import { inject } from "./inject.ts";
import { notInjected } from "./injected.ts";
import { inboundPorts } from "./redirect.ts";

const redirect = { annotations: { "chaperone.dev/interception": "redirect" } };
const { settings } = contextOf();
const now = Date.parse("2026-11-30T12:00:00Z");

function redirected(pod: JsonObject = podOf({}, redirect)): JsonObject {
  const decision = inject(pod, contextOf());
  assert.equal(decision.kind, "patch");
  const copy: unknown = JSON.parse(JSON.stringify(pod));
  return asPod(
    decision.kind === "patch" && fastJsonPatch.applyPatch(copy, decision.patch).newDocument,
  );
}

const initNames = (pod: JsonObject): unknown[] =>
  listAt(pod, "spec", "initContainers").map((one) => textAt(one, "name"));

function withInit(pod: JsonObject, initContainers: readonly unknown[]): JsonObject {
  return { ...pod, spec: { ...asPod(pod["spec"]), initContainers } };
}

test("the rules stand before the proxy, are tried before the agent, and its names are nobody's addresses", () => {
  const pod = redirected(
    podOf({ initContainers: [{ name: "migrate", image: "agent:1" }] }, redirect),
  );
  assert.deepEqual(initNames(pod), [
    "chaperone-init",
    "chaperone-proxy",
    "chaperone-verify",
    "migrate",
  ]);
  const map = parseAddressMap(
    textAt(pod, "metadata", "annotations", "chaperone.dev/addresses") ?? "",
  );
  assert.equal(map.interception, "redirect");
  for (const { hosts } of map.connections) {
    assert.ok(hosts.length > 0);
    for (const { address } of hosts) assert.ok(isVirtualAddress(address), address);
  }
  assert.equal(fieldAt(pod, "spec", "hostAliases"), undefined);
  assert.equal(fieldAt(pod, "spec", "securityContext", "sysctls"), undefined);
  assert.equal(textAt(pod, "metadata", "annotations", "chaperone.dev/tier"), "Redirected");
});

test("only the one that loads the rules is root, with one capability, and it ends before all others", () => {
  const [init, proxy, verify] = listAt(redirected(), "spec", "initContainers");
  assert.deepEqual(fieldAt(init, "securityContext", "capabilities"), {
    add: ["NET_ADMIN"],
    drop: ["ALL"],
  });
  assert.equal(fieldAt(init, "securityContext", "runAsUser"), 0);
  assert.equal(fieldAt(init, "securityContext", "allowPrivilegeEscalation"), false);
  for (const one of [proxy, verify]) {
    assert.deepEqual(fieldAt(one, "securityContext", "capabilities"), { drop: ["ALL"] });
    assert.equal(fieldAt(one, "securityContext", "runAsNonRoot"), true);
  }
  assert.equal(fieldAt(proxy, "securityContext", "runAsUser"), settings.uid);
  assert.equal(fieldAt(verify, "securityContext", "runAsUser"), settings.uid + 1);
  assert.deepEqual(
    [fieldAt(init, "restartPolicy"), fieldAt(verify, "restartPolicy")],
    [undefined, undefined],
  );
});

test("ports that the agent declares are open from outside, those of its probes too, and no others", () => {
  const agent = {
    name: "agent",
    image: "agent:1",
    ports: [
      { containerPort: 8080 },
      { containerPort: 53, protocol: "UDP" },
      { containerPort: 7, protocol: "SCTP" },
    ],
    startupProbe: { grpc: { port: 9001 } },
    readinessProbe: { tcpSocket: { port: "web" } },
    livenessProbe: { httpGet: { port: 9000, path: "/" } },
    lifecycle: { preStop: { httpGet: { port: 9002 } } },
  };
  assert.equal(
    inboundPorts(podOf({ containers: [agent] })),
    "tcp:15020,tcp:8080,tcp:9000,tcp:9001,tcp:9002,udp:53",
  );
});

const lookalikes: readonly (readonly [
  string,
  (own: readonly unknown[]) => readonly unknown[],
  RegExp,
])[] = [
  ["no chaperone-init", ([, proxy, verify]) => [proxy, verify], /chaperone-init is not its first/],
  ["no chaperone-verify", ([init, proxy]) => [init, proxy], /chaperone-verify does not follow/],
  [
    "the proxy before the rules",
    ([init, proxy, verify]) => [proxy, init, verify],
    /chaperone-init is not its first/,
  ],
  [
    "a container between",
    ([init, proxy, verify]) => [init, { name: "x" }, proxy, verify],
    /chaperone-proxy does not follow/,
  ],
  [
    "a second chaperone-verify",
    ([init, proxy, verify]) => [init, proxy, verify, verify],
    /did not write/,
  ],
  [
    "rules for another user",
    ([init, ...rest]) => [
      { ...asPod(init), env: [{ name: "CHAPERONE_PROXY_UID", value: "1000" }] },
      ...rest,
    ],
    /env of chaperone-init/,
  ],
  [
    "a verifier of another image",
    ([init, proxy, verify]) => [init, proxy, { ...asPod(verify), image: "evil" }],
    /image of chaperone-verify/,
  ],
  [
    "a verifier that runs something else",
    ([init, proxy, verify]) => [init, proxy, { ...asPod(verify), command: ["true"] }],
    /command of chaperone-verify/,
  ],
];

for (const [what, change, why] of lookalikes)
  test(`a pod with ${what} only looks injected, and injecting it again mends it`, () => {
    const pod = redirected();
    const own = listAt(pod, "spec", "initContainers");
    assert.equal(notInjected(pod, settings, now), undefined);
    const changed = withInit(pod, change(own));
    assert.match(notInjected(changed, settings, now) ?? "", why);
    assert.deepEqual(initNames(redirected(changed)).slice(0, 3), [
      "chaperone-init",
      "chaperone-proxy",
      "chaperone-verify",
    ]);
  });

test("a pod under hosts that has containers of redirect only looks injected", () => {
  const own = listAt(redirected(), "spec", "initContainers");
  const hosts = redirected(podOf({}));
  assert.equal(notInjected(hosts, settings, now), undefined);
  const [proxy] = listAt(hosts, "spec", "initContainers");
  assert.match(notInjected(withInit(hosts, [proxy, own[2]]), settings, now) ?? "", /did not write/);
});
