import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "node:test";
import {
  calculateJwkThumbprint,
  compactVerify,
  decodeJwt,
  decodeProtectedHeader,
  EmbeddedJWK,
  importJWK,
} from "jose";
import { backoffMs } from "./clock.ts";
import { ProofKey } from "./keys.ts";

describe("the proxy's key", () => {
  for (const alg of ["EdDSA", "ES256"] as const) {
    it(`makes ${alg} proofs that another implementation verifies`, async () => {
      const key = await ProofKey.create(() => 1_700_000_000_500, alg);
      assert.equal(key.jkt, await calculateJwkThumbprint({ ...key.publicJwk }));
      const proof = await key.proof({
        method: "POST",
        url: "https://op/v1/events",
        grant: "the-grant",
        nonce: "n",
      });
      await compactVerify(proof, EmbeddedJWK, { algorithms: [alg] });
      assert.deepEqual(decodeProtectedHeader(proof), { typ: "dpop+jwt", alg, jwk: key.publicJwk });
      const { jti, ...claims } = decodeJwt(proof);
      assert.ok(jti && jti.length >= 20);
      assert.deepEqual(claims, {
        htm: "POST",
        htu: "https://op/v1/events",
        iat: 1_700_000_000,
        nonce: "n",
        ath: createHash("sha256").update("the-grant").digest("base64url"),
      });
    });

    it(`signs the head of a batch with ${alg}`, async () => {
      const key = await ProofKey.create(Date.now, alg);
      const { payload } = await compactVerify(
        await key.signHead("sha256-abc"),
        await importJWK({ ...key.publicJwk }, alg),
      );
      assert.equal(Buffer.from(payload).toString(), "sha256-abc");
    });
  }

  it("shows its public half alone, and never makes the same proof twice", async () => {
    const key = await ProofKey.create(Date.now);
    assert.deepEqual(Object.keys(key.publicJwk).sort(), ["crv", "kty", "x"]);
    assert.doesNotMatch(JSON.stringify(key), /"d"/);
    const request = { method: "GET", url: "https://op/v1/stream" };
    assert.notEqual(await key.proof(request), await key.proof(request));
  });
});

describe("a pause between attempts", () => {
  it("doubles to its cap, and at least half of it is certain", () => {
    assert.deepEqual(
      [0, 1, 2, 10, 1_000].map((attempt) => backoffMs(attempt, () => 1, 100, 1_000)),
      [100, 200, 400, 1_000, 1_000],
    );
    assert.equal(
      backoffMs(0, () => 0, 100, 1_000),
      50,
    );
  });
});
