import assert from "node:assert/strict";
import { test } from "node:test";
import type { AdminTarget } from "./admin.ts";
import { isSameDatabase } from "./databases.ts";

function target(hosts: readonly string[], database = "orders"): AdminTarget {
  const [first = "", ...more] = hosts;
  return {
    connection: "agents/orders-db",
    endpoint: {
      host: first,
      port: 5432,
      tls: { mode: "VerifyFull" },
      fallbacks: more.map((host) => ({ host, port: 5432 })),
    },
    database,
    username: "admin",
    password: "p",
  };
}

for (const [what, a, b, same] of [
  ["one host", target(["a"]), target(["a"]), true],
  ["other hosts", target(["a"]), target(["b"]), false],
  ["another database", target(["a"]), target(["a"], "people"), false],
  ["the same hosts in another order", target(["a", "b"]), target(["b", "a"]), true],
  ["another fallback behind the same first host", target(["a", "b"]), target(["a", "c"]), false],
  ["a host more", target(["a"]), target(["a", "b"]), false],
] as const) {
  test(`${what}: ${same ? "the same database" : "another database"}`, () => {
    assert.equal(isSameDatabase(a, b), same);
    assert.equal(isSameDatabase(b, a), same);
  });
}
