import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import { test } from "node:test";
import { proxyNodeFlags } from "../contract/node-flags.ts";
import { isOwnAddress, openings } from "./surface.ts";

const flags = proxyNodeFlags;

test("a proxy started as injection starts it is open to nobody", () => {
  assert.deepEqual(
    openings({ PATH: "/usr/bin", NODE_ENV: "production", NODE_OPTIONS: "" }, flags),
    [],
  );
});

for (const name of [
  "NODE_OPTIONS",
  "NODE_EXTRA_CA_CERTS",
  "NODE_TLS_REJECT_UNAUTHORIZED",
  "NODE_DEBUG",
  "OPENSSL_CONF",
  "LD_PRELOAD",
])
  test(`${name} in the proxy's environment keeps it from starting, and its value is not said`, () => {
    const [problem = "", ...others] = openings({ [name]: "/tmp/evil" }, flags);
    assert.match(problem, new RegExp(`^${name} is set`));
    assert.doesNotMatch(problem, /evil/);
    assert.deepEqual(others, []);
  });

for (const flag of ["--inspect=0.0.0.0:9229", "--require", "--import=/x", "--tls-keylog=/tmp/k"])
  test(`the flag ${flag} keeps the proxy from starting`, () => {
    assert.equal(openings({}, [...flags, flag]).length, 1);
  });

test("without --disable-sigusr1 the proxy does not start", () => {
  assert.match(openings({}, ["--liftoff-only"]).join(), /--disable-sigusr1 is missing/);
});

test("the addresses of this machine are its own, also in IPv6 dress; others are not", () => {
  const all = Object.values(networkInterfaces()).flatMap((entries) => entries ?? []);
  assert.ok(all.length > 0);
  for (const { address, family } of all) {
    assert.equal(isOwnAddress(address), true, address);
    if (family === "IPv4") assert.equal(isOwnAddress(`::ffff:${address}`), true, address);
  }
  assert.equal(isOwnAddress("192.0.2.77"), false);
  assert.equal(isOwnAddress("2001:db8::77"), false);
});
