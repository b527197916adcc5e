import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { Connection, StaticCredential } from "../../crds/types.gen.ts";
import { startAuthority } from "../../test/integration/postgres-certificates.ts";
import { connection } from "../api/fixture.ts";
import { endpointOf } from "./govern.ts";
import { buildLease } from "./lease.ts";
import { readTlsSecrets } from "./tls-secrets.ts";

const never = new AbortController().signal;
const reader =
  (values: Readonly<Record<string, string>> | undefined) => async (): Promise<typeof values> =>
    values;

function connectionWith(form: Omit<StaticCredential, "secretRef">): Connection {
  return connection(
    {
      protocol: "openai",
      endpoint: { url: "https://api.openai.com/v1/" },
      credential: { static: { secretRef: { name: "openai" }, ...form } },
    },
    "openai",
  );
}

function header(value: string): Connection {
  return connectionWith({ header: { name: "Authorization", value } });
}

describe("a lease", () => {
  it("is nothing when the connection has no credential", async () => {
    const { protocol, endpoint, onFailure } = connection().spec;
    const spec = { protocol, endpoint, onFailure };
    assert.deepEqual(await buildLease({ ...connection(), spec }, reader(undefined), never), {
      kind: "none",
    });
  });

  it("puts values of the Secret into a header", async () => {
    assert.deepEqual(
      await buildLease(header("Bearer ${apiKey}"), reader({ apiKey: "sk-1" }), never),
      {
        kind: "headers",
        headers: [{ name: "Authorization", value: "Bearer sk-1" }],
      },
    );
    const two = await buildLease(header("${a}:${b.c}"), reader({ a: "1", "b.c": "${a}" }), never);
    assert.deepEqual(
      two,
      { kind: "headers", headers: [{ name: "Authorization", value: "1:${a}" }] },
      "a value is not substituted again",
    );
  });

  it("is Basic with the Secret's user and password, and a query parameter with its value as it stands", async () => {
    const values = { u: "app", p: "p:ä", k: "a b&c=ü" };
    const basic = connectionWith({ basic: { usernameKey: "u", passwordKey: "p" } });
    assert.deepEqual(await buildLease(basic, reader(values), never), {
      kind: "headers",
      headers: [
        {
          name: "authorization",
          value: `Basic ${Buffer.from("app:p:ä").toString("base64")}`,
        },
      ],
    });
    const query = connectionWith({ query: { name: "key", value: "v-${k}" } });
    assert.deepEqual(await buildLease(query, reader(values), never), {
      kind: "query",
      name: "key",
      value: "v-a b&c=ü",
    });
  });

  it("is the keys to sign with, and the session token where there is one", async () => {
    const awsSigV4 = {
      service: "s3",
      region: "eu-central-1",
      secretRef: { name: "aws" },
      accessKeyIdKey: "id",
      secretAccessKeyKey: "secret",
      payload: "Signed",
    } as const;
    const of = (more: { readonly sessionTokenKey?: string }): Connection =>
      connection(
        {
          protocol: "http",
          endpoint: { url: "https://s3.example" },
          credential: { awsSigV4: { ...awsSigV4, ...more } },
        },
        "bucket",
      );
    const values = { id: "AKIDEXAMPLE", secret: "wJalr/XU", token: "FwoG//==" };
    const signs = {
      kind: "awsSigV4",
      service: "s3",
      region: "eu-central-1",
      payload: "Signed",
      accessKeyId: "AKIDEXAMPLE",
      secretAccessKey: "wJalr/XU",
    };
    assert.deepEqual(await buildLease(of({}), reader(values), never), signs);
    assert.deepEqual(await buildLease(of({ sessionTokenKey: "token" }), reader(values), never), {
      ...signs,
      sessionToken: "FwoG//==",
    });
    await assert.rejects(buildLease(of({ sessionTokenKey: "none" }), reader(values), never), {
      reason: "SecretKeyNotFound",
    });
  });

  const refusals: readonly (readonly [
    title: string,
    of: Connection,
    values: Readonly<Record<string, string>> | undefined,
    reason: string,
    says: RegExp,
  ])[] = [
    [
      "there is no Secret",
      connection(),
      undefined,
      "SecretNotFound",
      /Secret agents\/orders-db.*does not exist/,
    ],
    ["a key is missing", connection(), { username: "u" }, "SecretKeyNotFound", /no key password/],
    ["a key is inherited", header("${constructor}"), {}, "SecretKeyNotFound", /no key constructor/],
    [
      "a value is empty",
      connection(),
      { username: "u", password: "" },
      "SecretValueUnusable",
      /key password is empty/,
    ],
    [
      "a password ends with a newline",
      connection(),
      { username: "u", password: "hunter2\n" },
      "SecretValueUnusable",
      /key password.*newline/,
    ],
    [
      "a header would be split",
      header("Bearer ${apiKey}"),
      { apiKey: "hunter2\r\nX: y" },
      "SecretValueUnusable",
      /key apiKey/,
    ],
    [
      "a header would hold what is no byte",
      header("Bearer ${apiKey}"),
      { apiKey: "hunter2…" },
      "SecretValueUnusable",
      /key apiKey/,
    ],
    [
      "the user of Basic holds a colon",
      connectionWith({ basic: { usernameKey: "u", passwordKey: "p" } }),
      { u: "hunter2:x", p: "hunter2" },
      "SecretValueUnusable",
      /key u holds a colon/,
    ],
    [
      "a query parameter ends with a newline",
      connectionWith({ query: { name: "key", value: "${k}" } }),
      { k: "hunter2\n" },
      "SecretValueUnusable",
      /key k.*newline/,
    ],
    [
      "the template itself breaks the line",
      header("Bearer\n${apiKey}"),
      { apiKey: "hunter2" },
      "CredentialUnusable",
      /Authorization/,
    ],
  ];
  for (const [title, of, values, reason, says] of refusals) {
    it(`is refused when ${title}, without its value`, async () => {
      await assert.rejects(
        buildLease(of, reader(values), never),
        (error: Error & { reason?: string }) => {
          assert.equal(error.reason, reason);
          assert.match(error.message, says);
          assert.doesNotMatch(error.message, /hunter2/);
          return true;
        },
      );
    });
  }

  it("never lets a header carry a line break or NUL, whatever the Secret holds", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary", minLength: 1 }), async (value) => {
        const lease = await buildLease(
          header("Bearer ${apiKey}"),
          reader({ apiKey: value }),
          never,
        ).catch(() => undefined);
        if (lease?.kind === "headers")
          assert.doesNotMatch(lease.headers[0]?.value ?? "", /[\r\n\0]/);
      }),
    );
  });
});

describe("an endpoint", () => {
  it("follows the scheme of its url and loses the trailing slash", () => {
    assert.deepEqual(endpointOf(header("x")), {
      host: "api.openai.com",
      port: 443,
      tls: { mode: "VerifyFull" },
      basePath: "/v1",
    });
  });

  it("carries the CA of its Secret, which must hold one", async () => {
    const withCa = connection({
      endpoint: {
        host: "db",
        tls: { mode: "VerifyFull", caSecretRef: { name: "pg-ca", key: "ca.crt" } },
      },
      postgres: { database: "orders", targetSessionAttrs: "any" },
    });
    const ca = "-----BEGIN CERTIFICATE-----\n…";
    assert.deepEqual(
      endpointOf(withCa, await readTlsSecrets(withCa, reader({ "ca.crt": ca }), never)),
      {
        host: "db",
        port: 5432,
        tls: { mode: "VerifyFull", ca },
        basePath: "",
        database: "orders",
      },
    );
    await assert.rejects(
      readTlsSecrets(withCa, reader({ "ca.crt": "no" }), never),
      /Secret agents\/pg-ca: key ca.crt holds no PEM certificate/,
    );
    await assert.rejects(
      readTlsSecrets(withCa, reader(undefined), never),
      /Secret agents\/pg-ca, named by endpoint.tls.caSecretRef, does not exist/,
    );
  });

  it("carries a client certificate with its key, and refuses a pair that does not belong together", async (t) => {
    const authority = await startAuthority();
    t.after(() => authority.close());
    const withCertificate = connection({
      endpoint: {
        host: "db",
        tls: { mode: "VerifyFull", clientCertificateSecretRef: { name: "pg-client" } },
      },
    });
    const one = await authority.client("one");
    const other = await authority.client("other");
    const secret = { "tls.crt": one.certificate, "tls.key": one.key };
    const { tls } = endpointOf(
      withCertificate,
      await readTlsSecrets(withCertificate, reader(secret), never),
    );
    assert.deepEqual(tls, { mode: "VerifyFull", clientCertificate: one });
    for (const [values, says] of [
      [
        undefined,
        /Secret agents\/pg-client, named by endpoint.tls.clientCertificateSecretRef, does/,
      ],
      [{ "tls.crt": one.certificate }, /Secret agents\/pg-client has no key tls.key/],
      [{ ...secret, "tls.key": other.key }, /tls.crt and tls.key are no PEM certificate and its/],
      [{ ...secret, "tls.crt": "nonsense" }, /tls.crt and tls.key are no PEM certificate and its/],
    ] as const) {
      await assert.rejects(
        readTlsSecrets(withCertificate, reader(values), never),
        (error: Error) => {
          assert.match(error.message, says);
          assert.doesNotMatch(error.message, /BEGIN|nonsense/);
          return true;
        },
      );
    }
  });

  it("carries further hosts, which of them may be used, and the weaker ways that are allowed", () => {
    const several = connection({
      endpoint: { host: "db-1", fallbacks: [{ host: "DB-2" }, { host: "db-3", port: 6432 }] },
      postgres: {
        targetSessionAttrs: "prefer-standby",
        dangerouslyAllowAuthentication: ["md5"],
      },
    });
    const { fallbacks, targetSessionAttrs, dangerouslyAllowAuthentication } = endpointOf(several);
    assert.deepEqual(
      { fallbacks, targetSessionAttrs, dangerouslyAllowAuthentication },
      {
        fallbacks: [
          { host: "db-2", port: 5432 },
          { host: "db-3", port: 6432 },
        ],
        targetSessionAttrs: "prefer-standby",
        dangerouslyAllowAuthentication: ["md5"],
      },
    );
  });
});
