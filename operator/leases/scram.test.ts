import assert from "node:assert/strict";
import { test } from "node:test";
import { randomPassword, scramVerifier } from "./scram.ts";

test("a verifier is the one that RFC 7677 section 3 implies for its example", async () => {
  // User "pencil", salt and iterations of the RFC; the ServerKey signs the RFC's server signature.
  const { createHmac } = await import("node:crypto");
  const salt = Buffer.from("W22ZaJ0SNY7soEsUEjb6gQ==", "base64");
  const verifier = await scramVerifier("pencil", salt);
  const [, serverKey = ""] = /:([^:]+)$/.exec(verifier) ?? [];
  const authMessage =
    "n=user,r=rOprNGfwEbeRWgbNEkqO," +
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096," +
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
  const signature = createHmac("sha256", Buffer.from(serverKey, "base64"))
    .update(authMessage)
    .digest("base64");
  assert.equal(signature, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
  assert.match(verifier, /^SCRAM-SHA-256\$4096:W22ZaJ0SNY7soEsUEjb6gQ==\$[^:]{44}:[^:]{44}$/);
});

test("passwords are long, never alike, and as SASLprep leaves them", () => {
  const made = Array.from({ length: 50 }, () => randomPassword());
  assert.equal(new Set(made).size, 50);
  for (const password of made) assert.match(password, /^[-_A-Za-z0-9]{43}$/);
});
