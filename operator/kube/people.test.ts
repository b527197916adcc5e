import assert from "node:assert/strict";
import { test } from "node:test";
import { calculateJwkThumbprint, exportJWK, generateKeyPair } from "jose";
import type { AccessSession, PublicJwk } from "../../crds/types.gen.ts";
import { isOver } from "./janitor.ts";
import { isValid, thumbprintOf } from "./people.ts";

const now = Date.parse("2026-11-21T10:00:00Z");

function session(
  change: {
    readonly spec?: Partial<AccessSession["spec"]>;
    readonly createdMinutesAgo?: number;
  } = {},
): AccessSession {
  return {
    apiVersion: "chaperone.dev/v1alpha1",
    kind: "AccessSession",
    metadata: {
      name: "s",
      namespace: "chaperone-system",
      creationTimestamp: new Date(now - (change.createdMinutesAgo ?? 1) * 60_000).toISOString(),
    },
    spec: {
      publicKey: { kty: "OKP", crv: "Ed25519", x: "x" },
      user: { username: "ann" },
      expiresAt: new Date(now + 9 * 60_000).toISOString(),
      ...change.spec,
    },
  };
}

for (const alg of ["ES256", "EdDSA"]) {
  test(`the thumbprint of an ${alg} key is that of RFC 7638`, async () => {
    const { publicKey } = await generateKeyPair(alg, { extractable: true });
    const jwk = await exportJWK(publicKey);
    assert.equal(thumbprintOf(jwk as unknown as PublicJwk), await calculateJwkThumbprint(jwk));
  });
}

test("a session counts when it is stamped, not past what it says, and not older than ten minutes", () => {
  assert.equal(isValid(session(), now), true);
  const { user: _, ...unstamped } = session().spec;
  assert.equal(isValid({ ...session(), spec: unstamped }, now), false);
  assert.equal(
    isValid(session({ spec: { expiresAt: new Date(now - 1).toISOString() } }), now),
    false,
  );
  assert.equal(
    isValid(session({ createdMinutesAgo: 11, spec: { expiresAt: "2099-01-01T00:00:00Z" } }), now),
    false,
  );
  const { expiresAt: __, ...endless } = session().spec;
  assert.equal(isValid({ ...session(), spec: endless }, now), false);
});

test("a session that is over is cleared away, one that counts is not", () => {
  assert.equal(isOver(session(), now), false);
  assert.equal(isOver(session({ createdMinutesAgo: 11 }), now), true);
});
