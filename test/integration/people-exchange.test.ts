// What people of a namespace make to look like an injected pod: refused at the exchange, with the reason, and recorded.
import assert from "node:assert/strict";
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { after, before, test, type TestContext } from "node:test";
import fastJsonPatch from "fast-json-patch";
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK } from "jose";
import { jwtTokenType, tokenExchangeGrantType } from "../../contract/control.ts";
import { startTestApi, type TestApi } from "../../operator/api/fixture.ts";
import { contextOf, podOf } from "../../operator/injection/fixture.ts";
import { inject } from "../../operator/injection/inject.ts";
import { notInjected } from "../../operator/injection/injected.ts";
import { KubeClient } from "../../operator/kube/client.ts";
import { kubeIdentity } from "../../operator/kube/identity.ts";
import {
  isJsonObject,
  listAt,
  textAt,
  type JsonObject,
  type KubeObject,
} from "../../operator/kube/objects.ts";
import { ObjectStore } from "../../operator/kube/store.ts";
import { newAuthority } from "../../operator/pki/authority.ts";

const issuer = "https://kubernetes.default.svc";
const context = contextOf([], { operatorCa: newAuthority(Date.now()).certificate });
const { settings } = context;

interface FakeCluster {
  readonly client: KubeClient;
  readonly key: CryptoKey;
  close(): Promise<void>;
}
let cluster: FakeCluster;

/** An API server that publishes its key and confirms whatever it signed. */
before(async () => {
  const { privateKey, publicKey } = await generateKeyPair("RS256", { extractable: true });
  const keys = [{ ...(await exportJWK(publicKey)), kid: "k1", alg: "RS256", use: "sig" }];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => void chunks.push(chunk));
    request.on("end", () => {
      const body = request.url?.endsWith("/tokenreviews")
        ? { status: reviewed(JSON.parse(Buffer.concat(chunks).toString("utf8")).spec.token) }
        : request.url === "/openid/v1/jwks"
          ? { keys }
          : { issuer };
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const client = new KubeClient(
    { server: `http://127.0.0.1:${port}`, credentials: async () => ({ headers: {}, tls: {} }) },
    "test",
  );
  cluster = {
    client,
    key: privateKey,
    async close() {
      await client.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
});
after(() => cluster.close());

function reviewed(token: string): JsonObject {
  const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
  return {
    authenticated: true,
    audiences: claims.aud,
    user: {
      username: claims.sub,
      extra: { "authentication.kubernetes.io/pod-uid": [claims["kubernetes.io"].pod.uid] },
    },
  };
}

function asObject(value: unknown): JsonObject {
  if (!isJsonObject(value)) throw new TypeError("not an object");
  return value;
}

/** The pod as the API server keeps it after admission, running at this test's own address. */
function injected(pod: JsonObject = podOf()): JsonObject {
  const decision = inject(pod, context);
  assert.equal(decision.kind, "patch");
  const patch = decision.kind === "patch" ? decision.patch : [];
  const copy: unknown = structuredClone(pod);
  return asObject(fastJsonPatch.applyPatch(copy, [...patch]).newDocument);
}

function running(pod: JsonObject, ip = "127.0.0.1"): KubeObject {
  return {
    ...pod,
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      ...asObject(pod["metadata"]),
      name: "invoice-1",
      namespace: "agents",
      uid: "uid-1",
      resourceVersion: "1",
    },
    spec: { ...asObject(pod["spec"]), serviceAccountName: "invoice" },
    status: {
      phase: "Running",
      podIPs: [{ ip }],
      initContainerStatuses: [
        { name: "chaperone-proxy", state: { running: { startedAt: "2026-11-30T10:00:00Z" } } },
      ],
    },
  };
}

/** A token of the proxy's audience that the API server signed for the pod, however somebody came by it. */
async function token(): Promise<string> {
  return await new SignJWT({
    "kubernetes.io": {
      namespace: "agents",
      serviceaccount: { name: "invoice", uid: "sa" },
      pod: { name: "invoice-1", uid: "uid-1" },
    },
    jti: randomUUID(),
  })
    .setProtectedHeader({ alg: "RS256", kid: "k1" })
    .setIssuer(issuer)
    .setAudience(["chaperone.dev"])
    .setSubject("system:serviceaccount:agents:invoice")
    .setIssuedAt()
    .setExpirationTime("10m")
    .sign(cluster.key);
}

async function operatorSeeing(t: TestContext, pod: KubeObject): Promise<TestApi> {
  const pods = new ObjectStore<KubeObject>({}, () => undefined);
  pods.put(pod);
  const api = await startTestApi({
    identity: kubeIdentity({
      client: cluster.client,
      pods,
      now: Date.now,
      checksPeerAddress: true,
      notInjected: (one) => notInjected(one, settings, Date.now()),
    }),
  });
  t.after(() => api.close());
  return api;
}

interface Key {
  readonly privateKey: Parameters<SignJWT["sign"]>[0];
  readonly jwk: JWK;
}
function newKey(): Key {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { privateKey, jwk: publicKey.export({ format: "jwk" }) };
}

async function exchange(
  api: TestApi,
  key: Key = newKey(),
): Promise<{ readonly status: number; readonly reason: unknown; readonly message: string }> {
  const nonce = (await fetch(`${api.origin}/v1/jwks`)).headers.get("dpop-nonce") ?? "";
  const url = `${api.origin}/v1/token`;
  const dpop = await new SignJWT({ jti: randomUUID(), htm: "POST", htu: url, nonce })
    .setProtectedHeader({ typ: "dpop+jwt", alg: "ES256", jwk: key.jwk })
    .setIssuedAt()
    .sign(key.privateKey);
  const body = new URLSearchParams({
    grant_type: tokenExchangeGrantType,
    subject_token: await token(),
    subject_token_type: jwtTokenType,
  });
  const response = await fetch(url, { method: "POST", body, headers: { dpop } });
  const answer = asObject(await response.json());
  return {
    status: response.status,
    reason: answer["reason"],
    message: textAt(answer, "error_description") ?? "",
  };
}

test("a pod as admission left it gets its grant", async (t) => {
  const api = await operatorSeeing(t, running(injected()));
  assert.deepEqual(await exchange(api), { status: 200, reason: undefined, message: "" });
});

function withProxy(change: (proxy: JsonObject) => JsonObject): JsonObject {
  const pod = injected();
  const [proxy, ...others] = listAt(pod, "spec", "initContainers");
  const initContainers = [change(asObject(proxy)), ...others];
  return { ...pod, spec: { ...asObject(pod["spec"]), initContainers } };
}

function withMetadata(change: (metadata: JsonObject) => JsonObject): JsonObject {
  const pod = injected();
  return { ...pod, metadata: change(asObject(pod["metadata"])) };
}

const handMade = podOf({
  initContainers: [
    { name: "chaperone-proxy", image: settings.image, restartPolicy: "Always", command: ["sleep"] },
  ],
});
const { version, addresses } = {
  version: "chaperone.dev/version",
  addresses: "chaperone.dev/addresses",
};

const lookalikes: readonly (readonly [string, JsonObject, RegExp])[] = [
  ["a hand-made pod with a container of our name", handMade, /has no annotation/],
  [
    "a hand-made pod with a container of our name and our annotations",
    {
      ...handMade,
      metadata: {
        ...asObject(handMade["metadata"]),
        annotations: { [version]: "0.1.0", [addresses]: "{}" },
      },
    },
    /of chaperone-proxy is not what injection writes/,
  ],
  [
    "a pod that was made without the label, when the label is added later",
    podOf({}, { labels: { "chaperone.dev/inject": "true" } }),
    /has no annotation/,
  ],
  [
    "an injected pod whose label was taken off",
    withMetadata(({ labels: _, ...metadata }) => metadata),
    /has no label/,
  ],
  [
    "an injected pod after kubectl set image on our container",
    withProxy((proxy) => ({ ...proxy, image: "busybox" })),
    /image busybox, which is none of this installation's/,
  ],
  [
    "a copied spec with another image under our repository's name",
    withProxy((proxy) => ({ ...proxy, image: settings.image.replace(/@.*/, ":latest") })),
    /image .*:latest, which is none of this installation's/,
  ],
  [
    "a copied spec whose proxy loads the author's code",
    withProxy((proxy) => ({
      ...proxy,
      env: [...listAt(proxy, "env"), { name: "NODE_OPTIONS", value: "--require /tmp/x.js" }],
    })),
    /env of chaperone-proxy is not what injection writes/,
  ],
  [
    "a copied spec whose proxy opens an inspector",
    withProxy((proxy) => ({
      ...proxy,
      command: listAt(proxy, "command").map((word) =>
        word === "--disable-sigusr1" ? "--inspect=0.0.0.0" : word,
      ),
    })),
    /command of chaperone-proxy is not what injection writes/,
  ],
  [
    "a copied spec whose proxy trusts an operator of the author's",
    withProxy((proxy) => ({
      ...proxy,
      env: listAt(proxy, "env").map((entry) =>
        asObject(entry)["name"] === "CHAPERONE_OPERATOR_CA"
          ? { name: "CHAPERONE_OPERATOR_CA", value: newAuthority(Date.now()).certificate }
          : entry,
      ),
    })),
    /holds a CA that is none of this installation's/,
  ],
  [
    "a copied spec in which another container mounts the proxy's token",
    (() => {
      const pod = injected();
      const thief = {
        name: "thief",
        image: "busybox",
        volumeMounts: [{ name: "chaperone-token", mountPath: "/t" }],
      };
      const spec = asObject(pod["spec"]);
      return { ...pod, spec: { ...spec, containers: [...listAt(spec, "containers"), thief] } };
    })(),
    /only the proxy mounts its volumes/,
  ],
  [
    "an injected pod into which an ephemeral container of the proxy's uid was put",
    (() => {
      const pod = injected();
      const debug = { name: "d", image: "busybox", securityContext: { runAsUser: settings.uid } };
      return { ...pod, spec: { ...asObject(pod["spec"]), ephemeralContainers: [debug] } };
    })(),
    /no container but the proxy runs as its user id/,
  ],
];

for (const [what, pod, message] of lookalikes)
  test(`${what} gets no grant, and the refusal is recorded`, async (t) => {
    const api = await operatorSeeing(t, running(pod));
    const answer = await exchange(api);
    assert.equal(answer.status, 400);
    assert.equal(answer.reason, "PodNotInjected");
    assert.match(answer.message, message);
    assert.ok(
      api.recorded.some(
        ({ type, body }) => type === "error" && body.error?.code === "PodNotInjected",
      ),
    );
  });

test("a token got by TokenRequest proves nothing from elsewhere", async (t) => {
  const api = await operatorSeeing(t, running(injected(), "10.9.9.9"));
  const answer = await exchange(api);
  assert.equal(answer.reason, "PeerAddressMismatch");
  assert.ok(api.recorded.some(({ body }) => body.error?.code === "PeerAddressMismatch"));
});

test("a token got by TokenRequest proves nothing inside the pod either, where the proxy's key speaks already", async (t) => {
  const api = await operatorSeeing(t, running(injected()));
  const proxys = newKey();
  assert.equal((await exchange(api, proxys)).status, 200);
  assert.equal((await exchange(api)).reason, "KeyAlreadyBound");
  assert.equal((await exchange(api, proxys)).status, 200);
  assert.ok(api.recorded.some(({ body }) => body.error?.code === "KeyAlreadyBound"));
});
