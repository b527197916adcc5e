import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { jwtVerify } from "jose";
import type { Connection, OAuth2Credential } from "../../crds/types.gen.ts";
import { connection as fixtureConnection } from "../api/fixture.ts";
import { forbiddenAddresses } from "../connections/forbidden.ts";
import { LeaseRefused } from "../grants/lease-refused.ts";
import { newAuthority } from "../pki/authority.ts";
import type { AccessToken, requestToken } from "./request.ts";
import { scriptedServer, token, type ScriptedServer } from "./scripted-server.ts";
import { Tokens, type TokenLease } from "./tokens.ts";

const signal = new AbortController().signal;
const access = { resolve: async () => ["127.0.0.1"] };
const secrets: Record<string, string> = {
  id: "client one",
  secret: "s3cret-of:the client/+",
  subject: "subject-token-1",
};

function settings(url: string, more: Partial<OAuth2Credential> = {}): OAuth2Credential {
  return {
    tokenUrl: url,
    caSecretRef: { name: "ca", key: "ca.crt" },
    secretRef: { name: "client" },
    clientIdKey: "id",
    clientSecretKey: "secret",
    clientAuthentication: "client_secret_basic",
    ...more,
  };
}

function connectionWith(oauth2: OAuth2Credential): Connection {
  return fixtureConnection(
    { protocol: "http", endpoint: { url: "https://api.example" }, credential: { oauth2 } },
    "api",
  );
}

function leaseFrom(
  tokens: Tokens,
  server: Pick<ScriptedServer, "ca">,
  oauth2: OAuth2Credential,
  values = secrets,
): Promise<TokenLease> {
  const readSecret = async (_namespace: string, name: string) =>
    name === "ca" ? { "ca.crt": server.ca } : values;
  return tokens.lease(connectionWith(oauth2), oauth2, readSecret, signal);
}

function bearer({ lease }: TokenLease): string {
  assert.ok(lease.kind === "headers");
  const [header, ...more] = lease.headers;
  assert.deepEqual([header?.name, more.length], ["authorization", 0]);
  return header?.value ?? "";
}

test("client credentials are asked for as RFC 6749 section 4.4.2 says, with scopes, audiences and resources", async (t) => {
  const server = await scriptedServer(t);
  const tokens = new Tokens({ access, now: Date.now });
  const oauth2 = settings(server.url, {
    scopes: ["orders.read", "orders.write"],
    audiences: ["https://api.example"],
    resources: ["urn:orders", "https://api.example/v1"],
  });
  assert.equal(bearer(await leaseFrom(tokens, server, oauth2)), "Bearer ya29.access-token");
  const [asked] = server.asked;
  assert.equal(asked?.method, "POST");
  assert.equal(asked?.path, "/oauth2/token");
  assert.equal(asked?.headers.host, new URL(server.url).host);
  // RFC 6749 section 2.3.1: both are form-encoded before they are joined.
  const [scheme, pair = ""] = asked?.headers.authorization?.split(" ") ?? [];
  const parts = atob(pair).split(":");
  assert.deepEqual(
    [scheme, ...parts.map((part) => decodeURIComponent(part.replaceAll("+", " ")))],
    ["Basic", secrets["id"], secrets["secret"]],
  );
  assert.deepEqual(
    [...(asked?.form ?? [])],
    [
      ["scope", "orders.read orders.write"],
      ["audience", "https://api.example"],
      ["resource", "urn:orders"],
      ["resource", "https://api.example/v1"],
      ["grant_type", "client_credentials"],
    ],
  );
});

test("client_secret_post puts the client's proof into the form and nowhere else", async (t) => {
  const server = await scriptedServer(t);
  const tokens = new Tokens({ access, now: Date.now });
  await leaseFrom(
    tokens,
    server,
    settings(server.url, { clientAuthentication: "client_secret_post" }),
  );
  const [asked] = server.asked;
  assert.equal(asked?.headers.authorization, undefined);
  assert.equal(asked?.form.get("client_id"), secrets["id"]);
  assert.equal(asked?.form.get("client_secret"), secrets["secret"]);
});

for (const [kind, algorithm, pair] of [
  ["RSA", "RS256", generateKeyPairSync("rsa", { modulusLength: 2048 })],
  ["P-256", "ES256", generateKeyPairSync("ec", { namedCurve: "P-256" })],
  ["P-384", "ES384", generateKeyPairSync("ec", { namedCurve: "P-384" })],
  ["Ed25519", "Ed25519", generateKeyPairSync("ed25519")],
] as const) {
  test(`private_key_jwt signs with a key of ${kind}, for the issuer, and sends no secret`, async (t) => {
    const server = await scriptedServer(t);
    const tokens = new Tokens({ access, now: Date.now });
    const key = pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    const { clientSecretKey: _none, ...rest } = settings(server.url, {
      clientAuthentication: "private_key_jwt",
      privateKeyKey: "key",
      keyId: "key-1",
      issuer: "https://login.example",
    });
    await leaseFrom(tokens, server, rest, { id: "client", key });
    const { form, headers } = server.asked[0] ?? {};
    assert.equal(headers?.authorization, undefined);
    assert.equal(
      form?.get("client_assertion_type"),
      "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    );
    const { payload, protectedHeader } = await jwtVerify(
      form?.get("client_assertion") ?? "",
      pair.publicKey,
      { issuer: "client", subject: "client", audience: "https://login.example" },
    );
    assert.equal(protectedHeader.kid, "key-1");
    assert.equal(protectedHeader.alg, algorithm);
    assert.ok(typeof payload.jti === "string" && typeof payload.exp === "number");
  });
}

test("token exchange sends the Secret's subject token as RFC 8693 section 2.1 says", async (t) => {
  const server = await scriptedServer(t);
  server.answer = token({ issued_token_type: "urn:ietf:params:oauth:token-type:access_token" });
  const tokens = new Tokens({ access, now: Date.now });
  const oauth2 = settings(server.url, {
    audiences: ["orders", "billing"],
    tokenExchange: {
      subjectTokenKey: "subject",
      subjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
    },
  });
  assert.equal(bearer(await leaseFrom(tokens, server, oauth2)), "Bearer ya29.access-token");
  assert.deepEqual(
    [...(server.asked[0]?.form ?? [])],
    [
      ["audience", "orders"],
      ["audience", "billing"],
      ["subject_token", "subject-token-1"],
      ["subject_token_type", "urn:ietf:params:oauth:token-type:jwt"],
      ["requested_token_type", "urn:ietf:params:oauth:token-type:access_token"],
      ["grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"],
    ],
  );
});

const leak = "s3cret-of:the client/+ subject-token-1 ya29.access-token";
const html: ScriptedServer["answer"] = (response) => {
  response.writeHead(200, { "content-type": "text/html" });
  response.end(`<html>${leak}`);
};

const faults: readonly (readonly [
  title: string,
  answer: ScriptedServer["answer"],
  reason: string,
  says: RegExp,
  temporary: boolean,
])[] = [
  [
    "refuses the client and repeats its secret",
    token({ access_token: undefined, error: "invalid_client", error_description: leak }, 401),
    "TokenRefused",
    /\(401, invalid_client\)/,
    false,
  ],
  [
    "refuses with a challenge",
    (response, asked) => {
      response.setHeader("www-authenticate", `Basic realm="${asked.form.get("scope")}"`);
      token({ access_token: undefined, error: "invalid_client" }, 401)(response, asked);
    },
    "TokenRefused",
    /\(401, invalid_client\)/,
    false,
  ],
  [
    "makes an error code of the secret",
    token({ access_token: undefined, error: leak }, 400),
    "TokenRefused",
    /no standard one/,
    false,
  ],
  [
    "is broken",
    token({ access_token: undefined, error: "server_error" }, 503),
    "TokenEndpointUnreachable",
    /status 503/,
    true,
  ],
  ["answers with a page", html, "TokenUnusable", /RFC 6749/, true],
  [
    "answers with broken JSON",
    (response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(`{"access_token":"${leak}`);
    },
    "TokenUnusable",
    /RFC 6749/,
    true,
  ],
  ["gives no token", token({ access_token: 1 }), "TokenUnusable", /RFC 6749/, true],
  ["gives a MAC token", token({ token_type: "mac" }), "TokenUnusable", /RFC 6749/, true],
  ["gives a DPoP token", token({ token_type: "DPoP" }), "TokenUnusable", /than Bearer/, true],
  [
    "gives a token with a line break",
    token({ access_token: "ya29.access-token\r\nx: y" }),
    "TokenUnusable",
    /no header can carry/,
    true,
  ],
  [
    "gives a token that no header has room for",
    token({ access_token: "y".repeat(17 * 1024) }),
    "TokenUnusable",
    /no header can carry/,
    true,
  ],
  ["gives a token for 3 seconds", token({ expires_in: 3 }), "TokenUnusable", /longer/, true],
  [
    "answers without end",
    (response) => {
      response.writeHead(200, { "content-type": "application/json" });
      const more = (): void => {
        if (!response.destroyed) response.write(leak.repeat(1_000), () => setImmediate(more));
      };
      more();
    },
    "TokenUnusable",
    /more than 64 KiB/,
    true,
  ],
  [
    "leads elsewhere",
    (response) => void response.writeHead(307, { location: "https://elsewhere.example" }).end(leak),
    "TokenUnusable",
    /RFC 6749/,
    true,
  ],
  [
    "ends the connection",
    (response) => void response.socket?.destroy(),
    "TokenEndpointUnreachable",
    /cannot be reached over TLS/,
    true,
  ],
];

for (const [title, answer, reason, says, temporary] of faults) {
  test(`a server that ${title} is ${reason}, and no message holds what it said`, async (t) => {
    const server = await scriptedServer(t);
    server.answer = answer;
    const tokens = new Tokens({ access, now: Date.now });
    const oauth2 = settings(server.url, { scopes: ["s3cret-of:the"] });
    await assert.rejects(leaseFrom(tokens, server, oauth2), (error: unknown) => {
      assert.ok(error instanceof LeaseRefused);
      assert.equal(error.reason, reason);
      assert.equal(error.temporary, temporary);
      assert.match(error.message, says);
      assert.match(error.message, /^connection agents\/api: /);
      assert.equal(error.cause, undefined);
      for (const part of leak.split(" ")) assert.ok(!error.message.includes(part), error.message);
      return true;
    });
    assert.equal(server.asked.length, 1);
  });
}

test("a server that never answers is given up in time, and by each who waits when they give up", async (t) => {
  const server = await scriptedServer(t);
  server.answer = () => {};
  const tokens = new Tokens({ access, now: Date.now });
  const oauth2 = settings(server.url);
  const impatient = AbortSignal.timeout(50);
  const readSecret = async (_namespace: string, name: string) =>
    name === "ca" ? { "ca.crt": server.ca } : secrets;
  const waiting = leaseFrom(tokens, server, oauth2);
  await assert.rejects(tokens.lease(connectionWith(oauth2), oauth2, readSecret, impatient), {
    name: "TimeoutError",
  });
  await assert.rejects(waiting, { reason: "TokenEndpointUnreachable", message: /in time/ });
  assert.equal(server.asked.length, 1);
});

test("a certificate of another CA, or for another name, gets no secret", async (t) => {
  const server = await scriptedServer(t);
  const tokens = new Tokens({ access, now: Date.now });
  const foreign = { ca: newAuthority(Date.now()).certificate };
  const refused = { reason: "TokenEndpointUntrusted", message: /caSecretRef/ };
  await assert.rejects(leaseFrom(tokens, foreign, settings(server.url)), refused);
  const other = server.url.replace("login.example", "other.example");
  await assert.rejects(leaseFrom(tokens, server, settings(other)), refused);
  const numbered = server.url.replace("login.example", "127.0.0.1");
  await assert.rejects(leaseFrom(tokens, server, settings(numbered)), refused);
  assert.equal(server.asked.length, 0);
});

test("an address that the operator never dials is not dialled, also when only one of a name's is it", async (t) => {
  const server = await scriptedServer(t);
  const forbidden = forbiddenAddresses(new Map());
  for (const addresses of [["127.0.0.1"], ["192.0.2.1", "127.0.0.1"], ["169.254.169.254"]]) {
    const tokens = new Tokens({
      access: { resolve: async () => addresses, forbidden },
      now: Date.now,
    });
    await assert.rejects(leaseFrom(tokens, server, settings(server.url)), {
      reason: "TokenEndpointUnreachable",
      message: /never dials/,
    });
  }
  assert.equal(server.asked.length, 0);
});

test("a name without address is said to be that", async (t) => {
  const server = await scriptedServer(t);
  for (const resolve of [
    async () => [],
    async (): Promise<string[]> => {
      throw new Error("ENOTFOUND");
    },
  ]) {
    const tokens = new Tokens({ access: { resolve }, now: Date.now });
    await assert.rejects(leaseFrom(tokens, server, settings(server.url)), {
      message: /cannot be resolved/,
    });
  }
});

interface Counting {
  readonly tokens: Tokens;
  readonly count: () => number;
  move(ms: number): void;
  next: AccessToken | LeaseRefused;
}

function counting(): Counting {
  let asked = 0;
  let now = 1_000_000;
  const request: typeof requestToken = async () => {
    asked += 1;
    if (self.next instanceof LeaseRefused) throw self.next;
    return { ...self.next, value: `${self.next.value}-${asked}` };
  };
  const self: Counting = {
    tokens: new Tokens({ access, now: () => now, request }),
    count: () => asked,
    move: (ms) => {
      now += ms;
    },
    next: { value: "t", livesSeconds: 600 },
  };
  return self;
}

const anyCa = { ca: newAuthority(Date.now()).certificate };
const anywhere = settings("https://login.example/token");

test("however many ask at once, one request is made, and its token serves until shortly before its end", async () => {
  const clock = counting();
  const ask = (): Promise<TokenLease> => leaseFrom(clock.tokens, anyCa, anywhere);
  const leases = await Promise.all(Array.from({ length: 20 }, ask));
  assert.deepEqual([...new Set(leases.map(bearer))], ["Bearer t-1"]);
  clock.move(530_000);
  assert.equal(bearer(await ask()), "Bearer t-1");
  clock.move(10_000);
  const renewed = await ask();
  assert.equal(bearer(renewed), "Bearer t-2");
  assert.equal(renewed.expiresAt, 1_000_000 + 540_000 + 598_000);
  assert.equal(clock.count(), 2);
});

test("a token is not used for longer than 15 minutes however long it lives, and one of unsaid life for 5", async () => {
  const clock = counting();
  clock.next = { value: "t", livesSeconds: 86_400 };
  const ask = (): Promise<TokenLease> => leaseFrom(clock.tokens, anyCa, anywhere);
  await ask();
  clock.move(899_000);
  assert.equal(bearer(await ask()), "Bearer t-1");
  clock.next = { value: "t", livesSeconds: undefined };
  clock.move(1_000);
  assert.equal((await ask()).expiresAt, 1_000_000 + 900_000 + 298_000);
});

test("another value in the Secret, or another setting, is another token at once", async () => {
  const clock = counting();
  await leaseFrom(clock.tokens, anyCa, anywhere);
  await leaseFrom(clock.tokens, anyCa, anywhere, { ...secrets, secret: "rotated" });
  await leaseFrom(clock.tokens, anyCa, { ...anywhere, scopes: ["x"] });
  assert.equal(clock.count(), 3);
});

test("a failure is remembered for a moment, so that many pods are no flood, and then forgotten", async () => {
  const clock = counting();
  clock.next = new LeaseRefused("TokenRefused", "no");
  const ask = (): Promise<TokenLease> => leaseFrom(clock.tokens, anyCa, anywhere);
  for (let at = 0; at < 5; at += 1) await assert.rejects(ask(), { reason: "TokenRefused" });
  assert.equal(clock.count(), 1);
  clock.next = { value: "t", livesSeconds: 600 };
  clock.move(5_000);
  assert.equal(bearer(await ask()), "Bearer t-2");
});

test("what the Secret lacks is named, never shown", async () => {
  const { tokens } = counting();
  await assert.rejects(leaseFrom(tokens, anyCa, anywhere, { id: "x" }), {
    reason: "SecretKeyNotFound",
    message: /Secret agents\/client has no key secret/,
  });
  await assert.rejects(leaseFrom(tokens, anyCa, anywhere, { ...secrets, secret: "hunter2\n" }), {
    reason: "SecretValueUnusable",
    message: /^(?!.*hunter2).*key secret.*newline/,
  });
  const { clientSecretKey: _none, ...signed } = settings("https://login.example/token", {
    clientAuthentication: "private_key_jwt",
    privateKeyKey: "secret",
  });
  await assert.rejects(leaseFrom(tokens, anyCa, signed), {
    reason: "SecretValueUnusable",
    message: /^(?!.*s3cret-of).*holds no unencrypted RSA/,
  });
});
