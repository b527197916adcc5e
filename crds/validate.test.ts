import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { celCases } from "./cel-cases.ts";
import { formatProblem, maxProblemsPerObject } from "./problem.ts";
import { crdApiVersion } from "./schema.ts";
import type { CrdKind } from "./schema.ts";
import { applyDefaults, createValidator, validateObject } from "./validate.ts";

const kinds: readonly CrdKind[] = [
  "Connection",
  "AccessPolicy",
  "AccessRequest",
  "Quarantine",
  "AccessSession",
];
const validator = createValidator();

function object(kind: CrdKind, spec: unknown): unknown {
  return { apiVersion: crdApiVersion, kind, metadata: { name: "a", namespace: "agents" }, spec };
}

function said(kind: CrdKind, spec: unknown): readonly string[] {
  return validator.validate(kind, object(kind, spec)).map(formatProblem);
}

const targetRefs = [{ name: "orders-db" }];

function rules(...list: readonly Record<string, unknown>[]): object {
  return {
    targetRefs,
    rules: list.map((rule, index) => ({ name: `r${index}`, action: "Allow", ...rule })),
  };
}

const http = { protocol: "http", endpoint: { url: "https://api.example.com/v1" } };

const table: readonly [string, CrdKind, unknown, readonly string[]][] = [
  ["a spec of the wrong type", "Connection", "x", ["spec: must be an object, not text"]],
  [
    "a number where text is asked",
    "Quarantine",
    { all: true, reason: 5 },
    ["spec.reason: must be text, not a number: write it in quotes"],
  ],
  [
    "a fraction where a whole number is asked",
    "AccessPolicy",
    { targetRefs, limits: { requestsPerMinute: 1.5 } },
    ["spec.limits.requestsPerMinute: must be a whole number, not this number"],
  ],
  [
    "a null",
    "AccessPolicy",
    { targetRefs, limits: null },
    ["spec.limits: must be an object, not empty (null)"],
  ],
  [
    "a list that is empty",
    "AccessPolicy",
    rules({ sql: { statements: [] } }),
    [
      "spec.rules[0].sql.statements: is an empty list, which matches nothing: name at least one, or leave the field out",
    ],
  ],
  [
    "an item that repeats",
    "AccessPolicy",
    rules({ sql: { statements: ["select", "insert", "select"] } }),
    ['spec.rules[0].sql.statements[2]: repeats item 0 ("select")'],
  ],
  [
    "two rules of one name",
    "AccessPolicy",
    rules({ name: "x" }, { name: "x" }),
    ['spec.rules[1]: repeats item 0 ("x")'],
  ],
  [
    "a text that is too long",
    "AccessPolicy",
    rules({ when: "x".repeat(2049) }),
    ["spec.rules[0].when: is longer than 2048 characters"],
  ],
  [
    "a list that is too long",
    "AccessPolicy",
    { targetRefs: Array.from({ length: 17 }, (_, index) => ({ name: `n${index}` })) },
    ["spec.targetRefs: has 17 items; at most 16 are allowed"],
  ],
  [
    "a relation without its schema",
    "AccessPolicy",
    rules({ sql: { relations: ["orders"] } }),
    [
      'spec.rules[0].sql.relations[0]: "orders" is not of the form schema.name, for example public.orders (* is a wildcard)',
    ],
  ],
  [
    "a time that is none",
    "Quarantine",
    { all: true, reason: "x", until: "tomorrow" },
    ['spec.until: "tomorrow" is no RFC 3339 time, for example 2026-11-20T10:00:00Z'],
  ],
  [
    "a field of another case",
    "Connection",
    { ...http, allowed_namespaces: ["x"] },
    ["spec.allowed_namespaces: is not a field; did you mean allowedNamespaces?"],
  ],
  [
    "a field inside an empty transform",
    "AccessPolicy",
    { targetRefs, masking: [{ columns: ["a.b.c"], transform: { redact: { with: "x" } } }] },
    ["spec.masking[0].transform.redact.with: is not a field: nothing can be set here"],
  ],

  [
    "a condition about another protocol",
    "AccessPolicy",
    rules({ http: {}, when: "sql.hasWhere" }),
    ["spec.rules[0].when: when uses sql, which only a rule with the block sql can see"],
  ],
  [
    "a condition that is no boolean",
    "AccessPolicy",
    rules({ sql: {}, when: "sql.count" }),
    ["spec.rules[0].when: when is not a valid condition: it gives int, not true or false"],
  ],
  [
    "a pattern RE2 refuses",
    "AccessPolicy",
    rules({ llm: { promptMatches: "(a)\\1" } }),
    [
      "spec.rules[0].llm.promptMatches: '(a)\\1' is no RE2 pattern: error parsing regexp: invalid escape sequence: `\\1`",
    ],
  ],
  [
    "a WHERE clause of a select",
    "AccessPolicy",
    rules({ sql: { statements: ["select"], hasWhere: true } }),
    [
      "spec.rules[0].sql.hasWhere: can never match: only update and delete have it, and statements lists neither",
    ],
  ],
  [
    "replication beside what it would void",
    "AccessPolicy",
    {
      ...rules(
        { sql: { statements: ["replication"] }, when: "sql.count == 1" },
        {
          action: "RequireApproval",
          sql: { statements: ["replication"], relations: ["a.b"] },
          approval: { approvers: [{ group: "leads" }] },
        },
        { action: "Deny", sql: { statements: ["replication"] }, when: "sql.count == 2" },
      ),
      masking: [{ columns: ["a.b.c"], transform: { redact: {} } }],
      limits: { rowsPerResult: 5 },
    },
    [
      "spec.rules[1].sql.relations: can never match: replication statements have none",
      "spec.rules[0].sql.statements: replication shows every column, so the masks of this policy would be void",
      "spec.rules[0].sql.statements: replication streams without end, so limits.rowsPerResult would be void",
      "spec.rules[0].when: replication has no facts of SQL to look at, put it in a rule of its own: when uses sql, which only a rule with the block sql can see",
      "spec.rules[1].action: replication cannot be held for a person: Allow it or leave it out",
      "spec.rules[1].sql.statements: replication shows every column, so the masks of this policy would be void",
      "spec.rules[1].sql.statements: replication streams without end, so limits.rowsPerResult would be void",
    ],
  ],
  [
    "a column outside the relations",
    "AccessPolicy",
    rules({
      sql: { relations: ["public.orders"], columns: ["public.orders.id", "public.users.id"] },
    }),
    [
      "spec.rules[0].sql.columns[1]: can never match: public.users.id belongs to none of the relations of this rule",
    ],
  ],
  [
    "a path that no request has",
    "AccessPolicy",
    rules({ http: { paths: ["/v1/../admin", "/a//b", "/a**", "/ok/**"] } }),
    [
      "spec.rules[0].http.paths[0]: can never match: a normalised path has no . or .. segment",
      "spec.rules[0].http.paths[1]: can never match: a normalised path has no empty segment",
      "spec.rules[0].http.paths[2]: uses ** inside a segment: ** stands alone between slashes, * stands inside one segment",
    ],
  ],
  [
    "an Allow that a Deny of the policy covers",
    "AccessPolicy",
    rules(
      { sql: { statements: ["delete"], relations: ["public.orders"] } },
      { action: "Deny", sql: { statements: ["delete", "drop"] } },
    ),
    ["spec.rules[0]: can never take effect: rule r1 denies everything it matches"],
  ],
  [
    "an Allow that a RequireApproval of the policy covers",
    "AccessPolicy",
    rules(
      {
        action: "RequireApproval",
        http: { paths: ["/v1/**"] },
        approval: { approvers: [{ group: "g" }] },
      },
      { http: { methods: ["POST"], paths: ["/v1/orders"] } },
    ),
    ["spec.rules[1]: can never take effect: rule r0 asks for approval of everything it matches"],
  ],
  [
    "nothing: a Deny with a condition leaves room",
    "AccessPolicy",
    rules(
      { sql: { statements: ["delete"] } },
      { action: "Deny", sql: { statements: ["delete"] }, when: "!sql.hasWhere" },
    ),
    [],
  ],
  [
    "nothing: a Deny that is narrower leaves room",
    "AccessPolicy",
    rules(
      { sql: { statements: ["select", "delete"] } },
      { action: "Deny", sql: { statements: ["delete"] } },
    ),
    [],
  ],

  [
    "a url whose path can be read in two ways",
    "Connection",
    { protocol: "http", endpoint: { url: "https://api.example.com/a/%2e%2e/b" } },
    [
      "spec.endpoint.url: has a path that can be read in two ways: no empty segments, no . or .. and no encoded / \\ . or %",
    ],
  ],
  [
    "a url whose port does not exist",
    "Connection",
    { protocol: "http", endpoint: { url: "https://api.example.com:70000" } },
    ["spec.endpoint.url: is no URL that can be dialled: check host and port"],
  ],
  [
    "a token endpoint whose port does not exist",
    "Connection",
    {
      ...http,
      credential: {
        oauth2: {
          tokenUrl: "https://login.example.com:70000/token",
          secretRef: { name: "client" },
          clientIdKey: "id",
          clientSecretKey: "secret",
        },
      },
    },
    ["spec.credential.oauth2.tokenUrl: is no URL that can be dialled: check host and port"],
  ],
  [
    "headers that are set twice, or are the credential's",
    "Connection",
    {
      ...http,
      http: {
        headers: [
          { name: "X-Team", value: "a" },
          { name: "x-team", value: "b" },
          { name: "authorization", value: "c" },
        ],
      },
      credential: {
        static: { secretRef: { name: "api" }, basic: { usernameKey: "u", passwordKey: "p" } },
      },
    },
    [
      "spec.http.headers[1].name: is set twice: names of headers do not differ by case",
      "spec.http.headers[2].name: is the header of the credential, which sets it",
    ],
  ],
  [
    "a query credential whose template is broken",
    "Connection",
    {
      ...http,
      credential: {
        static: { secretRef: { name: "api" }, query: { name: "key", value: "${a}${" } },
      },
    },
    [
      "spec.credential.static.query.value: has a ${ without its }, or a name that is no key of a Secret",
    ],
  ],
  [
    "an unknown reference in the environment",
    "Connection",
    { ...http, inject: { env: { A: "${url}", B: "${addres}", C: "${" } } },
    [
      "spec.inject.env.B: uses ${addres}; what it can use is ${address}, ${host}, ${port} and ${url}",
      "spec.inject.env.C: has a ${ that is no reference: use ${address}, ${host}, ${port} or ${url}",
    ],
  ],
  [
    "variables that decide what a container runs",
    "Connection",
    { ...http, inject: { env: { LD_PRELOAD: "x", NODE_OPTIONS: "x", "2A": "x" } } },
    [
      "spec.inject.env.LD_PRELOAD: decides what a container runs, trusts or dials through and cannot be set by a Connection",
      "spec.inject.env.NODE_OPTIONS: decides what a container runs, trusts or dials through and cannot be set by a Connection",
      'spec.inject.env["2A"]: is no name of an environment variable: letters, digits and _, not beginning with a digit',
    ],
  ],
];

for (const [title, kind, spec, expected] of table) {
  test(`validation names ${title}`, () =>
    assert.deepEqual([...said(kind, spec)].toSorted(), [...expected].toSorted()));
}

test("all problems of the structure and the CEL rules come at once", () => {
  const found = said("AccessPolicy", {
    targetRef: [],
    mode: "enforce",
    minimumTier: "locked",
    recording: { aggregate: true },
    rules: [{ name: "A", action: "Allow", sql: {}, http: {} }],
  });
  assert.deepEqual(found, [
    "spec.targetRefs: is required",
    "spec.targetRef: is not a field; did you mean targetRefs?",
    'spec.mode: is "enforce"; it must be one of Enforce, Observe',
    'spec.minimumTier: is "locked"; it must be one of Cooperative, Redirected, Locked',
    'spec.rules[0].name: "A" is not of the form a name in lower case letters, digits and -',
    "spec.recording.aggregate: recording.aggregate is not available in this version: remove it",
    "spec.rules[0]: a rule has at most one of sql, http, llm, mcp and passthrough: write one rule for each",
  ]);
});

test("an object full of errors is answered with the first ones and a count", () => {
  const relations = Array.from({ length: 256 }, (_, index) => `r${index}`);
  const problems = validateObject(
    "AccessPolicy",
    object("AccessPolicy", rules({ sql: { relations } })),
  );
  assert.equal(problems.length, maxProblemsPerObject + 1);
  assert.match(problems.at(-1)?.message ?? "", /more problems; mend these first/);
});

test("metadata is checked as far as people write it", () => {
  const { spec } = object("Quarantine", { all: true, reason: "x" }) as { spec: unknown };
  const head = { apiVersion: crdApiVersion, kind: "Quarantine", spec };
  assert.deepEqual(validateObject("Quarantine", head).map(formatProblem), [
    "metadata: is required",
  ]);
  assert.deepEqual(
    validateObject("Quarantine", { ...head, metadata: { name: "Q", labels: { a: 1 } } }).map(
      formatProblem,
    ),
    [
      'metadata.name: "Q" is no valid name: lower case letters, digits and - only, at most 253 characters',
      "metadata.labels.a: must be text, not a number: write it in quotes",
    ],
  );
  assert.deepEqual(validateObject("Quarantine", { ...head, metadata: { generateName: "q-" } }), []);
});

test("defaults are filled in inside what is there, and nothing else is added", () => {
  const given = object("AccessPolicy", {
    targetRefs,
    rules: [{ name: "a", action: "RequireApproval", approval: { approvers: [{ group: "g" }] } }],
    recording: { detail: null },
  });
  const before = structuredClone(given);
  assert.deepEqual(
    applyDefaults("AccessPolicy", given),
    object("AccessPolicy", {
      targetRefs: [{ name: "orders-db", group: "chaperone.dev", kind: "Connection" }],
      rules: [
        {
          name: "a",
          action: "RequireApproval",
          approval: { approvers: [{ group: "g" }], count: 1, hold: "50s", validFor: "10m" },
        },
      ],
      recording: { detail: "Statements", strict: false, retention: "90d" },
      mode: "Enforce",
    }),
  );
  assert.deepEqual(given, before);
  assert.deepEqual(validateObject("AccessPolicy", given), []);
});

test("names from Object.prototype are fields like any other", () => {
  const spec: unknown = JSON.parse(
    '{"all": true, "reason": "x", "__proto__": {"polluted": true}, "constructor": 1, "toString": 2}',
  );
  assert.deepEqual(
    [...said("Quarantine", spec)].toSorted(),
    ["__proto__", "constructor", "toString"].map(
      (name) =>
        `spec.${name}: is not a field; the fields here are subjects, connections, all, reason, until`,
    ),
  );
  assert.equal(Object.hasOwn(Object.prototype, "polluted"), false);
});

test("validation and defaults never throw, whatever JSON they are given", () => {
  fc.assert(
    fc.property(fc.constantFrom(...kinds), fc.jsonValue({ maxDepth: 6 }), (kind, value) => {
      for (const candidate of [value, object(kind, value)]) {
        applyDefaults(kind, candidate);
        assert.ok(Array.isArray(validator.validate(kind, candidate)));
      }
    }),
  );
});

test("validation never throws when any part of a sound object is replaced by any JSON", () => {
  const objects = fc.constantFrom(...celCases.map(({ kind, good }) => ({ kind, good })));
  fc.assert(
    fc.property(objects, fc.nat(), fc.jsonValue({ maxDepth: 3 }), ({ kind, good }, at, value) => {
      const mutated = replaceNth(good, at % 40, value);
      assert.ok(Array.isArray(validator.validate(kind, mutated)));
      assert.ok(Array.isArray(validator.validate(kind, mutated, good)));
    }),
    { numRuns: 500 },
  );
});

/** The nth value in document order becomes another. */
function replaceNth(object: unknown, nth: number, value: unknown): unknown {
  let count = 0;
  const walk = (node: unknown): unknown => {
    count += 1;
    if (count - 1 === nth) return value;
    if (Array.isArray(node)) return node.map(walk);
    if (typeof node !== "object" || node === null) return node;
    return Object.fromEntries(Object.entries(node).map(([name, child]) => [name, walk(child)]));
  };
  return walk(object);
}
