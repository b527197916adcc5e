import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { describe, it } from "node:test";
import fc from "fast-check";
import { CompactSign, jwtVerify } from "jose";
import { parseCompactJws, signJws, verifyJws } from "./jws.ts";

const keys = {
  EdDSA: generateKeyPairSync("ed25519"),
  ES256: generateKeyPairSync("ec", { namedCurve: "P-256" }),
};

describe("a compact JWS", () => {
  for (const alg of ["EdDSA", "ES256"] as const) {
    it(`that another implementation signed with ${alg} verifies, and no altered byte of it does`, async () => {
      const text = await new CompactSign(Buffer.from('{"a":1}'))
        .setProtectedHeader({ alg })
        .sign(keys[alg].privateKey);
      const jws = parseCompactJws(text) ?? assert.fail();
      assert.equal(verifyJws(jws, alg, keys[alg].publicKey), true);
      fc.assert(
        fc.property(
          fc.nat(text.length - 1),
          fc.constantFrom(..."A Z a z 0 9 - _ . = + /".split(" ")),
          (at, by) => {
            if (text[at] === by) return;
            const altered = parseCompactJws(text.slice(0, at) + by + text.slice(at + 1));
            assert.ok(altered === undefined || !verifyJws(altered, alg, keys[alg].publicKey));
          },
        ),
      );
    });
  }

  it("that we sign verifies elsewhere", async () => {
    const token = signJws({ typ: "at+jwt", kid: "k" }, { aud: "x" }, keys.EdDSA.privateKey);
    const { payload, protectedHeader } = await jwtVerify(token, keys.EdDSA.publicKey, {
      audience: "x",
    });
    assert.deepEqual(
      [payload, protectedHeader],
      [{ aud: "x" }, { typ: "at+jwt", kid: "k", alg: "EdDSA" }],
    );
  });

  it("does not verify under another algorithm than was chosen", () => {
    const jws = parseCompactJws(signJws({}, {}, keys.EdDSA.privateKey)) ?? assert.fail();
    assert.equal(verifyJws(jws, "ES256", keys.ES256.publicKey), false);
  });

  it("is not one with critical extensions, unencoded payload, missing parts or padding", () => {
    const part = (value: unknown): string =>
      Buffer.from(JSON.stringify(value)).toString("base64url");
    const ok = part({ alg: "EdDSA" });
    for (const text of [
      "",
      "a.b",
      `${ok}.${ok}.`,
      `${ok}.${ok}.${ok}.${ok}`,
      `${part({ alg: "EdDSA", crit: ["x"] })}.${ok}.${ok}`,
      `${part({ alg: "EdDSA", b64: false })}.${ok}.${ok}`,
      `${part([1])}.${ok}.${ok}`,
      `${ok}==.${ok}.${ok}`,
    ]) {
      assert.equal(parseCompactJws(text), undefined, text);
    }
    assert.notEqual(parseCompactJws(`${ok}.${ok}.${ok}`), undefined);
  });
});
