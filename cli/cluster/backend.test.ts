import type { BudgetRow } from "../../operator/budgets/used.ts";
import assert from "node:assert/strict";
import { after, before, beforeEach, describe, test } from "node:test";
import type { AccessRequest } from "../../crds/types.gen.ts";
import type { SessionSummary } from "../../operator/audit/queries.ts";
import { approvalRule, podIdentity } from "../../operator/api/fixture.ts";
import { openClusterBackend } from "./backend.ts";
import { TestCluster } from "./fixture.ts";

const session: SessionSummary = {
  id: "01JDAAAAAAAAAAAAAAAAAAAAAA",
  namespace: "agents",
  serviceAccount: "invoice-agent",
  pod: "invoice-7c9d",
  podUid: "uid",
  connection: "agents/orders-db",
  protocol: "postgres",
  started: "2026-11-20T10:00:00.000Z",
  last: "2026-11-20T10:00:01.000Z",
  ended: true,
  operations: 1,
  denied: 0,
  held: 0,
  masked: 0,
};

function accessRequest(name: string, namespace = "agents"): AccessRequest {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessRequest",
    metadata: { name, namespace },
    spec: {
      requester: { ...podIdentity(), namespace: "agents" },
      connection: "orders-db",
      policies: [
        {
          name: "invoice-agent",
          rule: approvalRule.name,
          approvers: [{ group: "finance-leads" }],
          count: 1,
        },
      ],
      digest: `sha256-${"A".repeat(43)}`,
      kind: "sql",
      summary: "UPDATE orders SET status = $1",
      session: session.id,
      openedAt: new Date().toISOString(),
      expiresAt: new Date(Date.now() + 60_000).toISOString(),
      validFor: "10m",
    },
  };
}

describe("the state commands on a cluster", () => {
  let cluster: TestCluster;
  const open = (context?: string) =>
    openClusterBackend({ context, namespace: "chaperone-system", env: cluster.env });

  before(async () => {
    cluster = await TestCluster.start({
      reader: {
        events: async () => ({ events: [], cursor: 7 }),
        sessions: async () => [session],
        session: async (id) => (id === session.id ? session : undefined),
        recording: async (id) => ({
          events: [],
          contents: [{ session: id ?? "", seq: 1, part: "rows", sha256: "sha256-x", text: "row" }],
        }),
        verify: async () => [{ stream: "agents/p/u", ok: true, events: 3, pruned: 0, gaps: 0 }],
        budgets: async () => [budget("agents", 1_200), budget("others", 5)],
      },
    });
  });
  beforeEach(() => {
    cluster.refuse(() => undefined);
    cluster.allow(() => true);
  });
  after(() => cluster.close());

  test("the operator knows who asks from the session the webhook stamped, and records that name with the verdict", async () => {
    await cluster.api.requests.create(accessRequest("first"));
    const backend = await open("bob");
    assert.deepEqual(
      (await backend.requests(false)).map(({ name, phase }) => [name, phase]),
      [["first", "Pending"]],
    );
    const decided = await backend.decide(undefined, "first", "Approved", "looked at it");
    await backend.close();
    assert.equal(decided.phase, "Approved");
    assert.equal(decided.by, "bob@example.com");
  });

  test("what is used of the budgets is asked of the operator, and of one namespace where no more may be seen", async () => {
    const all = await open();
    assert.deepEqual(
      (await all.budgets()).map(({ namespace, spent }) => [namespace, spent]),
      [
        ["agents", 1_200],
        ["others", 5],
      ],
    );
    await all.close();
    cluster.allow((_person, { namespace }) => namespace === "agents");
    const some = await open();
    assert.deepEqual(
      (await some.budgets()).map(({ namespace }) => namespace),
      ["agents"],
    );
    await some.close();
  });

  test("pods are listed with what their condition says, page after page, of one namespace where no more may be seen", async () => {
    const pod = (name: string, conditions: readonly unknown[]) => ({
      metadata: { name, namespace: "agents", uid: name, resourceVersion: "1" },
      status: { phase: "Running", conditions },
    });
    const locked = {
      type: "chaperone.dev/Held",
      status: "True",
      reason: "Locked",
      message: "held",
      lastTransitionTime: "2026-11-30T10:00:00Z",
    };
    cluster.putPods([pod("first", [locked])], [pod("second", [])]);
    const listed = async () => {
      const backend = await open();
      const rows = await backend.pods();
      await backend.close();
      return rows.map(({ name, held, tier }) => [name, held, tier]);
    };
    const rows = [
      ["first", "True", "Locked"],
      ["second", "Unknown", "Unknown"],
    ];
    assert.deepEqual(await listed(), rows);
    const forbidden = { code: 403, message: "pods is forbidden" };
    cluster.refuse((call) => (call === "GET /api/v1/pods" ? forbidden : undefined));
    assert.deepEqual(await listed(), rows);
    cluster.refuse((call) => (call.endsWith("/pods") ? forbidden : undefined));
    await assert.rejects(
      listed(),
      /pods cannot be listed: pods is forbidden; ask for ClusterRole view/,
    );
  });

  test("one command opens one session, however much it asks", async () => {
    const before = cluster.sessions.length;
    const backend = await open();
    await Promise.all([backend.sessions(10), backend.requests(true), backend.verify()]);
    await backend.close();
    assert.equal(cluster.sessions.length, before + 1);
  });

  test("a session that ended meanwhile is replaced once, and the command goes on", async () => {
    const backend = await open();
    await backend.sessions(10);
    cluster.endSessions();
    assert.equal((await backend.sessions(10)).length, 1);
    await backend.close();
  });

  test("a recording is found by the beginning of its session's id", async () => {
    const backend = await open();
    const { contents } = await backend.recording("01JD", true);
    assert.equal(contents[0]?.session, session.id);
    assert.deepEqual(
      (await backend.verify()).map(({ stream, ok }) => [stream, ok]),
      [["agents/p/u", true]],
    );
    assert.equal((await backend.events({ limit: 5, after: 3 })).cursor, 7);
    await backend.close();
  });

  test("whoever may look at one namespace gets that of the context", async () => {
    const asked: (string | undefined)[] = [];
    cluster.allow((_person, { namespace }) => {
      asked.push(namespace);
      return namespace === "agents";
    });
    const backend = await open();
    await backend.sessions(10);
    await backend.sessions(10);
    await backend.close();
    assert.deepEqual(asked, [undefined, "agents", "agents"]);
  });

  test("the operator's refusal is told in its own words", async () => {
    cluster.allow(() => false);
    const backend = await open();
    await assert.rejects(
      backend.verify(),
      /alice@example.com may not get events.chaperone.dev in every namespace.*\(ClusterRole chaperone-auditor\)/,
    );
    await backend.close();
  });

  test("a request that two namespaces have is not guessed at", async () => {
    await cluster.api.requests.create(accessRequest("twice"));
    await cluster.api.requests.create(accessRequest("twice", "other"));
    const backend = await open();
    await assert.rejects(
      backend.decide(undefined, "twice", "Denied", "no"),
      /several namespaces have an access request twice; name one with --namespace/,
    );
    await assert.rejects(
      backend.decide(undefined, "never", "Denied", "no"),
      /there is no access request never/,
    );
    await backend.close();
  });

  test("a quarantine is a resource: made in the context's namespace, found by name, lifted", async () => {
    const backend = await open();
    const made = await backend.addQuarantine({
      serviceAccount: "invoice-agent",
      reason: "unusual refunds",
    });
    assert.equal(made.namespace, "agents");
    assert.equal(made.selects, "service account invoice-agent");
    assert.deepEqual(
      (await backend.quarantines()).map(({ name }) => name),
      [made.name],
    );
    await backend.liftQuarantine(undefined, made.name);
    assert.deepEqual(await backend.quarantines(), []);
    await assert.rejects(backend.liftQuarantine("agents", made.name), /there is no quarantine/);
    await backend.close();
    assert.ok(
      !cluster.seen.slice(-6).some((call) => call.includes("accesssessions")),
      "no session is needed for it",
    );
  });

  const status = (code: number, message: string, details?: Record<string, unknown>) => ({
    code,
    message,
    ...(details === undefined ? {} : { details }),
  });
  for (const { title, rule, says } of [
    {
      title: "who may not create sessions is told which role grants it",
      rule: (call: string) =>
        call.startsWith("POST /apis")
          ? status(403, 'User "alice" cannot create resource "accesssessions"')
          : undefined,
      says: /an AccessSession cannot be created .* cannot create resource .*; ask for the Role chaperone-session of namespace chaperone-system/,
    },
    {
      title: "a cluster without Chaperone is told apart from one where it is elsewhere",
      rule: (call: string) =>
        call.startsWith("POST /apis")
          ? status(404, "the server could not find the requested resource")
          : undefined,
      says: /Chaperone is not installed in this cluster/,
    },
    {
      title: "a namespace that is not there is named",
      rule: (call: string) =>
        call.startsWith("POST /apis")
          ? status(404, 'namespaces "x" not found', { kind: "namespaces", name: "x" })
          : undefined,
      says: /there is no namespace chaperone-system; name the one .* --chaperone-namespace/,
    },
    {
      title: "a webhook that does not answer means the operator does not",
      rule: (call: string) =>
        call.startsWith("POST /apis")
          ? status(500, 'failed calling webhook "stamp.chaperone.dev"')
          : undefined,
      says: /the operator does not answer the API server; see: kubectl -n chaperone-system get pods/,
    },
    {
      title: "an operator without a ready pod is not reachable, which is no denial",
      rule: (call: string) =>
        call.includes("/proxy/")
          ? status(503, 'no endpoints available for service "chaperone"')
          : undefined,
      says: /the operator in namespace chaperone-system cannot be reached by the API server: is it running/,
    },
    {
      title: "who may not use the service proxy is told which role grants it",
      rule: (call: string) =>
        call.includes("/proxy/")
          ? status(403, 'User "alice" cannot get resource "services/proxy"')
          : undefined,
      says: /cannot be asked: .*services\/proxy.*; ask for the Role chaperone-session/,
    },
    {
      title: "credentials that the API server does not take are said to be the kubeconfig's",
      rule: () => status(401, "Unauthorized"),
      says: /does not accept this kubeconfig's credentials; log in again/,
    },
  ]) {
    test(title, async () => {
      cluster.refuse(rule);
      const backend = await open();
      await assert.rejects(backend.sessions(10), says);
      await backend.close();
    });
  }

  test("no kubeconfig, an unknown context and a dead API server are three clear sentences", async () => {
    const elsewhere = { KUBECONFIG: "/nonexistent/config" };
    await assert.rejects(
      openClusterBackend({ context: undefined, namespace: "x", env: elsewhere }),
      /no kubeconfig: \/nonexistent\/config does not exist; set KUBECONFIG/,
    );
    await assert.rejects(
      open("carol"),
      /no context carol to use; name one with --context \(known: alice, bob\)/,
    );
    const gone = await TestCluster.start();
    const backend = await openClusterBackend({
      context: undefined,
      namespace: "chaperone-system",
      env: gone.env,
    });
    const env = { ...gone.env };
    await gone.close();
    assert.ok(env.KUBECONFIG);
    await assert.rejects(
      backend.sessions(1),
      /the API server https:\/\/127.0.0.1:\d+ of context alice cannot be reached \(ECONNREFUSED\)/,
    );
    await backend.close();
  });
});

function budget(namespace: string, spent: number): BudgetRow {
  return {
    namespace,
    connection: "openai",
    workload: `${namespace}/invoice-agent`,
    budget: "tokensPerDay",
    period: "2026-11-30",
    limit: 200_000,
    spent,
    held: 0,
    left: 200_000 - spent,
    proxies: 1,
  };
}
