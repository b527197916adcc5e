import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWTPayload } from "jose";
import { TokenRefused, type PodIdentity } from "../resources.ts";
import { KubeClient } from "./client.ts";
import { kubeIdentity, type KubeIdentityOptions } from "./identity.ts";
import type { KubeObject } from "./objects.ts";
import { ObjectStore } from "./store.ts";

const issuer = "https://kubernetes.default.svc";
const now = Date.parse("2026-11-21T10:00:00Z");
const subject = "system:serviceaccount:agents:invoice";

/** An API server that publishes one key, reviews tokens as told, and knows one pod. */
interface FakeApi {
  client: KubeClient;
  key: CryptoKey;
  reviews: number;
  review: Record<string, unknown>;
  pod: Record<string, unknown> | undefined;
  isAway: boolean;
  close(): Promise<void>;
}

let api: FakeApi;

before(async () => {
  const { privateKey, publicKey } = await generateKeyPair("RS256", { extractable: true });
  const jwk = { ...(await exportJWK(publicKey)), kid: "k1", alg: "RS256", use: "sig" };
  const server = createServer((request, response) => {
    const answer = (status: number, body: unknown): void =>
      void response
        .writeHead(status, { "content-type": "application/json" })
        .end(JSON.stringify(body));
    if (api.isAway) return answer(503, { reason: "ServiceUnavailable" });
    if (request.url === "/.well-known/openid-configuration") return answer(200, { issuer });
    if (request.url === "/openid/v1/jwks") return answer(200, { keys: [jwk] });
    if (request.url?.endsWith("/tokenreviews") === true) {
      api.reviews += 1;
      return answer(201, { status: api.review });
    }
    return api.pod === undefined ? answer(404, { reason: "NotFound" }) : answer(200, api.pod);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  api = {
    client: new KubeClient(
      { server: `http://127.0.0.1:${port}`, credentials: async () => ({ headers: {}, tls: {} }) },
      "test",
    ),
    key: privateKey,
    reviews: 0,
    review: {},
    pod: undefined,
    isAway: false,
    async close() {
      await api.client.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
});

after(() => api.close());

const goodReview = (podUid = "uid-1"): Record<string, unknown> => ({
  authenticated: true,
  audiences: ["chaperone.dev"],
  user: { username: subject, extra: { "authentication.kubernetes.io/pod-uid": [podUid] } },
});

function aPod(
  change: { readonly metadata?: object; readonly spec?: object; readonly status?: object } = {},
): KubeObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: "invoice-1",
      namespace: "agents",
      uid: "uid-1",
      resourceVersion: "7",
      labels: { "chaperone.dev/inject": "true" },
      annotations: {
        "chaperone.dev/addresses": JSON.stringify({
          version: 1,
          interception: "hosts",
          connections: [],
        }),
        "chaperone.dev/chain": "summarise",
      },
      ...change.metadata,
    },
    spec: { serviceAccountName: "invoice", ...change.spec },
    status: {
      phase: "Running",
      podIPs: [{ ip: "10.1.2.3" }],
      initContainerStatuses: [
        { name: "chaperone-proxy", state: { running: { startedAt: "2026-11-21T09:59:00Z" } } },
      ],
      ...change.status,
    },
  };
}

interface TokenChange {
  readonly claims?: JWTPayload;
  readonly audience?: string;
  readonly issuer?: string;
  readonly expiresInSeconds?: number;
  readonly key?: CryptoKey;
  readonly kid?: string;
}

async function aToken(change: TokenChange = {}): Promise<string> {
  return await new SignJWT({
    "kubernetes.io": {
      namespace: "agents",
      serviceaccount: { name: "invoice", uid: "sa" },
      pod: { name: "invoice-1", uid: "uid-1" },
    },
    jti: Math.random().toString(),
    ...change.claims,
  })
    .setProtectedHeader({ alg: "RS256", kid: change.kid ?? "k1" })
    .setIssuer(change.issuer ?? issuer)
    .setAudience(change.audience ?? "chaperone.dev")
    .setSubject(subject)
    .setIssuedAt(now / 1000 - 10)
    .setExpirationTime(now / 1000 + (change.expiresInSeconds ?? 600))
    .sign(change.key ?? api.key);
}

async function verified(
  token: string,
  pod: KubeObject | undefined,
  options: Partial<KubeIdentityOptions> & { readonly peer?: string } = {},
): Promise<PodIdentity> {
  const pods = new ObjectStore<KubeObject>({}, () => undefined);
  if (pod !== undefined) pods.put(pod);
  const { peer = "10.1.2.3", ...rest } = options;
  return await kubeIdentity({
    client: api.client,
    pods,
    now: () => now,
    checksPeerAddress: true,
    notInjected: () => undefined,
    ...rest,
  }).verify(token, peer, AbortSignal.timeout(5_000));
}

async function refusal(
  token: string,
  pod: KubeObject | undefined,
  options: Parameters<typeof verified>[2] = {},
): Promise<{ readonly reason: string; readonly temporary: boolean }> {
  try {
    await verified(token, pod, options);
  } catch (error) {
    if (error instanceof TokenRefused) return { reason: error.reason, temporary: error.temporary };
    throw error;
  }
  throw new Error("the token was accepted");
}

test("a token that was proven a moment ago is believed without its signature being checked, and not when its time is over", async () => {
  api.review = goodReview();
  let time = now;
  const pods = new ObjectStore<KubeObject>({}, () => undefined);
  pods.put(aPod());
  const identity = kubeIdentity({
    client: api.client,
    pods,
    now: () => time,
    checksPeerAddress: true,
    notInjected: () => undefined,
  });
  const verify = (token: string): Promise<PodIdentity> =>
    identity.verify(token, "10.1.2.3", AbortSignal.timeout(5_000));
  const token = await aToken();
  const { podUid } = await verify(token);
  assert.deepEqual(await verify(token), await verify(token));
  assert.equal(podUid, "uid-1");
  const forged = `${token.slice(0, -8)}AAAAAAAA`;
  await assert.rejects(verify(forged), { reason: "TokenSignature" });
  await assert.rejects(verify(forged), { reason: "TokenSignature" }, "a refusal is no proof");
  // Past its tolerance, and long after it was last shown.
  time = now + 611_000;
  await assert.rejects(verify(token), { reason: "TokenExpired" });
});

test("a token of a running, injected pod that calls from its own address proves the pod", async () => {
  api.review = goodReview();
  assert.deepEqual(await verified(await aToken(), aPod()), {
    namespace: "agents",
    serviceAccount: "invoice",
    pod: "invoice-1",
    podUid: "uid-1",
    chain: "summarise",
    connections: [],
    secrets: [],
    proxyStartedAt: "2026-11-21T09:59:00Z",
  });
});

test("what is wrong with a token is found without asking the API server", async () => {
  const stranger = await generateKeyPair("RS256");
  const before = api.reviews;
  const cases: readonly (readonly [string, string])[] = [
    ["TokenMalformed", "nonsense"],
    ["TokenExpired", await aToken({ expiresInSeconds: -30 })],
    ["WrongAudience", await aToken({ audience: "https://kubernetes.default.svc" })],
    ["WrongIssuer", await aToken({ issuer: "https://elsewhere" })],
    ["TokenSignature", await aToken({ key: stranger.privateKey })],
    ["TokenSignature", await aToken({ key: stranger.privateKey, kid: "k2" })],
    [
      "NotPodBound",
      await aToken({
        claims: { "kubernetes.io": { namespace: "agents", serviceaccount: { name: "invoice" } } },
      }),
    ],
    [
      "NotServiceAccount",
      await aToken({
        claims: {
          "kubernetes.io": {
            namespace: "other",
            serviceaccount: { name: "invoice" },
            pod: { name: "p", uid: "u" },
          },
        },
      }),
    ],
  ];
  for (const [reason, token] of cases)
    assert.deepEqual(await refusal(token, aPod()), { reason, temporary: false }, reason);
  assert.equal(api.reviews, before);
});

test("a token that the API server no longer accepts, or confirms for another audience or pod, proves nothing", async () => {
  for (const review of [
    { authenticated: false, error: "token has been invalidated" },
    { ...goodReview(), audiences: [] },
    { ...goodReview(), audiences: ["https://kubernetes.default.svc"] },
    goodReview("uid-2"),
    { ...goodReview(), user: { username: "system:serviceaccount:agents:other" } },
  ]) {
    api.review = review;
    assert.equal(
      (await refusal(await aToken(), aPod())).reason,
      "TokenRejected",
      JSON.stringify(review),
    );
  }
});

test("one token is reviewed once, however many ask at the same time", async () => {
  api.review = goodReview();
  const token = await aToken();
  const pods = new ObjectStore<KubeObject>({}, () => undefined);
  pods.put(aPod());
  const before = api.reviews;
  const verifier = kubeIdentity({
    client: api.client,
    pods,
    now: () => now,
    checksPeerAddress: true,
    notInjected: () => undefined,
  });
  await Promise.all(
    Array.from({ length: 10 }, () =>
      verifier.verify(token, "10.1.2.3", AbortSignal.timeout(5_000)),
    ),
  );
  await verifier.verify(token, "10.1.2.3", AbortSignal.timeout(5_000));
  assert.equal(api.reviews, before + 1);
});

test("the pod behind the token must be that very pod, alive, ours and really injected", async () => {
  api.review = goodReview();
  const token = await aToken();
  api.pod = undefined;
  const cases: readonly (readonly [string, KubeObject])[] = [
    ["PodNotFound", aPod({ metadata: { uid: "uid-2" } })],
    ["PodNotFound", aPod({ spec: { serviceAccountName: "other" } })],
    ["PodNotRunning", aPod({ status: { phase: "Succeeded" } })],
    [
      "PodNotRunning",
      aPod({ metadata: { deletionTimestamp: new Date(now - 60_000).toISOString() } }),
    ],
    ["PodNotInjected", aPod({ metadata: { labels: {} } })],
    ["PodNotInjected", aPod({ metadata: { annotations: {} } })],
  ];
  for (const [reason, pod] of cases) assert.equal((await refusal(token, pod)).reason, reason);
  assert.equal(
    (await refusal(token, aPod(), { notInjected: () => "its image is another" })).reason,
    "PodNotInjected",
  );
  assert.equal((await refusal(token, undefined)).reason, "PodNotFound");
});

test("a terminating pod keeps its identity until its grace ends", async () => {
  api.review = goodReview();
  const pod = aPod({ metadata: { deletionTimestamp: new Date(now + 20_000).toISOString() } });
  assert.equal((await verified(await aToken(), pod)).podUid, "uid-1");
});

test("whoever calls from another address is not the pod, unless that check is switched off", async () => {
  api.review = goodReview();
  const token = await aToken();
  assert.deepEqual(await refusal(token, aPod(), { peer: "10.9.9.9" }), {
    reason: "PeerAddressMismatch",
    temporary: false,
  });
  assert.equal(
    (await verified(token, aPod(), { peer: "10.9.9.9", checksPeerAddress: false })).pod,
    "invoice-1",
  );
});

test("a pod whose address nobody has reported yet is told to try again", async () => {
  api.review = goodReview();
  api.pod = aPod({ status: { podIPs: [] } });
  assert.deepEqual(await refusal(await aToken(), undefined), {
    reason: "PodAddressUnknown",
    temporary: true,
  });
  api.pod = aPod();
  assert.equal((await verified(await aToken(), aPod({ status: { podIPs: [] } }))).pod, "invoice-1");
});

test("while the API server is away nobody is proven, and everybody is told to try again", async () => {
  const token = await aToken();
  api.isAway = true;
  try {
    assert.deepEqual(await refusal(token, aPod()), {
      reason: "IssuerUnavailable",
      temporary: true,
    });
  } finally {
    api.isAway = false;
  }
});
