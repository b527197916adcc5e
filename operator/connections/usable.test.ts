import assert from "node:assert/strict";
import { test } from "node:test";
import { crdSchemas } from "../../crds/schemas.gen.ts";
import type { Schema } from "../../crds/schema.ts";
import type { Connection } from "../../crds/types.gen.ts";
import { connection } from "../api/fixture.ts";
import { secretsOf } from "../grants/govern.ts";
import { scriptedServer, token } from "../tokens/scripted-server.ts";
import { Tokens } from "../tokens/tokens.ts";
import { credentialSecretsOf } from "./credential-secrets.ts";
import { usableCredential } from "./usable.ts";

const signal = new AbortController().signal;

test("a Connection is as usable as its authorization server says, and its CA reaches the probe all the same", async (t) => {
  const server = await scriptedServer(t);
  const secrets: Record<string, Record<string, string>> = {
    ca: { "ca.crt": server.ca },
    client: { id: "a", secret: "b" },
  };
  const api = connection(
    {
      protocol: "http",
      endpoint: {
        url: "https://api.example",
        tls: { mode: "VerifyFull", caSecretRef: { name: "ca", key: "ca.crt" } },
      },
      credential: {
        oauth2: {
          tokenUrl: server.url,
          caSecretRef: { name: "ca", key: "ca.crt" },
          secretRef: { name: "client" },
          clientIdKey: "id",
          clientSecretKey: "secret",
          clientAuthentication: "client_secret_basic",
        },
      },
    },
    "api",
  );
  const look = (): ReturnType<typeof usableCredential> =>
    usableCredential(
      api,
      async (_namespace, name) => secrets[name],
      new Tokens({ access: { resolve: async () => ["127.0.0.1"] }, now: Date.now }),
      signal,
    );
  assert.equal((await look()).problem, undefined);
  server.answer = token({ access_token: undefined, error: "invalid_client" }, 401);
  const refused = await look();
  assert.equal(refused.problem?.reason, "TokenRefused");
  assert.match(refused.problem?.message ?? "", /connection agents\/api.*invalid_client/);
  assert.deepEqual(refused.tls, { ca: server.ca });
  delete secrets["client"];
  assert.equal((await look()).problem?.reason, "SecretNotFound");
});

/** Every reference to a Secret that the schema has, each named after its place. */
function named(schema: Schema, path: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(schema.properties ?? {}).map(([name, child]) => [
      name,
      /secretRef$/i.test(name)
        ? { name: [...path, name].join("."), key: "key" }
        : named(child, [...path, name]),
    ]),
  );
}

test("every Secret that a Connection can name is watched, and all but CAs are kept from agents", () => {
  const spec = crdSchemas.Connection.properties?.["spec"];
  assert.ok(spec !== undefined);
  const { metadata } = connection();
  const all = { metadata, spec: named(spec, ["spec"]) } as unknown as Connection;
  const places = [...JSON.stringify(all.spec).matchAll(/"(spec\.[^"]*)"/g)].map(
    ([, at]) => at ?? "",
  );
  assert.ok(places.length >= 7);
  assert.deepEqual(secretsOf(all).toSorted(), places.toSorted());
  assert.deepEqual(
    credentialSecretsOf(all).toSorted(),
    places.filter((at) => !at.endsWith("caSecretRef")).toSorted(),
  );
});
