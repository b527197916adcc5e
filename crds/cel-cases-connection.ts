// For every CEL rule of a Connection one object that it accepts and one that it refuses; cel-cases.ts has those of the other kinds.
import { caseBuilder } from "./cel-case.ts";
import type { CelCase } from "./cel-case.ts";

const notAvailable = "is not available in this version";

const postgres = caseBuilder("Connection", {
  protocol: "postgres",
  endpoint: { host: "db.data.svc.cluster.local", tls: { mode: "VerifyFull" } },
  credential: {
    static: { secretRef: { name: "db" }, usernameKey: "user", passwordKey: "password" },
  },
});

const http = caseBuilder("Connection", {
  protocol: "http",
  endpoint: { url: "https://api.example.com/v1", tls: { mode: "VerifyFull" } },
  credential: {
    static: {
      secretRef: { name: "api" },
      header: { name: "Authorization", value: "Bearer ${token}" },
    },
  },
});

const passthrough = caseBuilder("Connection", {
  protocol: "passthrough",
  endpoint: { host: "pypi.org" },
});

const postgresRole = {
  adminSecretRef: { name: "db-admin" },
  usernameKey: "user",
  passwordKey: "password",
};

const oauth2 = {
  tokenUrl: "https://login.example.com/oauth2/token",
  secretRef: { name: "client" },
  clientIdKey: "id",
  clientSecretKey: "secret",
  clientAuthentication: "client_secret_basic",
};

const { clientSecretKey: _secret, ...withoutSecret } = oauth2;
const signedOAuth2 = { ...withoutSecret, clientAuthentication: "private_key_jwt" };

const awsSigV4 = {
  service: "s3",
  region: "eu-central-1",
  secretRef: { name: "keys" },
  accessKeyIdKey: "id",
  secretAccessKeyKey: "secret",
  payload: "Signed",
};

export const connectionCases: readonly CelCase[] = [
  postgres("spec.endpoint", "a postgres connection needs endpoint.host", {
    good: {},
    bad: { "spec.endpoint": { url: "https://db.example.com" } },
  }),
  http("spec.endpoint", "protocol http needs endpoint.url", {
    good: {},
    bad: { "spec.endpoint": { host: "api.example.com" } },
  }),
  passthrough("spec.endpoint", "a passthrough connection needs endpoint.host", {
    good: { "spec.endpoint.port": 8443 },
    bad: { "spec.endpoint": { url: "https://pypi.org" } },
  }),
  passthrough("spec.hosts", "a passthrough connection whose endpoint is an address needs hosts", {
    good: { "spec.endpoint.host": "10.0.0.1", "spec.hosts": ["pypi.org"] },
    bad: { "spec.endpoint.host": "10.0.0.1" },
  }),
  passthrough("spec.endpoint.tls", "endpoint.tls has no effect with protocol passthrough", {
    good: {},
    bad: { "spec.endpoint.tls": { mode: "VerifyFull" } },
  }),
  passthrough("spec.endpoint.fallbacks", "endpoint.fallbacks belong to protocol postgres", {
    good: {},
    bad: { "spec.endpoint.fallbacks": [{ host: "other.example.com" }] },
  }),
  passthrough("spec.credential", "a passthrough connection has no credential", {
    good: {},
    bad: {
      "spec.credential.static": {
        secretRef: { name: "api" },
        header: { name: "Authorization", value: "Bearer ${token}" },
      },
    },
  }),
  http("spec.postgres", "the postgres block belongs to protocol postgres, not to http", {
    good: {},
    bad: { "spec.postgres": { database: "orders" } },
  }),
  postgres(
    "spec.credential",
    "the static credential of a postgres connection is usernameKey and passwordKey",
    {
      good: {},
      bad: { "spec.credential.static": { secretRef: { name: "db" }, usernameKey: "user" } },
    },
  ),
  http(
    "spec.credential",
    "the static credential of protocol http is exactly one of header, basic and query",
    {
      good: {
        "spec.credential.static": {
          secretRef: { name: "api" },
          basic: { usernameKey: "user", passwordKey: "password" },
        },
      },
      bad: { "spec.credential.static.query": { name: "key", value: "${key}" } },
    },
  ),
  postgres("spec.http", "the http block belongs to protocols over HTTP, not to postgres", {
    good: {},
    bad: { "spec.http": { cookies: "Pass" } },
  }),
  http("spec.mcp", "the mcp block belongs to protocol mcp, not to http", {
    good: { "spec.protocol": "mcp", "spec.mcp": { toolChanges: "Deny" } },
    bad: { "spec.mcp": { toolChanges: "Deny" } },
  }),
  http("spec.http.headers[0].name", "header Host belongs to the transport and cannot be set", {
    good: { "spec.http": { headers: [{ name: "OpenAI-Organization", value: "org-1" }] } },
    bad: { "spec.http": { headers: [{ name: "Host", value: "other.example.com" }] } },
  }),
  http("spec.endpoint.tls.pins", "endpoint.tls.pins have no effect with mode Disable", {
    good: { "spec.endpoint.tls.pins": [`sha256/${"A".repeat(43)}=`] },
    bad: {
      "spec.endpoint": {
        url: "http://api.example.com",
        tls: { mode: "Disable", pins: [`sha256/${"A".repeat(43)}=`] },
      },
    },
  }),
  http("spec.credential.static.query.value", "query.value names no key of the Secret", {
    good: {
      "spec.credential.static": {
        secretRef: { name: "api" },
        query: { name: "key", value: "${key}" },
      },
    },
    bad: {
      "spec.credential.static": {
        secretRef: { name: "api" },
        query: { name: "key", value: "key" },
      },
    },
  }),
  http(
    "spec.protocol",
    `protocol 'mysql' ${notAvailable}: use postgres, http, openai, anthropic, gemini, bedrock, mcp or passthrough`,
    {
      good: { "spec.protocol": "openai" },
      bad: { "spec.protocol": "mysql", "spec.endpoint": { host: "api.example.com" } },
    },
  ),
  postgres(
    "spec.endpoint",
    "endpoint has exactly one of host (postgres, passthrough) and url (all others)",
    {
      good: {},
      bad: { "spec.endpoint.url": "https://db.example.com" },
    },
  ),
  http("spec.endpoint.port", "endpoint.port stands beside endpoint.host", {
    good: {},
    bad: { "spec.endpoint.port": 443 },
  }),
  http("spec.endpoint.tls", "endpoint.tls.mode contradicts the scheme of endpoint.url", {
    good: { "spec.endpoint": { url: "http://api.example.com", tls: { mode: "Disable" } } },
    bad: { "spec.endpoint.tls.mode": "Disable" },
  }),
  postgres(
    "spec.endpoint.tls.caSecretRef",
    "endpoint.tls.caSecretRef has no effect with mode Disable",
    {
      good: { "spec.endpoint.tls.caSecretRef": { name: "ca" } },
      bad: { "spec.endpoint.tls": { mode: "Disable", caSecretRef: { name: "ca" } } },
    },
  ),
  postgres(
    "spec.endpoint.tls.clientCertificateSecretRef",
    "endpoint.tls.clientCertificateSecretRef has no effect with mode Disable",
    {
      good: { "spec.endpoint.tls.clientCertificateSecretRef": { name: "pg-client" } },
      bad: {
        "spec.endpoint.tls": { mode: "Disable", clientCertificateSecretRef: { name: "pg-client" } },
      },
    },
  ),
  http("spec.endpoint.fallbacks", "endpoint.fallbacks stand beside endpoint.host", {
    good: {},
    bad: { "spec.endpoint.fallbacks": [{ host: "other.example.com" }] },
  }),
  postgres(
    "spec.postgres",
    "postgres.dangerouslyAllowAuthentication: cleartext needs endpoint.tls.mode VerifyFull",
    {
      good: { "spec.postgres.dangerouslyAllowAuthentication": ["md5", "cleartext"] },
      bad: {
        "spec.endpoint.tls.mode": "Disable",
        "spec.postgres.dangerouslyAllowAuthentication": ["cleartext"],
      },
    },
  ),
  http("spec.hosts", "hosts are names that the agent dials, not addresses", {
    good: { "spec.hosts": ["api"] },
    bad: { "spec.hosts": ["api", "10.0.0.1"] },
  }),
  http("spec.hosts", "hosts cannot contain localhost", {
    good: { "spec.hosts": ["localhost.example.com"] },
    bad: { "spec.hosts": ["db.localhost"] },
  }),
  postgres("spec.credential", "credential names no source", {
    good: {},
    bad: { "spec.credential": {} },
  }),
  postgres("spec.credential", "credential has one source: exactly one of static, postgresRole", {
    good: { "spec.credential": { postgresRole }, "spec.postgres": { database: "orders" } },
    bad: { "spec.credential.postgresRole": postgresRole, "spec.postgres": { database: "orders" } },
  }),
  postgres("spec.credential.postgresRole", "credential.postgresRole needs postgres.database", {
    good: { "spec.credential": { postgresRole }, "spec.postgres": { database: "orders" } },
    bad: { "spec.credential": { postgresRole } },
  }),
  http(
    "spec.credential.postgresRole",
    "credential.postgresRole belongs to protocol postgres, not to http",
    { good: {}, bad: { "spec.credential": { postgresRole } } },
  ),
  postgres("spec.credential.sshCertificate", `credential.sshCertificate ${notAvailable}`, {
    good: {},
    bad: { "spec.credential": { sshCertificate: { any: { thing: 1 } } } },
  }),
  http("spec.credential", "credential has one source: exactly one of static, postgresRole", {
    good: { "spec.credential": { oauth2 } },
    bad: { "spec.credential.oauth2": oauth2 },
  }),
  postgres(
    "spec.credential.oauth2",
    "credential.oauth2 belongs to protocols over HTTP, not to postgres",
    { good: {}, bad: { "spec.credential": { oauth2 } } },
  ),
  http("spec.credential.oauth2.clientSecretKey", "oauth2.clientSecretKey is missing", {
    good: { "spec.credential": { oauth2 } },
    bad: { "spec.credential": { oauth2: withoutSecret } },
  }),
  http("spec.credential.oauth2.tokenUrl", "oauth2.tokenUrl has to be https", {
    good: { "spec.credential": { oauth2 } },
    bad: { "spec.credential": { oauth2: { ...oauth2, tokenUrl: "http://login.example.com/t" } } },
  }),
  http("spec.credential.oauth2.privateKeyKey", "oauth2.privateKeyKey is missing", {
    good: { "spec.credential": { oauth2: { ...signedOAuth2, privateKeyKey: "key" } } },
    bad: { "spec.credential": { oauth2: signedOAuth2 } },
  }),
  http("spec.credential.oauth2.clientSecretKey", "oauth2.clientSecretKey has no effect with", {
    good: { "spec.credential": { oauth2: { ...signedOAuth2, privateKeyKey: "key" } } },
    bad: {
      "spec.credential": {
        oauth2: { ...signedOAuth2, privateKeyKey: "key", clientSecretKey: "secret" },
      },
    },
  }),
  http("spec.credential.oauth2.clientAuthentication", "oauth2.privateKeyKey, keyId and issuer", {
    good: { "spec.credential": { oauth2 } },
    bad: { "spec.credential": { oauth2: { ...oauth2, keyId: "1" } } },
  }),
  postgres(
    "spec.credential.awsSigV4",
    "credential.awsSigV4 belongs to protocols over HTTP, not to postgres",
    { good: {}, bad: { "spec.credential": { awsSigV4 } } },
  ),
  http("spec.credential.awsSigV4", "credential.awsSigV4.payload Unsigned needs an https endpoint", {
    good: { "spec.credential": { awsSigV4: { ...awsSigV4, payload: "Unsigned" } } },
    bad: {
      "spec.endpoint": { url: "http://s3.example.com" },
      "spec.credential": { awsSigV4: { ...awsSigV4, payload: "Unsigned" } },
    },
  }),
  http("spec.credential.static.header.name", "header Content-Length belongs to the transport", {
    good: { "spec.credential.static.header.name": "X-Api-Key" },
    bad: { "spec.credential.static.header.name": "Content-Length" },
  }),
  http("spec.credential.static.header.value", "header.value names no key of the Secret", {
    good: { "spec.credential.static.header.value": "${key.of_secret-1}" },
    bad: { "spec.credential.static.header.value": "Bearer $token" },
  }),
  http("spec.onFailure", `onFailure 'open' ${notAvailable}: use closed`, {
    good: { "spec.onFailure": "closed" },
    bad: { "spec.onFailure": "open" },
  }),
];
