// The token exchange over a real socket: the happy path, and each refusal in the words of its RFC.
import assert from "node:assert/strict";
import type { Connection } from "../../crds/types.gen.ts";
import { createHash, generateKeyPairSync, randomUUID, type KeyObject } from "node:crypto";
import { afterEach, beforeEach, describe, it } from "node:test";
import {
  calculateJwkThumbprint,
  createLocalJWKSet,
  decodeJwt,
  jwtVerify,
  SignJWT,
  type JWK,
} from "jose";
import {
  connectionAudience,
  grantTokenType,
  jwtTokenType,
  tokenExchangeGrantType,
} from "../../contract/control.ts";
import {
  connection,
  LocalIssuer,
  ordersDb,
  podIdentity,
  policy,
  quarantine,
  startTestApi,
  type TestApi,
} from "../../operator/api/fixture.ts";

interface ClientKey {
  readonly alg: "ES256" | "EdDSA";
  readonly privateKey: KeyObject;
  readonly jwk: JWK;
}

function clientKey(alg: ClientKey["alg"] = "ES256"): ClientKey {
  const pair =
    alg === "ES256"
      ? generateKeyPairSync("ec", { namedCurve: "P-256" })
      : generateKeyPairSync("ed25519");
  return { alg, privateKey: pair.privateKey, jwk: pair.publicKey.export({ format: "jwk" }) };
}

interface ProofOptions {
  readonly header?: Record<string, unknown>;
  readonly claims?: Record<string, unknown>;
  readonly signedBy?: KeyObject;
}

const orders = connectionAudience("agents", "orders-db");

describe("POST /v1/token", () => {
  let api: TestApi;
  let key: ClientKey;
  let nonce: string;

  beforeEach(async () => {
    api = await startTestApi();
    key = clientKey();
    nonce = (await fetch(`${api.origin}/v1/jwks`)).headers.get("dpop-nonce") ?? "";
    assert.notEqual(nonce, "");
  });
  afterEach(() => api.close());

  async function proof({
    header = {},
    claims = {},
    signedBy = key.privateKey,
  }: ProofOptions = {}): Promise<string> {
    const all = {
      jti: randomUUID(),
      htm: "POST",
      htu: `${api.origin}/v1/token`,
      iat: Math.floor(Date.now() / 1000),
      nonce,
      ...claims,
    };
    return await new SignJWT(
      Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)),
    )
      .setProtectedHeader({ typ: "dpop+jwt", alg: key.alg, jwk: key.jwk, ...header })
      .sign(signedBy);
  }

  async function form(
    parameters: Record<string, string | undefined> = {},
  ): Promise<URLSearchParams> {
    const all = {
      grant_type: tokenExchangeGrantType,
      subject_token: await api.issuer.token(podIdentity().podUid),
      subject_token_type: jwtTokenType,
      ...parameters,
    };
    const body = new URLSearchParams();
    for (const [name, value] of Object.entries(all)) if (value !== undefined) body.set(name, value);
    return body;
  }

  async function send(
    body: URLSearchParams | string,
    dpop: string | undefined,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; headers: Headers; json: Record<string, unknown> }> {
    const response = await fetch(`${api.origin}/v1/token`, {
      method: "POST",
      body,
      headers: { ...headers, ...(dpop === undefined ? {} : { dpop }) },
    });
    return {
      status: response.status,
      headers: response.headers,
      json: Object(await response.json()),
    };
  }

  async function refused(
    body: URLSearchParams | string,
    dpop: string | undefined,
    error: string,
    reason: string,
  ): Promise<Record<string, unknown>> {
    const answer = await send(body, dpop);
    assert.deepEqual(
      { status: answer.status, error: answer.json["error"], reason: answer.json["reason"] },
      { status: error === "temporarily_unavailable" ? 503 : 400, error, reason },
    );
    assert.equal(typeof answer.json["error_description"], "string");
    return answer.json;
  }

  it("gives a pod grant that is bound to the proof's key and verifies with the published keys", async () => {
    const { status, json, headers } = await send(await form(), await proof());
    assert.equal(status, 200, JSON.stringify(json));
    assert.equal(json["token_type"], "DPoP");
    assert.equal(json["issued_token_type"], grantTokenType);
    assert.equal(json["grant"], undefined);
    assert.equal(headers.get("cache-control"), "no-store");
    const jwks = createLocalJWKSet(Object(await (await fetch(`${api.origin}/v1/jwks`)).json()));
    const { payload } = await jwtVerify(String(json["access_token"]), jwks, {
      audience: "chaperone.dev",
      issuer: "chaperone.dev",
    });
    assert.deepEqual(payload["cnf"], { jkt: await calculateJwkThumbprint(key.jwk) });
    assert.equal(payload.sub, "agents/invoice-agent/invoice-7c9d");
    assert.deepEqual(api.issuer.peers, ["127.0.0.1"]);
  });

  it("gives a connection grant with endpoint, bundle and lease, as long as the smallest ttl says", async () => {
    api.view.put(policy({ grant: { ttl: "2m" } }));
    const { status, json } = await send(await form({ audience: orders }), await proof());
    assert.equal(status, 200, JSON.stringify(json));
    const grant = Object(json["grant"]);
    assert.deepEqual(grant.lease, { kind: "password", username: "app", password: "s3cret" });
    assert.deepEqual(grant.endpoint, {
      host: "postgres.data.svc",
      port: 5432,
      tls: { mode: "VerifyFull" },
      basePath: "",
    });
    assert.deepEqual(grant.bundle.policies, ["agents/invoice-agent"]);
    assert.equal(json["expires_in"], 120);
    const claims = decodeJwt(String(json["access_token"]));
    assert.equal(claims.aud, orders);
    assert.equal(claims["connection"], ordersDb);
    assert.equal(claims.jti, grant.id);
    assert.equal(api.live.activeOn(ordersDb), 1);
    assert.ok(
      api.recorded.some(({ type, body }) => type === "grant" && body.grant?.id === grant.id),
    );
  });

  it("accepts EdDSA keys as well", async () => {
    key = clientKey("EdDSA");
    assert.equal((await send(await form(), await proof())).status, 200);
  });

  const proofTable: readonly (readonly [
    title: string,
    make: () => Promise<string | undefined>,
    reason: string,
  ])[] = [
    ["without a proof", async () => undefined, "ProofMissing"],
    ["with two proofs", async () => `${await proof()}, ${await proof()}`, "ProofMissing"],
    ["with something that is no JWS", async () => "abc", "ProofMalformed"],
    ["with another typ", () => proof({ header: { typ: "JWT" } }), "ProofType"],
    ["for another method", () => proof({ claims: { htm: "GET" } }), "ProofMethod"],
    ["for another path", () => proof({ claims: { htu: `${api.origin}/v1/events` } }), "ProofUri"],
    [
      "for another server",
      () => proof({ claims: { htu: "https://elsewhere.test/v1/token" } }),
      "ProofUri",
    ],
    [
      "from a clock two minutes behind",
      () => proof({ claims: { iat: Math.floor(Date.now() / 1000) - 120 } }),
      "ProofTime",
    ],
    [
      "from a clock two minutes ahead",
      () => proof({ claims: { iat: Math.floor(Date.now() / 1000) + 120 } }),
      "ProofTime",
    ],
    ["without iat", () => proof({ claims: { iat: undefined } }), "ProofTime"],
    ["without jti", () => proof({ claims: { jti: undefined } }), "ProofId"],
    [
      "signed by another key than the one it names",
      () => proof({ signedBy: clientKey().privateKey }),
      "ProofSignature",
    ],
    [
      "that names a private key",
      () => proof({ header: { jwk: key.privateKey.export({ format: "jwk" }) } }),
      "ProofKey",
    ],
    ["without a key", () => proof({ header: { jwk: undefined } }), "ProofKey"],
  ];
  for (const [title, make, reason] of proofTable) {
    it(`refuses a proof ${title} as invalid_dpop_proof`, async () => {
      await refused(await form(), await make(), "invalid_dpop_proof", reason);
      assert.ok(
        api.recorded.some(({ type, body }) => type === "error" && body.error?.code === reason),
        "the refusal is recorded",
      );
    });
  }

  it("refuses symmetric and unsigned proofs", async () => {
    const secret = new Uint8Array(32);
    const symmetric = await new SignJWT({ jti: "a" })
      .setProtectedHeader({ typ: "dpop+jwt", alg: "HS256", jwk: Object({ kty: "oct", k: "AAAA" }) })
      .sign(secret);
    await refused(await form(), symmetric, "invalid_dpop_proof", "ProofAlgorithm");
    const none = `${Buffer.from(JSON.stringify({ typ: "dpop+jwt", alg: "none", jwk: key.jwk })).toString("base64url")}.e30.AA`;
    await refused(await form(), none, "invalid_dpop_proof", "ProofAlgorithm");
  });

  it("asks for its nonce by use_dpop_nonce and takes the proof that carries it", async () => {
    nonce = "";
    const first = await send(await form(), await proof({ claims: { nonce: undefined } }));
    assert.equal(first.status, 400);
    assert.equal(first.json["error"], "use_dpop_nonce");
    await refused(
      await form(),
      await proof({ claims: { nonce: "made-up" } }),
      "use_dpop_nonce",
      "ProofNonce",
    );
    assert.deepEqual(api.recorded, [], "asking for a nonce is not a refusal worth an event");
    nonce = first.headers.get("dpop-nonce") ?? "";
    assert.equal((await send(await form(), await proof())).status, 200);
  });

  it("refuses a proof that was used before", async () => {
    const once = await proof();
    assert.equal((await send(await form(), once)).status, 200);
    await refused(await form(), once, "invalid_dpop_proof", "ProofReplayed");
  });

  it("lets one of fifty concurrent uses of a proof through", async () => {
    const once = await proof();
    const answers = await Promise.all(
      Array.from({ length: 50 }, async () => await send(await form(), once)),
    );
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  });

  const tokenTable: readonly (readonly [
    title: string,
    token: () => Promise<string>,
    reason: string,
  ])[] = [
    [
      "that has expired",
      () => api.issuer.token(podIdentity().podUid, { expiresInSeconds: -60 }),
      "TokenExpired",
    ],
    [
      "for another audience",
      () => api.issuer.token(podIdentity().podUid, { audience: "https://kubernetes.default.svc" }),
      "WrongAudience",
    ],
    ["of another issuer", () => new LocalIssuer().token(podIdentity().podUid), "TokenInvalid"],
    ["of a pod that does not exist", () => api.issuer.token("another-uid"), "PodNotFound"],
  ];
  for (const [title, token, reason] of tokenTable) {
    it(`refuses a subject token ${title} as invalid_request (RFC 8693 section 2.2.2)`, async () => {
      await refused(
        await form({ subject_token: await token() }),
        await proof(),
        "invalid_request",
        reason,
      );
    });
  }

  const formTable: readonly (readonly [
    title: string,
    parameters: Record<string, string | undefined>,
    error: string,
    reason: string,
  ])[] = [
    ["no grant_type", { grant_type: undefined }, "invalid_request", "ParameterMissing"],
    [
      "another grant_type",
      { grant_type: "client_credentials" },
      "unsupported_grant_type",
      "UnsupportedGrantType",
    ],
    ["no subject_token", { subject_token: undefined }, "invalid_request", "ParameterMissing"],
    [
      "another subject_token_type",
      { subject_token_type: "urn:ietf:params:oauth:token-type:saml2" },
      "invalid_request",
      "UnsupportedTokenType",
    ],
    [
      "another requested_token_type",
      { requested_token_type: "urn:ietf:params:oauth:token-type:refresh_token" },
      "invalid_request",
      "UnsupportedTokenType",
    ],
    ["an actor_token", { actor_token: "x" }, "invalid_request", "ActorUnsupported"],
    ["a resource", { resource: "https://db.test" }, "invalid_target", "AudienceInvalid"],
    [
      "an audience that is none of ours",
      { audience: "https://db.test" },
      "invalid_target",
      "AudienceInvalid",
    ],
    [
      "an audience that hides a path",
      { audience: "urn:chaperone:connection:agents/../orders-db" },
      "invalid_target",
      "AudienceInvalid",
    ],
    [
      "a connection of another pod",
      { audience: connectionAudience("agents", "payroll") },
      "invalid_target",
      "ConnectionNotOfPod",
    ],
  ];
  for (const [title, parameters, error, reason] of formTable) {
    it(`refuses a form with ${title} as ${error}`, async () => {
      await refused(await form(parameters), await proof(), error, reason);
    });
  }

  it("refuses a repeated parameter and a body that is no form", async () => {
    const twice = await form();
    twice.append("subject_token", "x");
    await refused(twice, await proof(), "invalid_request", "ParameterRepeated");
    const json = await send(JSON.stringify({}), await proof(), {
      "content-type": "application/json",
    });
    assert.deepEqual([json.status, json.json["error"]], [400, "invalid_request"]);
  });

  it("names the policy to create when no policy lets the subject use the connection", async () => {
    api.view.delete("AccessPolicy", "agents", "invoice-agent");
    const { error_description } = await refused(
      await form({ audience: orders }),
      await proof(),
      "invalid_target",
      "NoPolicy",
    );
    assert.match(
      String(error_description),
      /no policy lets agents\/invoice-agent use connection orders-db; create an AccessPolicy/,
    );
  });

  it("names Secret and key, and never the value, when the lease cannot be built", async () => {
    api.view.putSecret("agents", "orders-db", { username: "app" });
    assert.match(
      String(
        (
          await refused(
            await form({ audience: orders }),
            await proof(),
            "invalid_target",
            "SecretKeyNotFound",
          )
        )["error_description"],
      ),
      /Secret agents\/orders-db has no key password/,
    );
    api.view.putSecret("agents", "orders-db", { username: "app", password: "hunter2\n" });
    const said = JSON.stringify(
      await refused(
        await form({ audience: orders }),
        await proof(),
        "invalid_target",
        "SecretValueUnusable",
      ),
    );
    assert.doesNotMatch(said + JSON.stringify(api.recorded), /hunter2/);
  });

  it("refuses connection grants to a quarantined pod, but keeps its events and its stream alive with pod grants", async () => {
    api.view.put(quarantine({ subjects: [{ pods: ["invoice-*"] }] }));
    await refused(await form({ audience: orders }), await proof(), "invalid_target", "Quarantined");
    assert.equal((await send(await form(), await proof())).status, 200);
  });

  it("refuses a grant that was quarantined, or lost its policy, while its Secret was read", async () => {
    api.view.onSecretRead = async () => api.view.put(quarantine({ all: true }));
    await refused(await form({ audience: orders }), await proof(), "invalid_target", "Quarantined");
    api.view.delete("Quarantine", "agents", "stop");
    api.view.onSecretRead = async () => api.view.delete("AccessPolicy", "agents", "invoice-agent");
    await refused(await form({ audience: orders }), await proof(), "invalid_target", "NoPolicy");
  });

  it("refuses a foreign connection until it allows the namespace", async () => {
    api.issuer.setPod(podIdentity({ connections: ["data/shared"] }));
    api.view.put(connection({}, "shared", "data"));
    api.view.putSecret("data", "shared", { username: "u", password: "p" });
    api.view.put(
      policy(
        {
          targetRefs: [{ group: "chaperone.dev", kind: "Connection", name: "shared" }],
          subjects: [{ serviceAccounts: ["agents/invoice-agent"] }],
        },
        "share",
        "data",
      ),
    );
    const audience = connectionAudience("data", "shared");
    await refused(await form({ audience }), await proof(), "invalid_target", "NamespaceNotAllowed");
    api.view.put(connection({ allowedNamespaces: ["agent*"] }, "shared", "data"));
    assert.equal((await send(await form({ audience }), await proof())).status, 200);
  });

  it("says temporarily_unavailable, not no, when the token cannot be checked", async () => {
    api.issuer.isAway = true;
    await refused(await form(), await proof(), "temporarily_unavailable", "ApiServerAway");
  });

  it("says temporarily_unavailable when a role cannot be made, and what is wrong with which connection", async () => {
    api.view.put(
      connection({
        endpoint: { host: "127.0.0.1", port: 1, tls: { mode: "Disable" } },
        postgres: { database: "orders", targetSessionAttrs: "any" },
        credential: {
          postgresRole: {
            adminSecretRef: { name: "orders-db" },
            usernameKey: "username",
            passwordKey: "password",
          },
        },
      }),
    );
    const ask = async (reason: string, error: string): Promise<string> => {
      const answer = await refused(await form({ audience: orders }), await proof(), error, reason);
      return String(answer["error_description"]);
    };
    const said = await ask("DatabaseUnreachable", "temporarily_unavailable");
    assert.match(said, /^connection agents\/orders-db: its database cannot be reached/);
    assert.doesNotMatch(said, /s3cret/);
    assert.equal(api.leases.outcome(ordersDb).problem?.reason, "DatabaseUnreachable");
    api.view.delete("Secret", "agents", "orders-db");
    await ask("SecretNotFound", "invalid_target");
  });

  it("binds the first key to the pod and refuses another until the container has restarted", async () => {
    assert.equal((await send(await form(), await proof())).status, 200);
    const first = key;
    key = clientKey();
    await refused(await form(), await proof(), "invalid_request", "KeyAlreadyBound");
    api.issuer.setPod(podIdentity({ proxyStartedAt: "2026-11-20T10:05:00Z" }));
    assert.equal((await send(await form(), await proof())).status, 200);
    key = first;
    await refused(await form(), await proof(), "invalid_request", "KeyAlreadyBound");
  });

  it("gives no grant for a connection whose Secret the pod reads itself, however late it came to it", async () => {
    assert.equal((await send(await form({ audience: orders }), await proof())).status, 200);
    api.issuer.setPod(podIdentity({ secrets: ["unrelated", "orders-db"] }));
    const answer = await refused(
      await form({ audience: orders }),
      await proof(),
      "invalid_target",
      "ConnectionSecretHeld",
    );
    assert.match(String(answer["error_description"]), /itself reads Secret orders-db/);
    api.issuer.setPod(podIdentity({ secrets: ["unrelated"] }));
    assert.equal((await send(await form({ audience: orders }), await proof())).status, 200);
  });

  it("gives no credential that would travel without TLS to a pod that chooses its own name servers", async () => {
    const plain = (url: string): Connection =>
      connection({
        protocol: "http",
        endpoint: { url },
        credential: {
          static: {
            secretRef: { name: "orders-db" },
            header: { name: "x-api-key", value: "${password}" },
          },
        },
      });
    const ask = async () => form({ audience: orders });
    api.issuer.setPod(podIdentity({ ownNameServers: true }));
    api.view.put(plain("http://orders.data.svc"));
    await refused(await ask(), await proof(), "invalid_target", "NameServersNotTrusted");
    api.view.put(plain("https://orders.data.svc"));
    assert.equal((await send(await ask(), await proof())).status, 200);
    api.issuer.setPod(podIdentity());
    api.view.put(plain("http://orders.data.svc"));
    assert.equal((await send(await ask(), await proof())).status, 200);
  });

  it("grants nothing to a pod that is held less than a policy demands, and says what is missing", async () => {
    const ask = async () => form({ audience: orders });
    api.view.put(policy({ minimumTier: "Locked" }));
    const message = "container agent keeps capabilities: drop ALL";
    const redirected = {
      tier: "Redirected",
      missing: { reason: "CapabilitiesKept", message },
    } as const;
    api.issuer.setPod(podIdentity({ tier: redirected }));
    const said = await refused(await ask(), await proof(), "invalid_target", "TierTooLow");
    assert.equal(
      said["error_description"],
      `policy agents/invoice-agent demands tier Locked, and pod agents/invoice-7c9d is Redirected: ${message}`,
    );
    // Who judged nothing holds nothing.
    api.issuer.setPod(podIdentity());
    await refused(await ask(), await proof(), "invalid_target", "TierTooLow");
    api.issuer.setPod(podIdentity({ tier: { tier: "Locked" } }));
    assert.equal((await send(await ask(), await proof())).status, 200);
    api.view.put(policy({ minimumTier: "Redirected" }));
    api.issuer.setPod(podIdentity({ tier: redirected }));
    assert.equal((await send(await ask(), await proof())).status, 200);
    // On a laptop every event says that nothing is held.
    api.issuer.setPod(podIdentity({ tier: "Local" }));
    assert.equal((await send(await ask(), await proof())).status, 200);
  });

  it("issues nothing to a pod that is gone, whatever its token says", async () => {
    assert.equal((await send(await form({ audience: orders }), await proof())).status, 200);
    api.forgetPod(podIdentity().podUid);
    await refused(await form(), await proof(), "invalid_request", "PodNotFound");
    assert.ok(
      api.recorded.some(({ type, body }) => type === "revoke" && body.grant?.reason === "PodGone"),
    );
    assert.equal(api.live.activeOn(ordersDb), 0);
  });

  it("records a flood of refusals once, with its subject", async () => {
    for (let i = 0; i < 20; i += 1)
      await refused(
        await form({ audience: connectionAudience("agents", "payroll") }),
        await proof(),
        "invalid_target",
        "ConnectionNotOfPod",
      );
    const errors = api.recorded.filter(({ type }) => type === "error");
    assert.equal(errors.length, 1);
    assert.equal(errors[0]?.body.subject?.podUid, podIdentity().podUid);
  });

  it("does not answer a browser", async () => {
    const answer = await send(await form(), await proof(), { origin: "https://evil.test" });
    assert.deepEqual([answer.status, answer.json["reason"]], [403, "BrowserRefused"]);
  });

  describe("a grant at the API", () => {
    async function view(
      grant: string,
      options: { readonly ath?: string; readonly dpop?: ProofOptions } = {},
    ): Promise<{ status: number; reason: unknown; challenge: string }> {
      const ath = options.ath ?? createHash("sha256").update(grant).digest("base64url");
      const dpop = await proof({
        ...options.dpop,
        claims: { htu: `${api.origin}/v1/view`, ath, ...options.dpop?.claims },
      });
      const body = JSON.stringify({
        generation: 1,
        proxyVersion: "0",
        features: [],
        connections: [],
      });
      const response = await fetch(`${api.origin}/v1/view`, {
        method: "POST",
        body,
        headers: { "content-type": "application/json", authorization: `DPoP ${grant}`, dpop },
      });
      const text = await response.text();
      return {
        status: response.status,
        reason: text === "" ? undefined : Object(JSON.parse(text)).reason,
        challenge: response.headers.get("www-authenticate") ?? "",
      };
    }

    it("is taken with a proof by its key, and only with one", async () => {
      const grant = String((await send(await form(), await proof())).json["access_token"]);
      assert.equal((await view(grant)).status, 204);
      assert.equal((await view(grant, { ath: "wrong" })).reason, "ProofGrantHash");
      key = clientKey();
      const stolen = await view(grant);
      assert.deepEqual([stolen.status, stolen.reason], [401, "KeyMismatch"]);
      assert.match(stolen.challenge, /^DPoP error="invalid_token".*algs="ES256 EdDSA"$/);
    });

    it("is refused when it is a connection grant, altered, or of a pod that is gone", async () => {
      const pod = String((await send(await form(), await proof())).json["access_token"]);
      const conn = String(
        (await send(await form({ audience: orders }), await proof())).json["access_token"],
      );
      assert.equal((await view(conn)).reason, "GrantWrongAudience");
      assert.equal((await view(`${pod.slice(0, -6)}AAAAAA`)).reason, "GrantInvalid");
      api.forgetPod(podIdentity().podUid);
      assert.equal((await view(pod)).reason, "PodNotFound");
    });

    it("teaches a restarted operator which key speaks for the pod", async () => {
      const grant = String((await send(await form(), await proof())).json["access_token"]);
      const restarted = await startTestApi({
        keys: api.keys,
        issuer: api.issuer,
        resources: api.view,
        origins: [api.origin],
      });
      const old = api;
      api = restarted;
      try {
        assert.equal((await view(grant)).status, 204);
        key = clientKey();
        await refused(await form(), await proof(), "invalid_request", "KeyAlreadyBound");
      } finally {
        await restarted.close();
        api = old;
      }
    });

    it("takes the pod back from a key that came first after a restart, when the older grant appears", async () => {
      const genuine = key;
      const grant = String((await send(await form(), await proof())).json["access_token"]);
      const restarted = await startTestApi({
        keys: api.keys,
        issuer: api.issuer,
        resources: api.view,
        origins: [api.origin],
      });
      const old = api;
      api = restarted;
      try {
        key = clientKey();
        const taken = String((await send(await form(), await proof())).json["access_token"]);
        assert.equal((await view(taken)).status, 204);
        const usurper = key;
        key = genuine;
        assert.equal((await view(grant)).status, 204);
        key = usurper;
        assert.equal((await view(taken)).reason, "KeyReplaced");
        await refused(await form(), await proof(), "invalid_request", "KeyAlreadyBound");
      } finally {
        await restarted.close();
        api = old;
      }
    });
  });
});
