// What the cluster restricts, no namespace can loosen: neither by what it allows, nor by observing, nor by moving.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import type {
  AccessPolicy,
  AccessPolicySpec,
  ClusterAccessPolicy,
  ClusterAccessPolicySpec,
  Connection,
} from "../crds/types.gen.ts";
import { applyDefaults, validateObject } from "../crds/validate.ts";
import { compile } from "./compile.ts";
import { decide, prepare } from "./decide.ts";
import type { Decision } from "./decision.ts";
import { explain } from "./explain.ts";
import { missingFeatures } from "./features.ts";
import { context, http, relation, sql, subject } from "./fixture.ts";
import type { Operation, Protocol } from "./operation.ts";

function connectionOf(protocol: Protocol = "postgres", namespace = "agents"): Connection {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "Connection",
    metadata: { name: "orders-db", namespace },
    spec: { protocol, endpoint: { host: "db.example.com" }, onFailure: "closed" },
  };
}

function policy(spec: Partial<AccessPolicySpec>, namespace = "agents"): AccessPolicy {
  return applyDefaults("AccessPolicy", {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessPolicy",
    metadata: { name: "p", namespace },
    spec: { targetRefs: [{ name: "orders-db" }], subjects: [everyone], ...spec },
  }) as AccessPolicy; // a literal of the tests
}
const everyone = { serviceAccounts: ["*/*"] };

function cluster(spec: ClusterAccessPolicySpec, name = "guard"): ClusterAccessPolicy {
  const object = {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "ClusterAccessPolicy",
    metadata: { name },
    spec,
  };
  assert.deepEqual(validateObject("ClusterAccessPolicy", object), []);
  return applyDefaults("ClusterAccessPolicy", object) as ClusterAccessPolicy; // a literal of the tests
}

interface Given {
  readonly policies?: readonly AccessPolicy[];
  readonly clusterPolicies?: readonly ClusterAccessPolicy[];
  readonly connection?: Connection;
  readonly namespace?: string;
}

function bundleOf({ policies = [], clusterPolicies = [], ...given }: Given) {
  return compile({
    policies,
    clusterPolicies,
    connection: given.connection ?? connectionOf(),
    subject: { namespace: given.namespace ?? "agents", serviceAccount: "invoice-agent" },
    maskKey: "a2V5",
  });
}

function decided(given: Given, operation: Operation): Decision {
  return decide(prepare(bundleOf(given)), subject, operation, context);
}

const everything = policy({ rules: [{ name: "all", action: "Allow" }] });
const drop = sql(relation("drop", "public.orders", "*"));
const select = sql(relation("select", "public.orders", ["id"]));
const noDrop = cluster({
  rules: [{ name: "no-drop", action: "Deny", sql: { statements: ["drop"] } }],
});
const approval = { approvers: [{ group: "security" }], count: 1, hold: "50s", validFor: "10m" };
const askFirst = cluster({
  rules: [
    { name: "ask", action: "RequireApproval", sql: { statements: ["drop", "select"] }, approval },
  ],
});

test("a Deny of the cluster stands whatever a namespace allows, and says where it stands", () => {
  const decision = decided({ policies: [everything], clusterPolicies: [noDrop] }, drop);
  assert.equal(decision.verdict, "deny");
  assert.equal(decision.policy, "*/guard");
  assert.equal(decision.rule, "no-drop");
  assert.equal(
    decided({ policies: [everything], clusterPolicies: [noDrop] }, select).verdict,
    "allow",
  );
});

test("a RequireApproval of the cluster asks even where a namespace allows, and permits nothing where it does not", () => {
  const held = decided({ policies: [everything], clusterPolicies: [askFirst] }, select);
  assert.equal(held.verdict, "hold");
  assert.deepEqual(
    held.approvals?.map(({ policy: name, rule }) => [name, rule]),
    [["*/guard", "ask"]],
  );
  const onlyInserts = policy({
    rules: [{ name: "write", action: "Allow", sql: { statements: ["insert"] } }],
  });
  const denied = decided({ policies: [onlyInserts], clusterPolicies: [askFirst] }, select);
  assert.equal(denied.reason, "NoMatchingRule");
});

test("restrictions alone are no policy: nothing passes", () => {
  assert.equal(decided({ clusterPolicies: [askFirst] }, select).reason, "NoPolicy");
});

test("a namespace that only observes is held all the same, and observes what is left", () => {
  const observing = policy({
    mode: "Observe",
    rules: [{ name: "none", action: "Deny", sql: { statements: ["select"] } }],
  });
  const given = { policies: [observing], clusterPolicies: [noDrop] };
  const denied = decided(given, drop);
  assert.deepEqual([denied.verdict, denied.policy], ["deny", "*/guard"]);
  assert.equal(decided(given, select).reason, "ObserveOnly");
  assert.equal(
    decided({ policies: [observing], clusterPolicies: [askFirst] }, select).verdict,
    "hold",
  );
  const bundle = bundleOf({
    policies: [observing],
    clusterPolicies: [
      cluster({
        masking: [{ columns: ["*.*.ssn"], transform: { redact: {} } }],
        limits: { rowsPerResult: 10 },
      } as unknown as ClusterAccessPolicySpec),
    ],
  });
  assert.deepEqual(
    bundle.columnMasks.map(({ column, policy: name }) => [column, name]),
    [["*.*.ssn", "*/guard"]],
  );
  assert.deepEqual(bundle.limits, { rowsPerResult: 10 });
});

test("masks and limits of the cluster and of a namespace add up as the strictest", () => {
  const mine = policy({
    rules: [{ name: "all", action: "Allow" }],
    masking: [
      {
        columns: ["public.customers.ssn"],
        transform: { partial: { keepFirst: 0, keepLast: 4 } },
        direction: "response",
        predicates: "Allow",
      },
    ],
    limits: { rowsPerResult: 5_000, requestsPerMinute: 10 },
  } as Partial<AccessPolicySpec>);
  const bundle = bundleOf({
    policies: [mine],
    clusterPolicies: [
      cluster({
        masking: [{ columns: ["public.customers.ssn"], transform: { redact: {} } }],
        limits: { rowsPerResult: 100, requestsPerMinute: 60 },
      } as unknown as ClusterAccessPolicySpec),
    ],
  });
  assert.deepEqual(bundle.columnMasks, [
    { column: "public.customers.ssn", transform: { kind: "redact" }, policy: "*/guard" },
  ]);
  assert.deepEqual(bundle.limits, { rowsPerResult: 100, requestsPerMinute: 10 });
});

test("it counts where the connection's or the agent's namespace is named: neither moves out of it", () => {
  const ofAgents = cluster({
    namespaces: ["agents*"],
    rules: [{ name: "never", action: "Deny" }],
  });
  const verdict = (connection: string, agent: string): string =>
    decided(
      {
        policies: [policy({ rules: [{ name: "all", action: "Allow" }] }, connection)],
        clusterPolicies: [ofAgents],
        connection: connectionOf("postgres", connection),
        namespace: agent,
      },
      select,
    ).verdict;
  assert.equal(verdict("agents-eu", "other"), "deny");
  assert.equal(verdict("other", "agents"), "deny");
  assert.equal(verdict("other", "other"), "allow");
});

test("a proxy that does not know restrictions refuses the bundle; without any a bundle is as before", () => {
  const given = { policies: [everything] };
  const { requires, clusterPolicies } = bundleOf({ ...given, clusterPolicies: [noDrop] });
  assert.ok(requires.includes("cluster"));
  assert.deepEqual(missingFeatures(requires), []);
  assert.deepEqual(clusterPolicies, ["*/guard"]);
  assert.deepEqual(bundleOf(given), bundleOf({ ...given, clusterPolicies: [] }));
  assert.notEqual(
    bundleOf(given).generation,
    bundleOf({ ...given, clusterPolicies: [noDrop] }).generation,
  );
});

test("an approval that the cluster wants makes no session writable", () => {
  const reads = policy({
    rules: [{ name: "read", action: "Allow", sql: { statements: ["select"] } }],
  });
  const asks = cluster({ rules: [{ name: "ask", action: "RequireApproval", approval }] });
  assert.equal(prepare(bundleOf({ policies: [reads], clusterPolicies: [asks] })).readOnly, true);
});

test("a mask of the whole cluster is about what a protocol has; what cannot be looked into at all is refused", () => {
  const masks = cluster({
    masking: [
      { columns: ["*.*.ssn"], transform: { redact: {} } },
      { detect: ["email"], direction: "both", transform: { redact: {} } },
    ],
  } as unknown as ClusterAccessPolicySpec);
  const on = (protocol: Protocol) =>
    bundleOf({
      policies: [everything],
      clusterPolicies: [masks],
      connection: connectionOf(protocol),
    });
  const shape = (protocol: Protocol): readonly number[] => {
    const { columnMasks, detectMasks, requestMasks = [] } = on(protocol);
    return [columnMasks.length, detectMasks.length, requestMasks.length];
  };
  assert.deepEqual(shape("postgres"), [1, 1, 0]);
  assert.deepEqual(shape("http"), [0, 1, 1]);
  assert.deepEqual(shape("openai"), [0, 1, 1]);
  assert.deepEqual(shape("passthrough"), [0, 1, 0]);
  assert.equal(decide(prepare(on("http")), subject, http("GET", "/"), context).verdict, "allow");
  const sealed: Operation = {
    kind: "passthrough",
    summary: "TLS to x",
    facts: { host: "x", port: 443 },
    accesses: [{ kind: "passthrough", host: "x", port: 443 }],
  };
  assert.equal(
    decide(prepare(on("passthrough")), subject, sealed, context).reason,
    "MaskNotProvable",
  );
});

test("explain names the restrictions that spoke, and never as what permits", () => {
  const given = { policies: [everything], clusterPolicies: [askFirst] };
  const explanation = explain(prepare(bundleOf(given)), subject, select, context);
  assert.deepEqual(explanation.policies, ["agents/p", "*/guard"]);
  const [access] = explanation.accesses;
  assert.deepEqual(
    access?.askedBy.map(({ policy: name }) => name),
    ["*/guard"],
  );
  assert.deepEqual(
    access?.coveredBy.map(({ policy: name }) => name),
    ["agents/p"],
  );
});

test("rules, masks, detectors and limits are written alike in both kinds of policy", () => {
  const specOf = (name: string): Readonly<Record<string, unknown>> =>
    parse(readFileSync(path.join(import.meta.dirname, `../crds/${name}.yaml`), "utf8")).spec
      .versions[0].schema.openAPIV3Schema.properties.spec.properties;
  const own = specOf("accesspolicy");
  const clusters = specOf("clusteraccesspolicy");
  for (const part of ["masking", "detectors", "limits"])
    assert.deepEqual(clusters[part], own[part]);
  const rule = (spec: Readonly<Record<string, unknown>>) => {
    const { title: _, properties, ...items } = Object(spec["rules"]).items;
    const { action: __, ...fields } = properties;
    return { ...items, fields };
  };
  assert.deepEqual(rule(clusters), rule(own));
});
