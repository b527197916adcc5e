// The proxy's keeper against the operator's API over real sockets: what changes there takes effect here within a second.
import assert from "node:assert/strict";
import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it, type TestContext } from "node:test";
import { hashBody, hashHeader, startOf } from "../../contract/chain.ts";
import type { OpenRequest, RequestState } from "../../contract/control.ts";
import type { StoredEvent } from "../../contract/event.ts";
import {
  connection,
  ordersDb,
  podIdentity,
  policy,
  quarantine,
  startTestApi,
  type TestApi,
} from "../../operator/api/fixture.ts";
import type { ApiOptions } from "../../operator/api/server.ts";
import { ProxyError } from "../../proxy/errors.ts";
import type { DeliveryLines } from "../../proxy/grant/calls.ts";
import { OperatorClient, type OperatorAddress } from "../../proxy/grant/client.ts";
import { systemClock } from "../../proxy/grant/clock.ts";
import { GrantKeeper } from "../../proxy/grant/keeper.ts";
import { ProofKey } from "../../proxy/grant/keys.ts";
import type { LiveGrant } from "../../proxy/pipeline.ts";
import { authorityCertificate, leafCertificate } from "../../proxy/tls/certificate.ts";

/** What design.md promises: a change takes effect within a second. */
const promisedMs = 1_000;
const patienceMs = 60_000;

interface Change {
  readonly connection: string;
  readonly live: LiveGrant | undefined;
  readonly cause: ProxyError | undefined;
}

interface TestKeeper {
  readonly keeper: GrantKeeper;
  readonly key: ProofKey;
  readonly changes: Change[];
  readonly problems: { readonly what: string; readonly error: unknown }[];
  readonly sessions: Map<string, number>;
  tokensRead: number;
  podUid: string;
  /** Resolves with the first change from `from` on that `accepts`. */
  change(accepts: (change: Change) => boolean, from?: number): Promise<Change>;
}

const never = new AbortController().signal;

async function startKeeper(api: TestApi, address?: OperatorAddress): Promise<TestKeeper> {
  const key = await ProofKey.create(Date.now);
  const waiting = new Set<() => void>();
  const test: TestKeeper = {
    key,
    changes: [],
    problems: [],
    sessions: new Map(),
    tokensRead: 0,
    podUid: podIdentity().podUid,
    keeper: new GrantKeeper({
      key,
      client: new OperatorClient({
        key,
        address: address ?? { url: api.origin },
        readToken: async () => {
          test.tokensRead += 1;
          return await api.issuer.token(test.podUid);
        },
      }),
      clock: systemClock(),
      random: Math.random,
      proxyVersion: "0.1.0",
      connections: [ordersDb],
      sessionsOn: (name) => test.sessions.get(name) ?? 0,
      onProblem: (what, error) => void test.problems.push({ what, error }),
    }),
    async change(accepts, from = 0) {
      const deadline = AbortSignal.timeout(patienceMs);
      for (;;) {
        const found = test.changes.slice(from).find(accepts);
        if (found !== undefined) return found;
        await new Promise<void>((resolve, reject) => {
          const onAbort = (): void =>
            reject(
              new Error(
                `no such change; seen: ${JSON.stringify(test.changes.map(({ cause, live }) => cause?.message ?? live?.id))}`,
              ),
            );
          deadline.addEventListener("abort", onAbort, { once: true });
          waiting.add(() => {
            deadline.removeEventListener("abort", onAbort);
            resolve();
          });
        });
      }
    },
  };
  test.keeper.onChange((name, live, cause) => {
    test.changes.push({ connection: name, live, cause });
    for (const wake of waiting) wake();
    waiting.clear();
  });
  test.keeper.start();
  return test;
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + patienceMs;
  while (!holds()) {
    if (Date.now() > deadline) assert.fail(`not within ${patienceMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Milliseconds in which this process, operator and proxy in one, had its turn or used the processor: what a busy machine takes from both is nobody's. */
async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const tickMs = 5;
  let passed = 0;
  const before = process.cpuUsage();
  const ticks = setInterval(() => (passed += tickMs), tickMs);
  try {
    const result = await work;
    const { user, system } = process.cpuUsage(before);
    const took = Math.max(passed, (user + system) / 1_000);
    assert.ok(took <= ms, `took ${Math.round(took)} ms, promised within ${ms} ms`);
    return result;
  } finally {
    clearInterval(ticks);
  }
}

async function refusedBy(work: Promise<unknown>): Promise<ProxyError> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof ProxyError, String(error));
    return error;
  }
  return assert.fail("it was not refused");
}

describe("a keeper and its operator", () => {
  let api: TestApi;
  let proxy: TestKeeper;

  beforeEach(async () => {
    api = await startTestApi();
    proxy = await startKeeper(api);
    await until("the stream is open", () => api.hub.size === 1);
  });
  afterEach(async () => {
    await proxy.keeper.close();
    await api.close();
  });

  it("holds no connection grant until one is asked for, then one that several callers share", async () => {
    assert.equal(proxy.keeper.current(ordersDb), undefined);
    const grants = await Promise.all(
      Array.from({ length: 20 }, () => proxy.keeper.acquire(ordersDb, never)),
    );
    assert.equal(new Set(grants.map(({ id }) => id)).size, 1);
    assert.deepEqual(grants[0]?.lease, { kind: "password", username: "app", password: "s3cret" });
    assert.equal(proxy.keeper.current(ordersDb)?.id, grants[0]?.id);
    assert.equal(api.recorded.filter(({ type }) => type === "grant").length, 1);
  });

  it("reads the token anew for every exchange", async () => {
    const before = proxy.tokensRead;
    await proxy.keeper.acquire(ordersDb, never);
    api.view.put(policy({ grant: { ttl: "3m" } }));
    await proxy.change(({ live }) => live?.bundle.grantTtlSeconds === 180);
    assert.equal(proxy.tokensRead, before + 2);
  });

  it("ends a grant within a second of its policy's deletion, and says why", async () => {
    await proxy.keeper.acquire(ordersDb, never);
    api.view.delete("AccessPolicy", "agents", "invoice-agent");
    const { cause } = await within(
      promisedMs,
      proxy.change(({ live }) => live === undefined),
    );
    assert.equal(cause?.code, "GrantEnded");
    assert.match(
      cause?.message ?? "",
      /no policy lets agents\/invoice-agent use connection orders-db/,
    );
    assert.equal(proxy.keeper.current(ordersDb), undefined);
    assert.equal((await refusedBy(proxy.keeper.acquire(ordersDb, never))).code, "GrantRefused");
    assert.equal(api.live.activeOn(ordersDb), 0);
    assert.ok(
      api.recorded.some(({ type, body }) => type === "revoke" && body.grant?.reason === "NoPolicy"),
    );
    api.view.put(policy());
    await within(
      promisedMs,
      retried(() => proxy.keeper.acquire(ordersDb, never)),
    );
  });

  it("ends a grant within a second of its connection's deletion", async () => {
    await proxy.keeper.acquire(ordersDb, never);
    api.view.delete("Connection", "agents", "orders-db");
    const { cause } = await within(
      promisedMs,
      proxy.change(({ live }) => live === undefined),
    );
    assert.match(cause?.message ?? "", /connection agents\/orders-db does not exist/);
  });

  it("takes over a changed policy, endpoint and credential within a second, without ending anything", async () => {
    const first = await proxy.keeper.acquire(ordersDb, never);
    api.view.put(policy({ limits: { rowsPerResult: 7 } }));
    await within(
      promisedMs,
      proxy.change(({ live }) => live?.bundle.limits.rowsPerResult === 7),
    );
    api.view.put(connection({ endpoint: { host: "other.data.svc", port: 5433 } }));
    await within(
      promisedMs,
      proxy.change(({ live }) => live?.endpoint.host === "other.data.svc"),
    );
    api.view.putSecret("agents", "orders-db", { username: "app", password: "rotated" });
    await within(
      promisedMs,
      proxy.change(
        ({ live }) => live?.lease.kind === "password" && live.lease.password === "rotated",
      ),
    );
    assert.notEqual(proxy.keeper.current(ordersDb)?.bundle.generation, first.bundle.generation);
    assert.ok(proxy.changes.every(({ live }) => live !== undefined));
  });

  it("does not renew for a change that touches somebody else", async () => {
    const { id } = await proxy.keeper.acquire(ordersDb, never);
    api.view.put(policy({ subjects: [{ serviceAccounts: ["another-agent"] }] }, "another"));
    api.view.put(connection({}, "payroll"));
    api.view.putSecret("agents", "payroll", { username: "x", password: "y" });
    // Processed in order: once this one has arrived, the others would have, too.
    const second = { ...policy({ limits: { maxConnections: 3 } }) };
    api.view.put(second);
    await proxy.change(({ live }) => live?.bundle.limits.maxConnections === 3);
    assert.equal(
      proxy.changes.length,
      2,
      "the first grant and the one for the change that touched us",
    );
    assert.notEqual(proxy.keeper.current(ordersDb)?.id, id);
  });

  it("is cut off by a quarantine within a second, stays so, and is free again when it is lifted", async () => {
    await proxy.keeper.acquire(ordersDb, never);
    proxy.sessions.set(ordersDb, 1);
    const order = quarantine({ subjects: [{ serviceAccounts: ["invoice-*"] }] });
    const addedAt = Date.now();
    api.view.put(order);
    const { cause } = await within(
      promisedMs,
      proxy.change(({ live }) => live === undefined),
    );
    assert.equal(cause?.code, "Quarantined");
    assert.match(cause?.message ?? "", /quarantine agents\/stop cuts this off: it misbehaves/);
    assert.equal((await refusedBy(proxy.keeper.acquire(ordersDb, never))).code, "Quarantined");
    assert.ok(
      api.recorded.some(
        ({ type, body }) => type === "revoke" && body.grant?.reason === "Quarantined",
      ),
    );

    await until(
      "the view arrives",
      () => (api.views.get(proxy.podUid)?.receivedAt ?? 0) >= addedAt + 200,
    );
    assert.deepEqual(
      proxyCounts(api.views.confirm(order, addedAt, undefined)),
      { proxies: 1, confirmed: 0 },
      "a session is still open",
    );
    proxy.sessions.set(ordersDb, 0);
    await until(
      "it is confirmed",
      () => api.views.confirm(order, addedAt, undefined).confirmed === 1,
    );

    api.view.delete("Quarantine", "agents", "stop");
    await within(
      promisedMs,
      retried(() => proxy.keeper.acquire(ordersDb, never)),
    );
  });

  it("ends by itself when a quarantine's until has passed", async () => {
    await proxy.keeper.acquire(ordersDb, never);
    api.view.put(
      quarantine({ connections: ["orders-db"], until: new Date(Date.now() + 1_500).toISOString() }),
    );
    await proxy.change(({ cause }) => cause?.code === "Quarantined");
    await retried(() => proxy.keeper.acquire(ordersDb, never));
  });

  it("throws away an answer that a change overtook", async () => {
    let calls = 0;
    api.view.onSecretRead = async () => {
      calls += 1;
      if (calls > 1) return;
      api.view.put(policy({ limits: { rowsPerResult: 11 } }));
      // Until the message about it is on its way; the exchange itself has compiled the old policy by then.
      await new Promise((resolve) => setTimeout(resolve, 50));
    };
    const live = await proxy.keeper.acquire(ordersDb, never);
    assert.equal(live.bundle.limits.rowsPerResult, 11);
  });

  it("lets nothing through when the quarantine arrives during the exchange", async () => {
    api.view.onSecretRead = async () => {
      api.view.put(quarantine({ all: true }));
      await new Promise((resolve) => setTimeout(resolve, 50));
    };
    assert.equal((await refusedBy(proxy.keeper.acquire(ordersDb, never))).code, "Quarantined");
    assert.deepEqual(proxy.changes, []);
  });

  it("gives up waiting with its caller, while the exchange goes on for others", async () => {
    let release = (): void => undefined;
    const reading = new Promise<void>((begun) => {
      api.view.onSecretRead = () => {
        begun();
        return new Promise<void>((resolve) => (release = resolve));
      };
    });
    const patient = proxy.keeper.acquire(ordersDb, never);
    const caller = new AbortController();
    const impatient = proxy.keeper.acquire(ordersDb, caller.signal);
    await reading;
    caller.abort();
    await assert.rejects(impatient, { name: "AbortError" });
    release();
    assert.ok((await patient).id);
  });

  it("loses its stream and its grants when the pod is gone", async () => {
    await proxy.keeper.acquire(ordersDb, never);
    api.forgetPod(proxy.podUid);
    await until("the stream has ended", () => api.hub.size === 0);
    await until("the operator refuses this pod from now on", () =>
      proxy.problems.some(({ error }) => error instanceof Error && /is gone/.test(error.message)),
    );
    assert.equal(api.hub.size, 0);
  });

  it("reports what it enforces, and how old that is", async () => {
    const live = await proxy.keeper.acquire(ordersDb, never);
    proxy.sessions.set(ordersDb, 4);
    await until(
      "the view arrives",
      () => api.views.get(proxy.podUid)?.view.connections[0]?.bundle === live.bundle.generation,
    );
    assert.ok((proxy.keeper.viewAgeMs ?? Number.POSITIVE_INFINITY) < 6_000);
    const { proxies } = Object(await (await fetch(`${api.origin}/v1/read/proxies`)).json());
    assert.equal(proxies[0].pod, "invoice-7c9d");
    assert.equal(proxies[0].proxyVersion, "0.1.0");
  });

  describe("a held operation", () => {
    const open: OpenRequest = {
      connection: ordersDb,
      session: "01J0000000000000000000000A",
      digest: `sha256-${"a".repeat(43)}`,
      kind: "sql",
      summary: "UPDATE orders SET total = $1 WHERE id = $2",
      detail: '["100","42"]',
      approvals: [
        {
          policy: "agents/invoice-agent",
          rule: "updates-need-a-person",
          approvers: [{ user: "mallory" }],
          count: 0,
          validForSeconds: 1,
        },
      ],
    };

    async function decide(
      name: string,
      verdict: "Approved" | "Denied",
      reason?: string,
    ): Promise<Response> {
      return await fetch(`${api.origin}/v1/read/requests/agents/${name}/decision`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ verdict, ...(reason === undefined ? {} : { reason }) }),
      });
    }

    it("opens a request that people see, waits for their word, and passes exactly once", async () => {
      const opened = await proxy.keeper.openRequest(open, never);
      assert.match(opened.name, /^orders-db-[2-9a-z]{6}$/);
      assert.equal(opened.phase, "Pending");
      const { requests } = Object(await (await fetch(`${api.origin}/v1/read/requests`)).json());
      assert.equal(requests[0].detail, open.detail);
      assert.deepEqual(
        requests[0].policies,
        [
          {
            name: "invoice-agent",
            rule: "updates-need-a-person",
            approvers: [{ group: "finance-leads" }],
            count: 1,
          },
        ],
        "approvers and counts come from the policy, not from the proxy",
      );
      assert.equal((await proxy.keeper.openRequest(open, never)).name, opened.name);

      const waiting = proxy.keeper.awaitDecision(opened.name, AbortSignal.timeout(patienceMs));
      assert.equal((await decide(opened.name, "Approved")).status, 200);
      const decided = await within(promisedMs, waiting);
      assert.deepEqual([decided.phase, decided.by], ["Approved", "alice@example.com"]);

      assert.deepEqual(await proxy.keeper.spend(opened.name, `sha256-${"b".repeat(43)}`, never), {
        spent: false,
        reason: "DigestMismatch",
      });
      const spends = await Promise.all(
        Array.from({ length: 50 }, () => proxy.keeper.spend(opened.name, open.digest, never)),
      );
      assert.equal(spends.filter(({ spent }) => spent).length, 1);
      assert.ok(
        spends.every(
          ({ spent, reason }) => spent || reason === "AlreadySpent" || reason === "Conflict",
        ),
        JSON.stringify(spends),
      );
      assert.deepEqual(
        api.recorded.map(({ type }) => type).filter((type) => type.startsWith("request-")),
        ["request-opened", "request-decided"],
      );
      assert.notEqual(
        (await proxy.keeper.openRequest(open, never)).name,
        opened.name,
        "the next time is another request",
      );
    });

    it("hears a denial with its reason", async () => {
      const { name } = await proxy.keeper.openRequest(open, never);
      const waiting = proxy.keeper.awaitDecision(name, AbortSignal.timeout(patienceMs));
      await decide(name, "Denied", "not today");
      const { phase, reason } = await waiting;
      assert.deepEqual({ phase, reason }, { phase: "Denied", reason: "not today" });
      assert.equal((await decide(name, "Approved")).status, 409);
    });

    it("stops waiting when its caller does", async () => {
      const { name } = await proxy.keeper.openRequest(open, never);
      await assert.rejects(proxy.keeper.awaitDecision(name, AbortSignal.timeout(20)), {
        name: "TimeoutError",
      });
    });

    it("does not spend an approval after the policy that lets the subject in is gone, or under a quarantine", async () => {
      const { name } = await proxy.keeper.openRequest(open, never);
      await decide(name, "Approved");
      api.view.put(quarantine({ all: true }));
      assert.deepEqual(await proxy.keeper.spend(name, open.digest, never), {
        spent: false,
        reason: "Quarantined",
      });
      api.view.delete("Quarantine", "agents", "stop");
      api.view.delete("AccessPolicy", "agents", "invoice-agent");
      assert.deepEqual(await proxy.keeper.spend(name, open.digest, never), {
        spent: false,
        reason: "NoPolicy",
      });
      api.view.put(policy());
      assert.equal((await proxy.keeper.spend(name, open.digest, never)).spent, true);
    });

    it("keeps at most five questions open, and says which", async () => {
      const ask = (n: number): Promise<RequestState> =>
        proxy.keeper.openRequest({ ...open, digest: `sha256-${String(n).repeat(43)}` }, never);
      await Promise.all([1, 2, 3, 4, 5].map(ask));
      const error = await refusedBy(ask(6));
      assert.equal(error.code, "TooManyRequests");
      assert.match(error.message, /orders-db-/);
    });

    it("cannot be seen or spent by another pod", async () => {
      const { name } = await proxy.keeper.openRequest(open, never);
      await decide(name, "Approved");
      api.issuer.setPod(podIdentity({ podUid: "another-uid", pod: "invoice-other" }));
      const other = await startKeeper(api);
      other.podUid = "another-uid";
      try {
        assert.deepEqual(await other.keeper.spend(name, open.digest, never), {
          spent: false,
          reason: "RequestNotFound",
        });
        assert.notEqual((await other.keeper.openRequest(open, never)).name, name);
      } finally {
        await other.keeper.close();
      }
    });
  });

  describe("events", () => {
    async function batch(
      stream: string,
      podUid = proxy.podUid,
      signer: ProofKey = proxy.key,
    ): Promise<DeliveryLines> {
      const { namespace, serviceAccount, pod } = podIdentity();
      const body = {
        subject: { namespace, serviceAccount, pod, podUid },
        error: { code: "Test", message: "a test" },
      };
      const header = {
        stream,
        seq: 1,
        time: new Date().toISOString(),
        type: "error",
        prev: startOf(stream).hash,
        bodyHash: hashBody(body),
      } as const;
      const event: StoredEvent = { header, hash: hashHeader(header), body };
      return {
        stream,
        lines: [Buffer.from(`${JSON.stringify(event)}\n`)],
        head: await signer.signHead(event.hash),
      };
    }
    const own = `agents/invoice-7c9d/${podIdentity().podUid}`;

    it("of its own stream are taken, also of the stream's continuation", async () => {
      assert.deepEqual(await proxy.keeper.shipEvents(await batch(own), never), { acknowledged: 1 });
      assert.deepEqual(await proxy.keeper.shipEvents(await batch(`${own}.2`), never), {
        acknowledged: 1,
      });
      assert.equal(api.batches.length, 2);
    });

    it("of another stream, another subject, or signed by another key are not", async () => {
      const refusals = [
        batch("agents/other/uid"),
        batch(`${own}.x`),
        batch(own, "another-uid"),
        ProofKey.create(Date.now).then((key) => batch(own, proxy.podUid, key)),
      ];
      const reasons = ["StreamNotOwn", "StreamNotOwn", "SubjectNotOwn", "HeadSignature"];
      for (const [index, refused] of refusals.entries()) {
        await assert.rejects(proxy.keeper.shipEvents(await refused, never), {
          name: "OperatorRefused",
          reason: reasons[index],
        });
      }
      assert.equal(api.batches.length, 0);
    });
  });
});

describe("an operator that is away", () => {
  async function freePort(): Promise<number> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    server.close();
    await once(server, "close");
    return typeof address === "object" && address !== null ? address.port : assert.fail("no port");
  }

  async function restartable(
    t: TestContext,
  ): Promise<{ api: TestApi; proxy: TestKeeper; restart: () => Promise<TestApi> }> {
    const port = await freePort();
    const options = { listen: { loopbackPort: port } } satisfies Partial<ApiOptions>;
    const api = await startTestApi(options);
    const proxy = await startKeeper(api);
    const running = [api];
    t.after(async () => {
      await proxy.keeper.close();
      await Promise.all(running.map((one) => one.close()));
    });
    await until("the stream is open", () => api.hub.size === 1);
    return {
      api,
      proxy,
      async restart() {
        const again = await startTestApi({
          ...options,
          keys: api.keys,
          issuer: api.issuer,
          resources: api.view,
          store: api.requests,
        });
        running.push(again);
        return again;
      },
    };
  }

  it("leaves existing grants alone, refuses new ones by name, and is found again", async (t) => {
    const { api, proxy, restart } = await restartable(t);
    api.issuer.setPod(podIdentity({ connections: [ordersDb, "agents/other"] }));
    const live = await proxy.keeper.acquire(ordersDb, never);
    await api.close();
    assert.equal(proxy.keeper.current(ordersDb)?.id, live.id);
    const error = await refusedBy(proxy.keeper.acquire("agents/other", never));
    assert.equal(error.code, "ControlPlaneUnavailable");
    assert.match(
      error.message,
      new RegExp(`the operator at ${api.origin} cannot be reached \\(ECONNREFUSED\\)`),
    );
    assert.equal(proxy.keeper.current(ordersDb)?.id, live.id);

    const again = await restart();
    await until("the stream is back", () => again.hub.size === 1);
    const renewed = await proxy.change(
      ({ live: next }) => next !== undefined && next.id !== live.id,
    );
    assert.ok(renewed.live, "what is held is renewed, because a message may have been missed");
  });

  it("is found again with a quarantine that was made meanwhile, and with another lifted", async (t) => {
    const { api, proxy, restart } = await restartable(t);
    await proxy.keeper.acquire(ordersDb, never);
    await api.close();
    api.view.put(quarantine({ subjects: [{ pods: ["invoice-7c9d"] }] }, "made-meanwhile"));
    const second = await restart();
    const { cause } = await proxy.change(({ live }) => live === undefined);
    assert.match(cause?.message ?? "", /made-meanwhile/);
    await second.close();
    api.view.delete("Quarantine", "agents", "made-meanwhile");
    const third = await restart();
    await until("the stream is back", () => third.hub.size === 1);
    await retried(() => proxy.keeper.acquire(ordersDb, never));
  });

  it("does not accept grants signed by keys it does not have, and the proxy gets new ones by itself", async (t) => {
    const port = await freePort();
    const first = await startTestApi({ listen: { loopbackPort: port } });
    const proxy = await startKeeper(first);
    t.after(() => proxy.keeper.close());
    await until("the stream is open", () => first.hub.size === 1);
    await first.close();
    const second = await startTestApi({
      listen: { loopbackPort: port },
      issuer: first.issuer,
      resources: first.view,
    });
    t.after(() => second.close());
    await until("the stream is back", () => second.hub.size === 1);
  });
});

describe("transports", () => {
  it("serves a unix socket that only its owner can open", async (t) => {
    const directory = await mkdtemp(join(tmpdir(), "chaperone-"));
    t.after(() => rm(directory, { recursive: true }));
    const socketPath = join(directory, "state", "api.sock");
    const api = await startTestApi({ listen: { socketPath }, isLocal: true });
    const proxy = await startKeeper(api, { url: "http://localhost", socketPath });
    t.after(async () => {
      await proxy.keeper.close();
      await api.close();
    });
    assert.equal((await stat(socketPath)).mode & 0o777, 0o600);
    assert.equal((await stat(join(directory, "state"))).mode & 0o777, 0o700);
    assert.ok((await proxy.keeper.acquire(ordersDb, never)).id);
    assert.deepEqual([...new Set(api.issuer.peers)], ["unix"]);
    await assert.rejects(startTestApi({ listen: { socketPath } }), /already serving/);
  });

  it("speaks TLS 1.3 to the operator whose CA is pinned, and to no other", async (t) => {
    const validity = {
      notBefore: new Date(Date.now() - 60_000),
      notAfter: new Date(Date.now() + 3_600_000),
    };
    const make = (): { ca: string; tls: { cert: string; key: string } } => {
      const authority = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
      const leaf = generateKeyPairSync("ec", {
        namedCurve: "P-256",
        privateKeyEncoding: { type: "pkcs8", format: "pem" },
        publicKeyEncoding: { type: "spki", format: "pem" },
      });
      const cert = leafCertificate(
        authority,
        createPublicKey(createPrivateKey(leaf.privateKey)),
        "127.0.0.1",
        validity,
      );
      return {
        ca: authorityCertificate(authority, ["operator.test"], validity),
        tls: { cert, key: leaf.privateKey },
      };
    };
    const genuine = make();
    const api = await startTestApi({ listen: { tls: genuine.tls, host: "127.0.0.1", port: 0 } });
    t.after(() => api.close());
    const proxy = await startKeeper(api, { url: api.origin, ca: genuine.ca });
    t.after(() => proxy.keeper.close());
    assert.ok((await proxy.keeper.acquire(ordersDb, never)).id);

    const misled = await startKeeper(api, { url: api.origin, ca: make().ca });
    t.after(() => misled.keeper.close());
    const error = await refusedBy(misled.keeper.acquire(ordersDb, never));
    assert.equal(error.code, "ControlPlaneUnavailable");
    assert.equal(misled.tokensRead > 0, true);
    assert.equal(
      api.issuer.peers.length,
      2,
      "no token reached anybody but the genuine operator: the pod grant and the connection grant",
    );

    api.replaceCertificate(make().tls);
    const later = await startKeeper(api, { url: api.origin, ca: genuine.ca });
    t.after(() => later.keeper.close());
    await refusedBy(later.keeper.acquire(ordersDb, never));
  });

  it("refuses to send tokens in the clear", async () => {
    const key = await ProofKey.create(Date.now);
    const readToken = async (): Promise<string> => "";
    assert.throws(
      () => new OperatorClient({ key, readToken, address: { url: "http://10.0.0.1:8080" } }),
      /only https/,
    );
    assert.throws(
      () => new OperatorClient({ key, readToken, address: { url: "https://operator.test" } }),
      /a CA is required/,
    );
  });
});

/** What was refused a moment ago may be remembered until the message that frees it arrives. */
async function retried(work: () => Promise<unknown>): Promise<void> {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    try {
      await work();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

function proxyCounts({
  proxies,
  confirmed,
}: {
  readonly proxies: number;
  readonly confirmed: number;
}): { proxies: number; confirmed: number } {
  return { proxies, confirmed };
}
