// For every CEL rule of the CRDs one object that it accepts and one that it refuses, with the path and the sentence it answers.
// The unit test holds them against our evaluation; the cluster suite applies the same table to a real API server.
import { caseBuilder } from "./cel-case.ts";
import type { CelCase } from "./cel-case.ts";
import { clusterCases } from "./cel-cases-cluster.ts";
import { connectionCases } from "./cel-cases-connection.ts";

const notAvailable = "is not available in this version";

const policy = caseBuilder("AccessPolicy", {
  targetRefs: [{ name: "orders-db" }],
  subjects: [{ serviceAccounts: ["invoice-agent"] }],
  grant: { ttl: "5m" },
  rules: [
    { name: "read", action: "Allow", sql: { statements: ["select"] } },
    {
      name: "write",
      action: "RequireApproval",
      llm: {},
      approval: { approvers: [{ user: "alice" }] },
    },
  ],
  masking: [{ columns: ["public.customers.ssn"], transform: { partial: { keepLast: 4 } } }],
  limits: { requestsPerMinute: 60 },
  recording: {},
});

const policyCases: readonly CelCase[] = [
  policy("spec.subjects[0]", "a subject names serviceAccounts", {
    good: {},
    bad: { "spec.subjects": [{ chains: ["summarise"] }] },
  }),
  policy("spec.subjects[0].groups", `subjects.groups ${notAvailable}: use serviceAccounts`, {
    good: {},
    bad: { "spec.subjects[0].groups": ["people"] },
  }),
  policy("spec.grant.ttl", "grant.ttl is from 1m to 1h", {
    good: { "spec.grant.ttl": "1h" },
    bad: { "spec.grant.ttl": "59s" },
  }),
  policy("spec.rules[0]", "a rule has at most one of sql, http, llm, mcp and passthrough", {
    good: { "spec.rules[0]": { name: "any", action: "Allow" } },
    bad: { "spec.rules[0].http": {} },
  }),
  policy("spec.rules[0]", "action RequireApproval needs an approval block", {
    good: {},
    bad: { "spec.rules[0].action": "RequireApproval" },
  }),
  policy("spec.rules[1].approval", "approval has no effect with action Deny", {
    good: {},
    bad: { "spec.rules[1].action": "Deny" },
  }),
  policy("spec.rules[1].marks", "marks has no effect with action Deny", {
    good: { "spec.rules[1].marks": ["pii"] },
    bad: {
      "spec.rules[1]": {
        name: "never",
        action: "Deny",
        sql: { statements: ["drop"] },
        marks: ["pii"],
      },
    },
  }),
  policy("spec.rules[0].mcp", "an mcp block has at most one of tools, resources and prompts", {
    good: { "spec.rules[0]": { name: "tools", action: "Allow", mcp: { tools: ["search"] } } },
    bad: {
      "spec.rules[0]": {
        name: "tools",
        action: "Allow",
        mcp: { tools: ["search"], prompts: ["review"] },
      },
    },
  }),
  policy("spec.rules[0].mcp.arguments", "mcp.arguments has no effect beside resources", {
    good: {
      "spec.rules[0]": {
        name: "reads",
        action: "Allow",
        mcp: { tools: ["read"], arguments: { path: "/data/.*" } },
      },
    },
    bad: {
      "spec.rules[0]": {
        name: "reads",
        action: "Allow",
        mcp: { resources: ["file:///data/*"], arguments: { path: "/data/.*" } },
      },
    },
  }),
  policy(
    "spec.rules[1].approval.count",
    "approval.count asks for more people than approvers lists",
    {
      good: {
        "spec.rules[1].approval": { approvers: [{ user: "alice" }, { group: "leads" }], count: 3 },
      },
      bad: { "spec.rules[1].approval.count": 2 },
    },
  ),
  policy("spec.rules[1].approval.hold", "approval.hold is from 1s to 10m", {
    good: { "spec.rules[1].approval.hold": "1m30s" },
    bad: { "spec.rules[1].approval.hold": "11m" },
  }),
  policy("spec.rules[1].approval.validFor", "approval.validFor is from 10s to 24h", {
    good: { "spec.rules[1].approval.validFor": "24h" },
    bad: { "spec.rules[1].approval.validFor": "0s" },
  }),
  policy("spec.rules[1].approval.approvers[0]", "an approver is exactly one of group and user", {
    good: { "spec.rules[1].approval.approvers": [{ group: "leads" }] },
    bad: { "spec.rules[1].approval.approvers": [{ group: "leads", user: "alice" }] },
  }),
  policy("spec.masking[0]", "a masking entry has exactly one of columns and detect", {
    good: {},
    bad: { "spec.masking[0].detect": ["email"] },
  }),
  policy("spec.masking[0].transform", "transform truncateDate works on columns only", {
    good: { "spec.masking[0].transform": { truncateDate: { to: "year" } } },
    bad: { "spec.masking[0]": { detect: ["email"], transform: { truncateDate: { to: "year" } } } },
  }),
  policy("spec.masking[0].restore", "restore gives back what was sent", {
    good: {
      "spec.masking[0]": {
        detect: ["email"],
        direction: "request",
        transform: { tokenize: {} },
        restore: true,
      },
    },
    bad: {
      "spec.masking[0]": { detect: ["email"], transform: { tokenize: {} }, restore: true },
    },
  }),
  policy("spec.masking[0].restore", "restore sends a token", {
    good: { "spec.masking[0].restore": false },
    bad: {
      "spec.masking[0]": {
        detect: ["email"],
        direction: "both",
        transform: { redact: {} },
        restore: true,
      },
    },
  }),
  policy("spec.masking[0].when", "columns are masked always", {
    good: {
      "spec.masking[0]": {
        detect: ["email"],
        transform: { redact: {} },
        when: "session.marks.exists(m, m == 'pii')",
      },
    },
    bad: { "spec.masking[0].when": "session.marks.exists(m, m == 'pii')" },
  }),
  policy("spec.masking[0].predicates", "predicates are about columns", {
    good: { "spec.masking[0].predicates": "Allow" },
    bad: {
      "spec.masking[0]": { detect: ["email"], predicates: "Deny", transform: { redact: {} } },
    },
  }),
  policy("spec.masking[0].predicates", "columns marked secret may not decide", {
    good: { "spec.masking[0].predicates": "Allow", "spec.masking[0].marks": ["pii"] },
    bad: { "spec.masking[0].predicates": "Allow", "spec.masking[0].marks": ["pii", "secret"] },
  }),
  policy("spec.masking[0].direction", "columns are in answers", {
    good: { "spec.masking[0].direction": "response" },
    bad: { "spec.masking[0].direction": "both" },
  }),
  policy(
    "spec.masking[0].transform",
    "transform has exactly one of redact, nullify, partial, hash, tokenize, fixed and truncateDate",
    {
      good: { "spec.masking[0].transform": { nullify: {} } },
      bad: { "spec.masking[0].transform": { redact: {}, hash: {} } },
    },
  ),
  policy("spec.masking[0].transform.partial", "transform partial keeps nothing", {
    good: { "spec.masking[0].transform.partial": { keepFirst: 2 } },
    bad: { "spec.masking[0].transform.partial": {} },
  }),
  policy("spec.limits.costPerDay", "limits.costPerDay is from 0.000001 to 999999999", {
    good: { "spec.limits.costPerDay": 20 },
    bad: { "spec.limits.costPerDay": 0 },
  }),
  policy("spec.limits.costPerDay", "limits.costPerDay is more than 0", {
    good: { "spec.limits.costPerDay": "0.50" },
    bad: { "spec.limits.costPerDay": "0.00" },
  }),
  policy("spec.limits.repeats.within", "limits.repeats.within is from 1s to 1h", {
    good: { "spec.limits.repeats": { max: 5, within: "30s" } },
    bad: { "spec.limits.repeats": { max: 5, within: "2h" } },
  }),
  policy("spec.limits.idleTimeout", "limits.idleTimeout is from 1s to 24h", {
    good: { "spec.limits.idleTimeout": "15m" },
    bad: { "spec.limits.idleTimeout": "25h" },
  }),
  policy("spec.limits.statementTimeout", "limits.statementTimeout is from 1s to 24h", {
    good: { "spec.limits.statementTimeout": "30s" },
    bad: { "spec.limits.statementTimeout": "0s" },
  }),
  policy("spec.recording.aggregate", `recording.aggregate ${notAvailable}`, {
    good: {},
    bad: { "spec.recording.aggregate": true },
  }),
];

const request = caseBuilder("AccessRequest", {
  requester: {
    namespace: "agents",
    serviceAccount: "invoice-agent",
    pod: "invoice-1",
    podUid: "b6a3c0de-0000-4000-8000-000000000001",
  },
  connection: "orders-db",
  policies: [
    { name: "invoice-agent", rule: "refunds", approvers: [{ group: "finance-leads" }], count: 1 },
  ],
  digest: `sha256-${"A".repeat(43)}`,
  kind: "sql",
  summary: "UPDATE public.orders SET refunded = true WHERE id = $1",
  session: "01J00000000000000000000000",
  openedAt: "2026-11-20T10:00:00Z",
  expiresAt: "2026-11-20T10:01:00Z",
  validFor: "10m",
});

const session = caseBuilder("AccessSession", {
  publicKey: { kty: "EC", crv: "P-256", x: "A".repeat(43), y: "B".repeat(43) },
});

const quarantine = caseBuilder("Quarantine", {
  subjects: [{ serviceAccounts: ["invoice-agent"] }],
  reason: "odd reads at night",
});

const otherCases: readonly CelCase[] = [
  request("spec.policies[0].approvers[0]", "an approver is exactly one of group and user", {
    good: {},
    bad: { "spec.policies[0].approvers": [{}] },
  }),
  request("spec", "the spec of an access request never changes", {
    good: {},
    bad: { "spec.summary": "DROP TABLE orders" },
    update: true,
  }),
  session("spec", "the spec of an access session never changes", {
    good: {},
    bad: { "spec.publicKey.x": "C".repeat(43) },
    update: true,
  }),
  session(
    "spec.publicKey",
    "publicKey is kty EC with crv P-256, x and y, or kty OKP with crv Ed25519 and x",
    {
      good: { "spec.publicKey": { kty: "OKP", crv: "Ed25519", x: "A".repeat(43) } },
      bad: { "spec.publicKey.crv": "Ed25519" },
    },
  ),
  quarantine("spec", "a quarantine names subjects or connections, or says all: true", {
    good: { spec: { all: true, reason: "x" } },
    bad: { spec: { all: false, reason: "x" } },
  }),
  quarantine("spec.all", "all: true cuts everything off", {
    good: { "spec.all": false },
    bad: { "spec.all": true },
  }),
  quarantine("spec.subjects[0]", "a quarantined subject names serviceAccounts or pods", {
    good: { "spec.subjects": [{ pods: ["invoice-*"] }] },
    bad: { "spec.subjects": [{}] },
  }),
  quarantine("spec.subjects[0].chains", "a chain is what the agent says of itself", {
    good: {},
    bad: { "spec.subjects[0].chains": ["summarise"] },
  }),
];

export const celCases: readonly CelCase[] = [
  ...connectionCases,
  ...policyCases,
  ...clusterCases(policyCases),
  ...otherCases,
];
