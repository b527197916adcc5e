import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";

import { rulesAsked } from "../../contract/redirect.ts";
import { failureOf, ownPathOf, readRequest } from "./request.ts";

const config = (annotations: unknown): string =>
  JSON.stringify({
    cniVersion: "0.4.0",
    runtimeConfig: { "io.kubernetes.cri.pod-annotations": annotations },
  });
const args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=agents;K8S_POD_NAME=agent-1;K8S_POD_UID=x=y";
const asking = (annotations: unknown, command = "ADD"): string =>
  `${command}\n/var/run/netns/cni-1\n${args}\n${config(annotations)}\n`;

test("what injection writes is what the agent loads", () => {
  const annotations = { "chaperone.dev/rules": rulesAsked(64_535, "tcp:15020,udp:53") };
  assert.deepEqual(readRequest(asking(annotations)), {
    command: "ADD",
    namespaceFile: "/var/run/netns/cni-1",
    pod: "agents/agent-1",
    rules: {
      proxyUid: 64_535,
      inbound: [
        { protocol: "tcp", port: 15_020 },
        { protocol: "udp", port: 53 },
      ],
    },
  });
});

for (const [what, value] of [
  ["no annotation", undefined],
  ["no text", 7],
  ["no JSON", "x"],
  ["null", "null"],
  ["root as the proxy's user", rulesAsked(0, "")],
  ["a user that is text", '{"proxyUid":"1000 accept","inbound":""}'],
  ["ports that are rules", rulesAsked(64_535, "tcp:1 } accept; tcp dport { 2")],
  ["ports beyond the last", rulesAsked(64_535, "tcp:65536")],
  ["no ports", '{"proxyUid":64535}'],
] as const)
  test(`${what} is refused, and nothing is loaded`, () => {
    assert.throws(
      () => readRequest(asking({ "chaperone.dev/rules": value })),
      /chaperone.dev\/rules/,
    );
  });

test("a configuration that was cut is refused as such", () => {
  const text = asking({ "chaperone.dev/rules": rulesAsked(64_535, "tcp:15020") });
  assert.throws(() => readRequest(text.slice(0, -4)), /is not JSON, or longer/);
});

test("any request is read or refused with an error, and any answer to it is one line of JSON of its version", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (text, why) => {
      try {
        readRequest(text);
      } catch (error) {
        assert.ok(error instanceof Error && error.message !== "");
      }
      const answer = failureOf(text, why);
      assert.ok(!answer.includes("\n"));
      assert.equal((JSON.parse(answer) as { code: number }).code, 100);
    }),
  );
  assert.deepEqual(JSON.parse(failureOf(asking({}), "x")), {
    cniVersion: "0.4.0",
    code: 100,
    msg: "chaperone: the rules of pod agents/agent-1 are not loaded, so it does not start: x",
  });
});

test("a network namespace is found by its name in the node's folder, and nowhere else", () => {
  const folders = { node: "/var/run/netns", agent: "/host/netns" };
  assert.equal(ownPathOf("/var/run/netns/cni-1", folders), "/host/netns/cni-1");
  assert.equal(ownPathOf("/run/netns/cni-1", folders), "/host/netns/cni-1");
  for (const other of [
    "/proc/1/ns/net",
    "/var/run/netns/../x",
    "/var/run/netns/..",
    "",
    "cni-1",
    "/var/run/netns/-x",
  ])
    assert.throws(() => ownPathOf(other, folders), /node.netnsDirectory/, other);
});
