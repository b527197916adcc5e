import assert from "node:assert/strict";
import { test } from "node:test";
import type { OpenRequest, RequestState } from "../contract/control.ts";
import type { EventBody, EventType } from "../contract/event.ts";
import type { Bundle } from "../policy/bundle.ts";
import { prepare } from "../policy/decide.ts";
import { bundleOf, relation, rule, sql, subject } from "../policy/fixture.ts";
import { ProxyError } from "./errors.ts";
import { createGate } from "./gate.ts";
import { operationDigest } from "./hold.ts";
import { PodMarks } from "./marks.ts";
import type { Grants, Recorder } from "./pipeline.ts";
import type { LiveGrant, Passage } from "./pipeline.ts";

const read = sql(relation("select", "public.orders", ["id"]));
const write = sql(relation("update", "public.orders", ["status"], { hasWhere: true }));
const destroy = sql(relation("drop", "public.orders", "*"));

const rules = [
  rule("read", "Allow", { sql: { statements: ["select"] } }),
  rule("refund", "RequireApproval", {
    sql: { statements: ["update"] },
    approval: { approvers: [], count: 1, holdSeconds: 1, validForSeconds: 600 },
  }),
  rule("never", "Deny", { sql: { statements: ["drop"] }, message: "Never." }),
];

interface Recorded {
  readonly type: EventType;
  readonly body: EventBody;
  readonly durable: boolean;
}

function open(
  bundle: Bundle = bundleOf(rules),
  grants: Partial<Grants> = {},
  recorder: Partial<Recorder> = {},
  marks = new PodMarks(),
) {
  const recorded: Recorded[] = [];
  const live: LiveGrant = {
    id: "g1",
    endpoint: { host: "db", port: 5432, tls: { mode: "Disable" }, basePath: "" },
    lease: { kind: "none" },
    bundle,
    prepared: prepare(bundle),
  };
  const append = (type: EventType, body: EventBody, durable: boolean) => {
    recorded.push({ type, body, durable });
    return { seq: recorded.length };
  };
  const unused = () => Promise.reject(new Error("not asked for in this test"));
  const gate = createGate({
    connection: bundle.connection,
    subject,
    marks,
    grants: {
      current: () => live,
      acquire: async () => live,
      openRequest: unused,
      awaitDecision: unused,
      spend: unused,
      keepInUse: () => () => undefined,
      ...grants,
    },
    recorder: {
      full: () => false,
      room: async () => undefined,
      append: (type, body) => append(type, body, false),
      appendDurably: async (type, body) => append(type, body, true),
      ...recorder,
    },
    now: () => 1_795_000_000_000,
  });
  const session = gate.open({});
  const pass = (
    operation: typeof read,
    signal = new AbortController().signal,
  ): Passage | Promise<Passage> =>
    session.pass(operation, { exact: () => operation.summary, signal });
  return { gate, session, pass, recorded };
}

test("lets an allowed read through at once, without waiting for anything", () => {
  const { pass, recorded } = open();
  const passage = pass(read);
  assert.ok(!(passage instanceof Promise) && passage.go);
  passage.done({ status: "ok", rows: 3 });
  passage.done({ status: "ok", rows: 3 });
  assert.deepEqual(
    recorded.map(({ type }) => type),
    ["session-start", "operation"],
    "one event an operation, however often it is called done",
  );
});

test("records a refusal durably before the agent hears of it", async () => {
  const { pass, recorded } = open();
  const passage = await pass(destroy);
  assert.ok(!passage.go);
  assert.equal(passage.error.code, "Denied");
  assert.match(passage.error.message, /Never\./);
  const event = recorded.at(-1);
  assert.equal(event?.durable, true);
  assert.equal(event?.body.outcome?.status, "denied");
});

test("writes a durable intent before a write goes ahead, and names it in the operation event", async () => {
  const allowed = bundleOf([rule("write", "Allow", { sql: { statements: ["update"] } })]);
  const { pass, recorded } = open(allowed);
  const passage = await pass(write);
  assert.ok(passage.go);
  assert.deepEqual(
    recorded.map(({ type, durable }) => [type, durable]),
    [
      ["session-start", false],
      ["intent", true],
    ],
  );
  passage.done({ status: "ok" });
  assert.equal(recorded.at(-1)?.body.intent, 2);
});

test("does not let a write go ahead when its intent cannot be made durable", async () => {
  const full = new ProxyError("RecordingUnavailable", "the spool is full");
  const { pass } = open(
    bundleOf([rule("write", "Allow", { sql: { statements: ["update"] } })]),
    {},
    { appendDurably: () => Promise.reject(full) },
  );
  const passage = await pass(write);
  assert.ok(!passage.go);
  assert.equal(passage.error.code, "RecordingUnavailable");
});

test("makes every operation wait for room in the spool, and refuses it when there is none", async () => {
  const { pass } = open(
    bundleOf(rules),
    {},
    {
      full: () => true,
      room: () => Promise.reject(new ProxyError("RecordingUnavailable", "the spool is full")),
    },
  );
  const passage = await pass(read);
  assert.ok(!passage.go);
  assert.equal(passage.error.code, "RecordingUnavailable");
});

test("refuses when no grant can be had, and says why", async () => {
  const { pass } = open(bundleOf(rules), {
    current: () => undefined,
    acquire: () =>
      Promise.reject(new ProxyError("ControlPlaneUnavailable", "the operator is away")),
  });
  const passage = await pass(read);
  assert.ok(!passage.go);
  assert.equal(passage.error.code, "ControlPlaneUnavailable");
});

function approvals(phase: RequestState["phase"], spent: boolean) {
  const asked: OpenRequest[] = [];
  let spends = 0;
  const state = (digest: string): RequestState => ({
    name: "orders-db-1",
    phase,
    connection: "agents/orders-db",
    digest,
    by: "alice",
  });
  const grants: Partial<Grants> = {
    openRequest: async (request) => {
      asked.push(request);
      return { ...state(request.digest), phase: "Pending" };
    },
    awaitDecision: (_name, signal) =>
      phase === "Pending"
        ? new Promise((_resolve, reject) =>
            signal.addEventListener("abort", () => reject(signal.reason), { once: true }),
          )
        : Promise.resolve(state(asked[0]?.digest ?? "")),
    spend: async () => {
      spends += 1;
      return { spent };
    },
  };
  return { grants, asked, spends: () => spends };
}

test("a held operation goes ahead only after its approval is spent, with a durable intent", async () => {
  const { grants, asked, spends } = approvals("Approved", true);
  const { pass, recorded } = open(bundleOf(rules), grants);
  const passage = await pass(write);
  assert.ok(passage.go);
  assert.equal(spends(), 1);
  assert.equal(asked[0]?.digest, operationDigest(subject, "agents/orders-db", write.summary));
  assert.deepEqual(
    recorded.map(({ type }) => type),
    ["session-start", "intent"],
  );
});

test("an approval that was used already lets nothing through", async () => {
  const { grants } = approvals("Approved", false);
  const passage = await open(bundleOf(rules), grants).pass(write);
  assert.ok(!passage.go);
  assert.equal(passage.error.code, "ApprovalDenied");
});

test("a denial by a person is told as one, and an elapsed hold as pending with the handle", async () => {
  const denied = await open(bundleOf(rules), approvals("Denied", false).grants).pass(write);
  assert.ok(!denied.go);
  assert.equal(denied.error.code, "ApprovalDenied");
  assert.match(denied.error.message, /denied by alice/);
  const { pass, recorded } = open(bundleOf(rules), approvals("Pending", false).grants);
  const pending = await pass(write);
  assert.ok(!pending.go);
  assert.equal(pending.error.code, "Pending");
  assert.match(pending.error.message, /orders-db-1/);
  assert.equal(recorded.at(-1)?.body.outcome?.status, "pending");
});

test("an approval does not pass what a policy denies by the time it is given", async () => {
  const { grants, spends } = approvals("Approved", true);
  const before = bundleOf(rules);
  const after = bundleOf([
    ...rules,
    rule("frozen", "Deny", { sql: { statements: ["update"] }, message: "Frozen." }),
  ]);
  let bundle = before;
  const live = (): LiveGrant => ({
    id: "g",
    endpoint: { host: "db", port: 1, tls: { mode: "Disable" }, basePath: "" },
    lease: { kind: "none" },
    bundle,
    prepared: prepare(bundle),
  });
  const { pass } = open(before, {
    ...grants,
    current: live,
    awaitDecision: async (name, signal) => {
      bundle = after;
      return (await grants.awaitDecision?.(name, signal)) as RequestState;
    },
  });
  const passage = await pass(write);
  assert.ok(!passage.go);
  assert.match(passage.error.message, /Frozen\./);
  assert.equal(spends(), 0, "and it is not spent");
});

test("a session that ends while its operation is held does not let it through, even when it is approved", async () => {
  const { grants } = approvals("Approved", true);
  const { pass, gate, recorded } = open(bundleOf(rules), {
    ...grants,
    awaitDecision: async (name, signal) => {
      gate.end(new ProxyError("Quarantined", "cut off"));
      return (await grants.awaitDecision?.(name, signal)) as RequestState;
    },
  });
  const passage = await pass(write);
  assert.ok(!passage.go);
  assert.equal(passage.error.code, "Quarantined");
  assert.ok(!recorded.some(({ type }) => type === "intent"));
});

test("after its end a session passes nothing", async () => {
  const { gate, pass } = open();
  gate.end(new ProxyError("Quarantined", "cut off"));
  const passage = await pass(read);
  assert.ok(!passage.go);
  assert.equal(passage.error.code, "Quarantined");
});

test("holds to maxConnections and requestsPerMinute, and says which limit it was", async () => {
  const limited = { ...bundleOf(rules), limits: { maxConnections: 1, requestsPerMinute: 2 } };
  const { gate, pass } = open(limited);
  assert.throws(() => gate.open({}), /limits\.maxConnections/);
  assert.ok((await pass(read)).go);
  assert.ok((await pass(read)).go);
  const third = await pass(read);
  assert.ok(!third.go);
  assert.equal(third.error.code, "LimitExceeded");
  assert.match(third.error.message, /limits\.requestsPerMinute/);
});

test("two pods, two connections and two contents never share a digest", () => {
  const digests = new Set([
    operationDigest(subject, "agents/orders-db", "a"),
    operationDigest(subject, "agents/orders-db", "b"),
    operationDigest(subject, "agents/other", "a"),
    operationDigest({ ...subject, podUid: "other" }, "agents/orders-db", "a"),
  ]);
  assert.equal(digests.size, 4);
});

const noPii = "session.marks.exists(m, m == 'pii')";
const found = [{ mark: "pii", policy: "agents/p", column: "public.customers.email" }];

test("what a session was marked with is seen by the decisions of every connection of the pod, and recorded once", async () => {
  const marks = new PodMarks();
  const reader = open(bundleOf(rules), {}, {}, marks);
  const writer = open(
    bundleOf([
      rule("read", "Allow", { sql: { statements: ["select"] } }),
      rule("no-pii", "Deny", { sql: {}, when: noPii }),
    ]),
    {},
    {},
    marks,
  );
  assert.ok((await writer.pass(read)).go);
  reader.session.mark(found, read);
  reader.session.mark(found, read);
  const refused = await writer.pass(read);
  assert.ok(!refused.go);
  assert.match(refused.error.message, /carries the mark pii/);
  const events = reader.recorded.filter(({ type }) => type === "mark");
  assert.deepEqual(
    events.map(({ body }) => body.mark),
    [{ name: "pii", policy: "agents/p", column: "public.customers.email" }],
  );
  assert.equal(events[0]?.body.session, reader.session.id);
  assert.equal(events[0]?.body.operation?.summary, read.summary);
  const why = writer.recorded.at(-1)?.body.marks?.[0];
  assert.equal(why?.session, reader.session.id);
  assert.equal(why?.connection, "agents/orders-db");
  assert.equal(why?.operation, read.summary);
});

test("a rule's marks are carried when its operation is let go, not before and not when it is refused", async () => {
  const marks = new PodMarks();
  const { pass } = open(
    bundleOf([
      rule("read", "Allow", { sql: { statements: ["select"] }, marks: ["pii"] }),
      rule("never", "Deny", { sql: { statements: ["drop"] } }),
    ]),
    {},
    {},
    marks,
  );
  await pass(destroy);
  assert.deepEqual(marks.names, []);
  const passage = await pass(read);
  assert.deepEqual(marks.names, ["pii"]);
  assert.ok(passage.go);
  assert.equal(passage.marks, marks.names);
});

test("a mark that comes while an intent is written has the operation decided again; its intent is closed, and says why", async () => {
  const marks = new PodMarks();
  const reader = open(bundleOf(rules), {}, {}, marks);
  const written = Promise.withResolvers<void>();
  const recorded: { type: EventType; body: EventBody }[] = [];
  const { pass } = open(
    bundleOf([
      rule("write", "Allow", { sql: { statements: ["update"] } }),
      rule("no-pii", "Deny", { sql: { statements: ["update"] }, when: noPii }),
    ]),
    {},
    {
      append: (type, body) => ({ seq: recorded.push({ type, body }) }),
      appendDurably: async (type, body) => {
        const seq = recorded.push({ type, body });
        await written.promise;
        return { seq };
      },
    },
    marks,
  );
  const passing = pass(write);
  reader.session.mark(found, read);
  written.resolve();
  const passage = await passing;
  assert.ok(!passage.go);
  assert.equal(passage.error.code, "Denied");
  const last = recorded.at(-1);
  assert.deepEqual(last?.body.outcome, { status: "denied", error: "Denied" });
  assert.equal(last?.body.intent, recorded.findIndex(({ type }) => type === "intent") + 1);
  assert.equal(last?.body.marks?.[0]?.name, "pii");
});

test("a mark that comes while a person is asked, or their word is spent, has the operation decided again", async () => {
  for (const during of ["awaitDecision", "spend"] as const) {
    const marks = new PodMarks();
    const reader = open(bundleOf(rules), {}, {}, marks);
    const { grants } = approvals("Approved", true);
    const before = grants[during];
    assert.ok(before !== undefined);
    const { pass } = open(
      bundleOf([
        ...rules,
        rule("no-pii", "Deny", { sql: { statements: ["update"] }, when: noPii }),
      ]),
      {
        ...grants,
        [during]: async (...given: Parameters<typeof before>) => {
          reader.session.mark(found, read);
          return Reflect.apply(before, grants, given);
        },
      },
      {},
      marks,
    );
    const passage = await pass(write);
    assert.ok(!passage.go, during);
    assert.equal(passage.error.code, "Denied", during);
  }
});

test("what passed and now needs a person ends; what a person approved goes on", async () => {
  const marks = new PodMarks();
  const { pass, session } = open(
    bundleOf([
      rule("read", "Allow", { sql: { statements: ["select"] } }),
      rule("ask", "RequireApproval", { sql: {}, when: noPii }),
    ]),
    {},
    {},
    marks,
  );
  const passage = await pass(read);
  assert.ok(passage.go);
  assert.equal(session.refusalNow(read, passage.decision), undefined);
  session.mark(found, read);
  assert.equal(session.refusalNow(read, passage.decision)?.code, "Denied");
  assert.equal(session.refusalNow(read, { ...passage.decision, verdict: "hold" }), undefined);
});

test("an operation whose mark cannot be kept is refused", async () => {
  const marks = new PodMarks({
    read: () => [],
    write: () => {
      throw new Error("no space left");
    },
  });
  const { pass } = open(
    bundleOf([rule("read", "Allow", { sql: {}, marks: ["pii"] })]),
    {},
    {},
    marks,
  );
  const passage = await pass(read);
  assert.ok(!passage.go);
  assert.equal(passage.error.code, "RecordingUnavailable");
});
