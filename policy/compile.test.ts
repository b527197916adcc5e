import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type {
  AccessPolicy,
  AccessPolicySpec,
  Connection,
  PolicySubject,
} from "../crds/types.gen.ts";
import { compile } from "./compile.ts";
import { parseDays, parseDuration } from "./duration.ts";
import { missingFeatures } from "./features.ts";

const connection: Connection = {
  apiVersion: "chaperone.dev/v1alpha1",
  kind: "Connection",
  metadata: { name: "orders-db", namespace: "agents" },
  spec: { protocol: "postgres", endpoint: { host: "db.example.com" }, onFailure: "closed" },
};
const subject = { namespace: "agents", serviceAccount: "invoice-agent" };

function policy(name: string, spec: Partial<AccessPolicySpec>, namespace = "agents"): AccessPolicy {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessPolicy",
    metadata: { name, namespace },
    spec: {
      targetRefs: [{ group: "chaperone.dev", kind: "Connection", name: "orders-db" }],
      mode: "Enforce",
      ...spec,
    },
  };
}

function compiled(...policies: readonly AccessPolicy[]) {
  return compile({ policies, connection, subject, maskKey: "a2V5" });
}

const selections: [what: string, policy: AccessPolicy, selects: boolean][] = [
  ["without subjects, of the subject's namespace", policy("p", {}), true],
  [
    "that names the service account",
    policy("p", { subjects: [{ serviceAccounts: ["invoice-agent"] }] }),
    true,
  ],
  [
    "that names it by wildcard",
    policy("p", { subjects: [{ serviceAccounts: ["invoice-*"] }] }),
    true,
  ],
  ["that names another", policy("p", { subjects: [{ serviceAccounts: ["other"] }] }), false],
  [
    "that names it in its second entry",
    policy("p", { subjects: [{ serviceAccounts: ["other"] }, { serviceAccounts: ["*"] }] }),
    true,
  ],
  [
    "that names it with its namespace",
    policy("p", { subjects: [{ serviceAccounts: ["agents/invoice-agent"] }] }),
    true,
  ],
  [
    "that names it in another namespace",
    policy("p", { subjects: [{ serviceAccounts: ["billing/invoice-agent"] }] }),
    false,
  ],
  [
    "for another connection",
    policy("p", { targetRefs: [{ group: "chaperone.dev", kind: "Connection", name: "other-db" }] }),
    false,
  ],
  ["of another namespace", policy("p", {}, "billing"), false],
  ["whose entry names no service account", policy("p", { subjects: [{ chains: ["x"] }] }), false],
];
for (const [what, given, selects] of selections) {
  test(`a policy ${what} ${selects ? "selects" : "does not select"}`, () => {
    assert.deepEqual(compiled(given).policies, selects ? [`${given.metadata.namespace}/p`] : []);
  });
}

test("a policy without subjects does not select a subject of another namespace", () => {
  const bundle = compile({
    policies: [policy("p", {})],
    connection,
    subject: { namespace: "other", serviceAccount: "a" },
    maskKey: "",
  });
  assert.deepEqual(bundle.policies, []);
});

test("a policy selects a subject of another namespace by name", () => {
  const foreign = { namespace: "billing", serviceAccount: "bot" };
  const bundle = compile({
    policies: [policy("p", { subjects: [{ serviceAccounts: ["billing/*"] }] })],
    connection,
    subject: foreign,
    maskKey: "",
  });
  assert.deepEqual(bundle.policies, ["agents/p"]);
});

const chainsOf = (subjects: readonly PolicySubject[]) =>
  compiled(
    policy("p", {
      subjects,
      rules: [
        { name: "a", action: "Allow" },
        { name: "d", action: "Deny" },
      ],
    }),
  ).rules.map((rule) => rule.chains);

test("chains go onto permissions and never onto a Deny", () => {
  assert.deepEqual(chainsOf([{ serviceAccounts: ["*"], chains: ["x-*"] }]), [["x-*"], undefined]);
});

test("chains of several entries add up, and an entry without chains opens them all", () => {
  assert.deepEqual(
    chainsOf([
      { serviceAccounts: ["*"], chains: ["b"] },
      { serviceAccounts: ["invoice-agent"], chains: ["a"] },
    ]),
    [["a", "b"], undefined],
  );
  assert.deepEqual(
    chainsOf([{ serviceAccounts: ["*"], chains: ["b"] }, { serviceAccounts: ["invoice-agent"] }]),
    [undefined, undefined],
  );
  assert.deepEqual(
    chainsOf([{ serviceAccounts: ["*"], chains: ["b"] }, { serviceAccounts: ["other"] }]),
    [["b"], undefined],
  );
});

test("an empty bundle says so and has the defaults", () => {
  const bundle = compiled();
  assert.deepEqual(bundle.policies, []);
  assert.equal(bundle.observeOnly, false);
  assert.equal(bundle.grantTtlSeconds, 300);
  assert.deepEqual(bundle.recording, { detail: "Statements", strict: false, retentionDays: 90 });
});

test("a rule carries its policy, block, condition, message and approval terms", () => {
  const approval = { approvers: [{ group: "leads" }], count: 2, hold: "50s", validFor: "10m" };
  const bundle = compiled(
    policy("p", {
      rules: [
        {
          name: "r",
          action: "RequireApproval",
          sql: { statements: ["update"] },
          when: "sql.hasWhere",
          message: "Ask.",
          approval,
        },
      ],
    }),
  );
  assert.deepEqual(bundle.rules, [
    {
      policy: "agents/p",
      name: "r",
      action: "RequireApproval",
      mode: "Enforce",
      sql: { statements: ["update"] },
      when: "sql.hasWhere",
      approval: {
        approvers: [{ group: "leads" }],
        count: 2,
        holdSeconds: 50,
        validForSeconds: 600,
      },
      message: "Ask.",
    },
  ]);
  assert.deepEqual(bundle.requires, ["approval", "when"]);
});

test("masks of one column are merged to the stricter, within and across policies", () => {
  const bundle = compiled(
    policy("a", {
      masking: [
        {
          columns: ["public.c.ssn", "public.c.card"],
          direction: "response",
          transform: { partial: { keepFirst: 0, keepLast: 4 } },
        },
        { columns: ["public.c.card"], direction: "response", transform: { hash: {} } },
      ],
    }),
    policy("b", {
      masking: [
        { columns: ["public.c.ssn"], direction: "response", transform: { redact: {} } },
        { detect: ["email"], direction: "response", transform: { fixed: { value: "x" } } },
      ],
    }),
  );
  assert.deepEqual(bundle.columnMasks, [
    { column: "public.c.card", transform: { kind: "hash" }, policy: "agents/a" },
    { column: "public.c.ssn", transform: { kind: "redact" }, policy: "agents/b" },
  ]);
  assert.deepEqual(bundle.detectMasks, [
    { detector: "email", transform: { kind: "fixed", value: "x" }, policy: "agents/b" },
  ]);
});

for (const block of ["llm", "sql"] as const)
  test(`a rule with ${block}.detect brings the patterns of the policy's own detectors, and needs a proxy that knows them`, () => {
    const bundle = compiled(
      policy("a", {
        detectors: [
          { name: "order", pattern: "ORD-[0-9]{6}" },
          { name: "other", pattern: "x" },
        ],
        rules: [{ name: "r", action: "Deny", [block]: { detect: ["email", "order"] } }],
      }),
    );
    assert.deepEqual(bundle.rules[0]?.[block], {
      detect: ["email", "order"],
      patterns: { order: "ORD-[0-9]{6}" },
    });
    assert.ok(bundle.requires.includes(`${block}.detect`));
  });

test("limits and ttl are the smallest, recording is the most detailed", () => {
  const bundle = compiled(
    policy("a", {
      grant: { ttl: "10m" },
      limits: { rowsPerResult: 100, requestsPerMinute: 5, idleTimeout: "1h30m" },
      recording: { detail: "Full", strict: false, retention: "30d" },
    }),
    policy("b", {
      grant: { ttl: "2m" },
      limits: { rowsPerResult: 7 },
      recording: { detail: "Metadata", strict: true, retention: "90d" },
    }),
    policy("c", {}),
  );
  assert.equal(bundle.grantTtlSeconds, 120);
  assert.deepEqual(bundle.limits, {
    rowsPerResult: 7,
    requestsPerMinute: 5,
    idleTimeoutSeconds: 5400,
  });
  assert.deepEqual(bundle.recording, { detail: "Full", strict: true, retentionDays: 90 });
});

const observing = policy("o", {
  mode: "Observe",
  rules: [{ name: "d", action: "Deny" }],
  masking: [{ columns: ["public.c.ssn"], direction: "response", transform: { redact: {} } }],
  limits: { rowsPerResult: 1 },
  recording: { detail: "Full", strict: true, retention: "400d" },
  grant: { ttl: "1m" },
});

test("an Observe policy beside an enforced one contributes rules to compare and recording, nothing that changes an answer", () => {
  const bundle = compiled(observing, policy("e", { rules: [{ name: "a", action: "Allow" }] }));
  assert.equal(bundle.observeOnly, false);
  assert.deepEqual(
    bundle.rules.map((rule) => `${rule.name} ${rule.mode}`),
    ["a Enforce", "d Observe"],
  );
  assert.deepEqual(bundle.columnMasks, []);
  assert.deepEqual(bundle.limits, {});
  assert.deepEqual(bundle.recording, { detail: "Full", strict: false, retentionDays: 400 });
  assert.equal(bundle.grantTtlSeconds, 300);
});

test("Observe alone makes the bundle observeOnly", () => {
  const bundle = compiled(observing);
  assert.equal(bundle.observeOnly, true);
  assert.deepEqual(bundle.columnMasks, []);
  assert.equal(bundle.grantTtlSeconds, 60);
});

test("the order of policies, rules and masks changes nothing, the generation included", () => {
  const a = policy("a", {
    rules: [
      { name: "x", action: "Allow" },
      { name: "y", action: "Deny" },
    ],
    limits: { rowsPerResult: 3 },
  });
  const a2 = policy("a", {
    limits: { rowsPerResult: 3 },
    rules: [
      { name: "y", action: "Deny" },
      { name: "x", action: "Allow" },
    ],
  });
  fc.assert(
    fc.property(
      fc.shuffledSubarray([a, observing, policy("c", {})], { minLength: 3 }),
      (policies) => {
        assert.deepEqual(compiled(...policies), compiled(a2, observing, policy("c", {})));
      },
    ),
  );
});

test("a tier is demanded by policies that enforce alone", () => {
  assert.equal(
    compiled(policy("a", { mode: "Observe", minimumTier: "Locked" })).minimumTier,
    undefined,
  );
  assert.deepEqual(
    compiled(policy("a", { minimumTier: "Redirected" }), policy("b", { minimumTier: "Locked" }))
      .minimumTier,
    { tier: "Locked", policy: "agents/b" },
  );
});

test("what changes a decision changes the generation", () => {
  const generations = [
    compiled(),
    compiled(policy("a", {})),
    // Decided by the operator, and a change of it has to reach the grants that are there.
    compiled(policy("a", { minimumTier: "Redirected" })),
    compiled(policy("a", { minimumTier: "Locked" })),
    compiled(policy("a", { rules: [{ name: "x", action: "Allow" }] })),
    compiled(policy("a", { rules: [{ name: "x", action: "Allow", sql: {} }] })),
    compiled(policy("a", { mode: "Observe", rules: [{ name: "x", action: "Allow", sql: {} }] })),
    compile({ policies: [], connection, subject, maskKey: "b3RoZXI" }),
  ].map((bundle) => bundle.generation);
  assert.equal(new Set(generations).size, generations.length);
  assert.match(generations[0] ?? "", /^sha256-[-_A-Za-z0-9]{43}$/);
});

test("every feature that a bundle needs is one that this version has, and an unknown one is missing", () => {
  const bundle = compiled(
    observing,
    policy("e", {
      rules: [{ name: "a", action: "Allow", when: "true" }],
      limits: { maxConnections: 2 },
    }),
  );
  assert.deepEqual(bundle.requires, ["limits.maxConnections", "observe", "when"]);
  assert.deepEqual(missingFeatures(bundle.requires), []);
  assert.deepEqual(missingFeatures(["when", "mask.unheard-of"]), ["mask.unheard-of"]);
});

test("predicates on a masked column need the leave of every mask on it, and never have it where it is marked secret", () => {
  const entry = (more: Record<string, unknown>) => ({
    columns: ["public.c.ssn"],
    direction: "response" as const,
    transform: { tokenize: {} },
    ...more,
  });
  const allow = policy("a", { masking: [entry({ predicates: "Allow", marks: ["pii"] })] });
  const silent = policy("b", { masking: [entry({})] });
  const secret = policy("s", { masking: [entry({ predicates: "Allow", marks: ["secret"] })] });
  const transform = { kind: "tokenize" };
  const marks = [{ mark: "pii", policy: "agents/a" }];
  assert.deepEqual(compiled(allow).columnMasks, [
    { column: "public.c.ssn", transform, predicates: "Allow", policy: "agents/a", marks },
  ]);
  assert.deepEqual(compiled(allow).requires, [
    "marks",
    "mask.columns",
    "mask.predicates",
    "mask.tokenize",
  ]);
  assert.deepEqual(compiled(allow, silent).columnMasks, [
    { column: "public.c.ssn", transform, policy: "agents/a", marks },
  ]);
  assert.equal(compiled(secret).columnMasks[0]?.predicates, undefined);
});

const durations: [string, number][] = [
  ["50s", 50],
  ["10m", 600],
  ["1h30m", 5400],
  ["90d", 7_776_000],
  ["0s", 0],
];
for (const [text, seconds] of durations) {
  test(`${text} is ${seconds} seconds`, () => assert.equal(parseDuration(text), seconds));
}
for (const text of ["", "5", "m", "5 m", "-5m", "1.5h", "5ms", "999999s"]) {
  test(`'${text}' is no duration`, () =>
    assert.throws(() => parseDuration(text), /is no duration/));
}

test("days are rounded up", () => {
  assert.equal(parseDays("90d"), 90);
  assert.equal(parseDays("25h"), 2);
});
