import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import {
  alice,
  approvalRule,
  clusterPolicy,
  MemoryRequests,
  MemoryResources,
  startTestApi,
  type TestApi,
} from "./fixture.ts";
import { unauthorized } from "./errors.ts";
import type { PeopleAction, PeopleAuthenticator } from "./people.ts";
import { Approvals } from "../approvals/approvals.ts";
import { memoryDetails } from "../approvals/details.ts";

describe("people at the API", () => {
  let api: TestApi;
  afterEach(() => api.close());

  async function get(path: string): Promise<{ status: number; json: Record<string, unknown> }> {
    const response = await fetch(`${api.origin}${path}`);
    return { status: response.status, json: Object(await response.json()) };
  }

  const routes: readonly (readonly [path: string, action: PeopleAction])[] = [
    ["/v1/read/events?namespace=agents", { verb: "list", resource: "events", namespace: "agents" }],
    ["/v1/read/events", { verb: "list", resource: "events", namespace: undefined }],
    [
      "/v1/read/sessions?namespace=agents",
      { verb: "list", resource: "sessions", namespace: "agents" },
    ],
    [
      "/v1/read/sessions/01J",
      { verb: "get", resource: "sessions", namespace: undefined, name: "01J" },
    ],
    [
      "/v1/read/sessions/01J/replay",
      { verb: "get", resource: "sessions", namespace: undefined, name: "01J" },
    ],
    ["/v1/read/verify", { verb: "get", resource: "events", namespace: undefined }],
    [
      "/v1/read/requests?namespace=agents",
      { verb: "list", resource: "accessrequests", namespace: "agents" },
    ],
    [
      "/v1/read/requests/agents/x",
      { verb: "get", resource: "accessrequests", namespace: "agents", name: "x" },
    ],
    [
      "/v1/read/budgets?namespace=agents",
      { verb: "list", resource: "accesspolicies", namespace: "agents" },
    ],
    ["/v1/read/proxies", { verb: "list", resource: "proxies", namespace: undefined }],
  ];

  it("are asked who they are and what they may, on every route, before anything is read", async () => {
    const asked: PeopleAction[] = [];
    const people: PeopleAuthenticator = {
      authenticate: async () => alice,
      authorize: async (_person, action) => (asked.push(action), false),
    };
    const resources = new MemoryResources();
    api = await startTestApi({ people, resources });
    for (const [path, action] of routes) {
      const { status, json } = await get(path);
      assert.deepEqual([path, status, json["reason"]], [path, 403, "NotAuthorized"]);
      assert.deepEqual(asked.pop(), action);
    }
  });

  it("are refused as 401 when nobody knows them", async () => {
    const people: PeopleAuthenticator = {
      authenticate: async () => {
        throw unauthorized("invalid_token", "SessionUnknown", "who are you");
      },
      authorize: async () => true,
    };
    api = await startTestApi({ people });
    for (const [path] of routes) assert.equal((await get(path)).status, 401, path);
  });

  it("need the verb approve on every policy that asks, and are listed besides", async () => {
    const asked: PeopleAction[] = [];
    let mayApprove = false;
    const people: PeopleAuthenticator = {
      authenticate: async () => alice,
      authorize: async (_person, action) => {
        asked.push(action);
        return action.verb !== "approve" || mayApprove;
      },
    };
    const store = new MemoryRequests();
    api = await startTestApi({ people, store });
    const approvals = new Approvals({
      view: api.view,
      store,
      details: memoryDetails(),
      now: Date.now,
      record: () => undefined,
      isLocal: false,
      withoutStanding: () => undefined,
    });
    api.view.putCluster(
      clusterPolicy({ rules: [{ ...approvalRule, action: "RequireApproval", name: "guarded" }] }),
    );
    const { metadata } = await approvals.open(
      { namespace: "agents", serviceAccount: "invoice-agent", pod: "p", podUid: "u" },
      {
        connection: "agents/orders-db",
        session: "s",
        digest: `sha256-${"a".repeat(43)}`,
        kind: "sql",
        summary: "x",
        approvals: [
          {
            policy: "agents/invoice-agent",
            rule: "updates-need-a-person",
            approvers: [],
            count: 1,
            validForSeconds: 1,
          },
          {
            policy: "*/guard",
            rule: "guarded",
            approvers: [],
            count: 1,
            validForSeconds: 1,
          },
        ],
      },
      AbortSignal.timeout(5_000),
    );
    const decide = () =>
      fetch(`${api.origin}/v1/read/requests/agents/${metadata.name}/decision`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: '{"verdict":"Approved"}',
      });
    assert.equal((await decide()).status, 403);
    assert.deepEqual(asked.at(-1), {
      verb: "approve",
      resource: "accesspolicies",
      namespace: "agents",
      name: "invoice-agent",
    });
    mayApprove = true;
    assert.equal((await decide()).status, 200);
    assert.deepEqual(asked.at(-1), {
      verb: "approve",
      resource: "clusteraccesspolicies",
      namespace: undefined,
      name: "guard",
    });
    const { status } = (await store.get("agents", metadata.name)) ?? assert.fail();
    assert.deepEqual(
      [status?.phase, status?.decisions?.[0]?.by, status?.decisions?.[0]?.byUid],
      ["Approved", "alice@example.com", "uid-alice"],
    );
  });

  it("leave a trace when they read what was recorded", async () => {
    const reader = {
      events: async () => ({ events: [], cursor: 0 }),
      sessions: async () => [],
      session: async (id: string) => ({
        id,
        namespace: "agents",
        serviceAccount: "a",
        pod: "p",
        podUid: "u",
        connection: "agents/db",
        protocol: "postgres",
        started: "",
        last: "",
        ended: true,
        operations: 0,
        denied: 0,
        held: 0,
        masked: 0,
      }),
      recording: async () => ({ events: [], contents: [] }),
      verify: async () => [],
      budgets: async () => [],
    };
    api = await startTestApi({ reader });
    assert.equal((await get("/v1/read/sessions/01J/replay")).status, 200);
    assert.equal(
      api.recorded.at(-1)?.body.operation?.summary,
      "alice@example.com read the recording of session 01J",
    );
  });

  it("hear what is wrong with a question", async () => {
    api = await startTestApi();
    assert.equal((await get("/v1/read/events?limit=0")).json["reason"], "QueryInvalid");
    assert.equal((await get("/v1/read/events?after=x")).json["reason"], "QueryInvalid");
    assert.equal((await get("/v1/read/nothing")).json["reason"], "RouteNotFound");
    assert.equal((await get("/v1/read/requests/agents/none")).json["reason"], "RequestNotFound");
  });
});

describe("strangers at the API", () => {
  let api: TestApi;
  afterEach(() => api.close());

  it("are refused before their body is read, however large it says it is", async () => {
    api = await startTestApi();
    for (const path of ["/v1/events", "/v1/requests", "/v1/view", "/v1/requests/x/spend"]) {
      const response = await fetch(`${api.origin}${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: `"${"x".repeat(1_000_000)}"`,
      }).catch((error: unknown) => error);
      if (response instanceof Response) assert.equal(response.status, 401, path);
    }
    const stream = await fetch(`${api.origin}/v1/stream`);
    assert.equal(stream.status, 401);
    assert.match(stream.headers.get("www-authenticate") ?? "", /^DPoP error="invalid_token"/);
    assert.notEqual(stream.headers.get("dpop-nonce"), null);
    assert.equal(api.hub.size, 0);
  });

  it("cannot send a form that is larger than a token needs", async () => {
    api = await startTestApi();
    const response = await fetch(`${api.origin}/v1/token`, {
      method: "POST",
      body: new URLSearchParams({ subject_token: "x".repeat(64 * 1024) }),
    });
    assert.equal(response.status, 413);
    assert.equal(Object(await response.json()).error, "invalid_request");
  });
});
