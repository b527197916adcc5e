// Where a NetworkPolicy lets agents out: what a Connection's address can say, and no more.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { fieldAt, listAt } from "../kube/objects.ts";
import { egressSpec, type EgressPlan, type Endpoint } from "./network-policy.ts";

const golden = join(import.meta.dirname, "golden/agents.json");

const addresses: Readonly<Record<string, readonly string[]>> = {
  "api.openai.com": ["104.18.6.192", "104.18.7.192"],
  "db.corp.example": ["10.20.0.7", "fd00::7"],
  "openai.example": ["104.18.6.192", "2606:4700::1"],
};

function plan(endpoints: readonly Endpoint[], changes: Partial<EgressPlan> = {}): EgressPlan {
  return {
    namespace: "agents",
    endpoints,
    addressesOf: (host) => addresses[host] ?? [],
    operatorNamespace: "chaperone-system",
    operatorPort: 8443,
    resolvers: [],
    ...changes,
  };
}

/** What is let out besides DNS and the operator. */
function out(endpoints: readonly Endpoint[]): readonly unknown[] {
  return listAt(egressSpec(plan(endpoints)), "egress").slice(2);
}

const pods = (namespace: string) => ({
  to: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": namespace } } }],
});
const tcp = (port: number) => [{ port, protocol: "TCP" }];

test("the policy of a namespace is that which was looked at (make golden writes it anew)", () => {
  const endpoints = [
    { host: "postgres.data.svc.cluster.local", port: 5432 },
    { host: "api.openai.com", port: 443 },
    { host: "db.corp.example", port: 5432 },
    { host: "203.0.113.9", port: 8080 },
  ];
  const text = `${JSON.stringify(egressSpec(plan(endpoints, { resolvers: ["169.254.20.10"] })), null, 2)}\n`;
  if (process.env.GOLDEN === "write") writeFileSync(golden, text);
  assert.equal(text, readFileSync(golden, "utf8"));
});

test("without Connections labelled pods reach DNS and the operator", () => {
  const spec = egressSpec(plan([]));
  assert.deepEqual(fieldAt(spec, "podSelector", "matchLabels"), { "chaperone.dev/inject": "true" });
  assert.deepEqual(spec["policyTypes"], ["Egress"]);
  assert.equal(listAt(spec, "egress").length, 2);
});

test("a Service is the pods of its namespace, on whatever port they listen", () => {
  for (const [host, namespace] of [
    ["orders-db", "agents"],
    ["postgres.data.svc", "data"],
    ["postgres.data.svc.cluster.local", "data"],
    ["db-0.postgres.data.svc.cluster.local", "data"],
    ["postgres.data", "data"],
  ] as const)
    assert.deepEqual(out([{ host, port: 5432 }]), [pods(namespace)], host);
});

test("a name of private addresses is those, one of public ones is its port on all of them", () => {
  assert.deepEqual(out([{ host: "db.corp.example", port: 5432 }]), [
    { to: [{ ipBlock: { cidr: "10.20.0.7/32" } }], ports: tcp(5432) },
    { to: [{ ipBlock: { cidr: "fd00::7/128" } }], ports: tcp(5432) },
  ]);
  const [first, ...others] = out([{ host: "api.openai.com", port: 443 }]);
  assert.deepEqual(others, [], "once for both addresses");
  const block = fieldAt(listAt(first, "to")[0], "ipBlock");
  assert.equal(fieldAt(block, "cidr"), "0.0.0.0/0");
  for (const inside of ["10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16"])
    assert.ok(listAt(block, "except").includes(inside), inside);
});

test("a name that has two labels and is public may be a Service as well: no namespace is called com", () => {
  const families = out([{ host: "openai.example", port: 443 }]).map((rule) =>
    JSON.stringify(listAt(rule, "to")[0]),
  );
  assert.equal(families.length, 3);
  assert.ok(families.some((rule) => rule.includes('"::/0"')));
});

test("an address that is written down is that one, and none that the proxy would not dial", () => {
  assert.deepEqual(out([{ host: "203.0.113.9", port: 8080 }]), [
    { to: [{ ipBlock: { cidr: "203.0.113.9/32" } }], ports: tcp(8080) },
  ]);
  for (const host of ["127.0.0.1", "169.254.169.254", "::1", "fe80::1"])
    assert.deepEqual(out([{ host, port: 80 }]), [], host);
});

test("whatever addresses a name has, no rule lets out to metadata services, loopback or every port", () => {
  const address = fc.oneof(
    fc.ipV4(),
    fc.ipV6().filter((text) => !text.includes(".")),
    fc.constantFrom("169.254.169.254", "127.0.0.1", "fe80::1", "::1", "10.0.0.1"),
  );
  fc.assert(
    fc.property(
      fc.array(address, { maxLength: 8 }),
      fc.integer({ min: 1, max: 65_535 }),
      (list, port) => {
        const rules = listAt(
          egressSpec(plan([{ host: "a.b.example", port }], { addressesOf: () => list })),
          "egress",
        ).slice(2);
        for (const rule of rules) {
          assert.deepEqual(fieldAt(rule, "ports"), tcp(port));
          const block = fieldAt(listAt(rule, "to")[0], "ipBlock");
          const cidr = String(fieldAt(block, "cidr"));
          assert.doesNotMatch(cidr, /^(127\.|169\.254\.|fe80|::1\/)/);
          if (cidr === "0.0.0.0/0") assert.ok(listAt(block, "except").includes("169.254.0.0/16"));
        }
      },
    ),
    { numRuns: 200 },
  );
});

test("what one policy cannot hold is refused with its number, and not cut short", () => {
  const many = Array.from({ length: 2_001 }, (_, port) => ({
    host: "203.0.113.9",
    port: port + 1,
  }));
  assert.throws(() => egressSpec(plan(many)), /lead to 2001 places/);
});
