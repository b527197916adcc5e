import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decide, prepare, type DecideContext } from "./decide.ts";
import { DecisionMemo } from "./decision-memo.ts";
import type { BundleRule, RuleAction } from "./bundle.ts";
import type { Access, HttpOperation, SqlOperation, StatementKind, Subject } from "./operation.ts";
import { bundleOf } from "./fixture.ts";

const kinds: readonly StatementKind[] = ["select", "insert", "delete", "set", "do"];
const relations = ["public.orders", "public.people", "private.salaries"];
const context: DecideContext = { session: { id: "s", operations: 0 }, time: new Date(0) };
const subject = (chain: string | undefined): Subject => ({
  namespace: "agents",
  serviceAccount: "invoice-agent",
  pod: "pod",
  podUid: "uid",
  ...(chain === undefined ? {} : { chain }),
});

const anyRule: fc.Arbitrary<BundleRule> = fc
  .record({
    action: fc.constantFrom<RuleAction>("Allow", "Deny", "RequireApproval"),
    mode: fc.constantFrom("Enforce" as const, "Observe" as const),
    statements: fc.subarray([...kinds], { minLength: 1 }),
    relations: fc.subarray([...relations, "public.*"]),
    chains: fc.option(fc.constantFrom("a", "b"), { nil: undefined }),
    when: fc.option(fc.constantFrom("session.operations < 2", "params.size() == 0"), {
      nil: undefined,
      freq: 1,
    }),
  })
  .map(({ action, mode, statements, relations: named, chains, when }) => ({
    policy: "agents/p",
    name: `${action} ${statements.join()}`,
    action,
    mode,
    sql: named.length === 0 ? { statements } : { statements, relations: named },
    ...(chains === undefined ? {} : { chains: [chains] }),
    ...(when === undefined ? {} : { when }),
  }));

const anyAccess: fc.Arbitrary<Access> = fc.oneof(
  fc.record({
    kind: fc.constant("relation" as const),
    statement: fc.constantFrom(...kinds),
    relation: fc.constantFrom(...relations),
    columns: fc.constant([]),
    allColumns: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("statement" as const), statement: fc.constantFrom(...kinds) }),
);

const anyOperation: fc.Arbitrary<SqlOperation> = fc
  .record({
    accesses: fc.array(anyAccess, { minLength: 1, maxLength: 3 }),
    readWrite: fc.boolean(),
  })
  .map(({ accesses, readWrite }) => ({
    kind: "sql",
    summary: "",
    accesses,
    facts: {
      statements: [],
      relationsRead: [],
      relationsWritten: [],
      columns: [],
      functions: [],
      hasWhere: false,
      count: 1,
    },
    params: [],
    ...(readWrite ? { session: { readWrite: true } } : {}),
  }));

test("a memory never changes a decision, whatever comes between two executions", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(anyRule, { maxLength: 5 }), { minLength: 1, maxLength: 3 }),
      fc.array(anyOperation, { minLength: 1, maxLength: 4 }),
      fc.array(
        fc.record({
          bundle: fc.nat(2),
          operation: fc.nat(3),
          chain: fc.constantFrom(undefined, "a", "b"),
          change: fc.constantFrom("none", "params", "unrecognised", "accesses"),
          operations: fc.nat(3),
        }),
        { maxLength: 30 },
      ),
      (ruleSets, operations, steps) => {
        const memo = new DecisionMemo();
        const bundles = ruleSets.map((rules) => prepare(bundleOf(rules)));
        const subjects = new Map([undefined, "a", "b"].map((chain) => [chain, subject(chain)]));
        for (const step of steps) {
          const prepared = bundles[step.bundle % bundles.length];
          const plain = operations[step.operation % operations.length];
          const who = subjects.get(step.chain);
          if (prepared === undefined || plain === undefined || who === undefined) continue;
          const operation = changed(plain, step.change);
          const now = { ...context, session: { id: "s", operations: step.operations } };
          assert.deepEqual(
            memo.decide(prepared, who, operation, now),
            decide(prepared, who, operation, now),
          );
        }
      },
    ),
  );
});

function changed(operation: SqlOperation, change: string): SqlOperation {
  switch (change) {
    case "params":
      return { ...operation, params: ["1"] };
    case "unrecognised":
      return { ...operation, unrecognised: "not understood" };
    case "accesses":
      return {
        ...operation,
        accesses: [
          ...operation.accesses,
          { kind: "function", statement: "select", function: "public.f", safe: false },
        ],
      };
    default:
      return operation;
  }
}

test("a statement is decided once, and again when rules or subject change", () => {
  const memo = new DecisionMemo();
  const rules: BundleRule[] = [
    { policy: "agents/p", name: "all", action: "Allow", mode: "Enforce", sql: {} },
  ];
  const [one, other] = [prepare(bundleOf(rules)), prepare(bundleOf([]))];
  const operation: SqlOperation =
    fc.sample(anyOperation, { numRuns: 1, seed: 1 })[0] ?? assert.fail();
  let asked = 0;
  const counted = new Proxy(operation.accesses, {
    get: (target, key) => {
      asked += 1;
      return Reflect.get(target, key) as unknown;
    },
  });
  const counting = { ...operation, accesses: counted };
  const who = subject(undefined);
  for (let run = 0; run < 5; run++) memo.decide(one, who, counting, context);
  const first = asked;
  memo.decide(one, who, counting, context);
  assert.equal(asked, first, "it was not looked at again");
  assert.equal(memo.decide(other, who, counting, context).verdict, "deny");
  assert.ok(asked >= first);
});

const anyRequest: fc.Arbitrary<HttpOperation> = fc
  .record({
    method: fc.constantFrom("GET", "DELETE"),
    path: fc.constantFrom("/a", "/b"),
    query: fc.constantFrom({}, { q: ["1"] }),
  })
  .map((facts) => ({
    kind: "http",
    summary: "",
    accesses: [{ kind: "http", host: "h", method: facts.method, path: facts.path }],
    facts: { ...facts, host: "h", contentType: "" },
  }));

const anyHttpRule: fc.Arbitrary<BundleRule> = fc
  .record({
    action: fc.constantFrom<RuleAction>("Allow", "Deny"),
    http: fc.constantFrom({}, { methods: ["GET"] }, { paths: ["/a"] }),
    when: fc.constantFrom(
      undefined,
      '"q" in http.query',
      'subject.chain == "a"',
      "session.operations < 2",
      'time > timestamp("1971-01-01T00:00:00Z")',
      'operation.kind == "http"',
    ),
  })
  .map(({ action, http, when }) => ({
    policy: "agents/p",
    name: "rule",
    action,
    mode: "Enforce",
    http,
    ...(when !== undefined && { when }),
  }));

test("a memory never changes the decision on a request, though conditions look at it, the subject or the moment", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(anyHttpRule, { maxLength: 4 }), { minLength: 1, maxLength: 2 }),
      fc.array(anyRequest, { minLength: 1, maxLength: 3 }),
      fc.array(
        fc.record({
          bundle: fc.nat(1),
          request: fc.nat(2),
          chain: fc.constantFrom(undefined, "a"),
          operations: fc.nat(3),
          years: fc.nat(3),
        }),
        { maxLength: 30 },
      ),
      (ruleSets, requests, steps) => {
        const memo = new DecisionMemo();
        const bundles = ruleSets.map((rules) => prepare(bundleOf(rules)));
        const subjects = new Map([undefined, "a"].map((chain) => [chain, subject(chain)]));
        for (const step of steps) {
          const prepared = bundles[step.bundle % bundles.length];
          const request = requests[step.request % requests.length];
          const who = subjects.get(step.chain);
          if (prepared === undefined || request === undefined || who === undefined) continue;
          const time = new Date(step.years * 366 * 86_400_000);
          const now = { session: { id: "s", operations: step.operations }, time };
          assert.deepEqual(
            memo.decide(prepared, who, request, now),
            decide(prepared, who, request, now),
          );
        }
      },
    ),
  );
});

test("of statements that name thousands of columns only as many are remembered as fit", () => {
  const prepared = prepare(
    bundleOf([{ policy: "p", name: "all", action: "Allow", mode: "Enforce" }]),
  );
  const memo = new DecisionMemo();
  const one = subject(undefined);
  const naming = (count: number): SqlOperation => {
    const columns = Array.from({ length: count }, (_, index) => `public.t.c${index}`);
    return {
      kind: "sql",
      summary: "SELECT",
      accesses: [
        { kind: "relation", statement: "select", relation: "public.t", columns, allColumns: false },
      ],
      facts: {
        statements: ["select"],
        relationsRead: ["public.t"],
        relationsWritten: [],
        columns,
        functions: [],
        hasWhere: false,
        count: 1,
      },
      params: [],
    };
  };
  const kept = (operations: readonly SqlOperation[]): number => {
    for (const operation of operations) memo.decide(prepared, one, operation, context);
    return operations.filter((operation) => memo.remembers(operation)).length;
  };
  assert.equal(kept(Array.from({ length: 400 }, () => naming(10))), 400);
  assert.ok(kept(Array.from({ length: 400 }, () => naming(1_000))) < 10);
  assert.equal(kept([naming(9_000)]), 0);
});
