import assert from "node:assert/strict";
import { test } from "node:test";
import { chainOf, chooseDatabase, readStartupParameters } from "./startup-parameters.ts";

function read(parameters: Record<string, string>) {
  return readStartupParameters(new Map(Object.entries({ user: "agent", ...parameters })), "ns/db");
}

test("what drivers send passes under lower-case names, and the dialect is ours whatever they ask", () => {
  const { settings, database } = read({
    database: "orders",
    client_encoding: "'utf-8'",
    DateStyle: "ISO",
    TimeZone: "UTC",
    extra_float_digits: "2",
    application_name: "agent",
    jit: "off",
  });
  assert.equal(database, "orders");
  assert.deepEqual(settings, {
    datestyle: "ISO",
    timezone: "UTC",
    extra_float_digits: "2",
    application_name: "agent",
    jit: "off",
    client_encoding: "UTF8",
    standard_conforming_strings: "on",
    search_path: "public, pg_temp",
  });
});

for (const parameters of [
  { options: "-c search_path=evil" },
  { options: "--search-path=evil" },
  { options: "-c statement_timeout=5s -csearch_path=evil" },
  { options: "-c search_path=public,\\ evil" },
  { options: "-c role=postgres" },
  { options: "-c standard_conforming_strings=off" },
  { options: "-c" },
  { options: "-c statement_timeout" },
  { options: "-d 5" },
  { options: "statement_timeout=5s" },
  { options: "-O" },
  { statement_timeout: "2h" },
  { lock_timeout: "x" },
  { replication: "maybe" },
  { replication: "data base" },
  { client_encoding: "SJIS" },
  { standard_conforming_strings: "off" },
  { search_path: "evil, public" },
  { session_preload_libraries: "x" },
  { role: "postgres" },
  { default_transaction_read_only: "off" },
  { application_name: "x".repeat(300) },
]) {
  test(`refuses ${JSON.stringify(parameters).slice(0, 60)} at startup with a sentence`, () => {
    assert.throws(() => read(parameters), { code: "NotSupported", message: /connection ns\/db/ });
  });
}

for (const [value, kind, sent] of [
  ["database", "logical", "database"],
  ["TRUE", "physical", "true"],
  ["on", "physical", "true"],
  ["1", "physical", "true"],
  ["off", undefined, undefined],
  ["", undefined, undefined],
] as const) {
  test(`replication=${value} asks for ${kind ?? "an ordinary session"}`, () => {
    const { replication, settings } = read({ replication: value });
    assert.deepEqual([replication, settings["replication"]], [kind, sent]);
  });
}

test("settings in options are settings, and no timeout is off", () => {
  const { settings } = read({
    options:
      "-c statement_timeout=5s  --lock-timeout=0 -cDateStyle=ISO,\\ MDY -c search_path=public",
    idle_in_transaction_session_timeout: "0",
  });
  assert.deepEqual(settings, {
    statement_timeout: "5s",
    lock_timeout: "1h",
    datestyle: "ISO, MDY",
    idle_in_transaction_session_timeout: "1h",
    client_encoding: "UTF8",
    standard_conforming_strings: "on",
    search_path: "public, pg_temp",
  });
});

test("a database equal to the user is libpq's default, not a wish", () => {
  assert.equal(read({ database: "agent" }).database, undefined);
});

test("a client that names another database than the Connection is refused by name", () => {
  assert.throws(() => chooseDatabase(read({ database: "other" }), "orders", "ns/db"), {
    code: "ConnectionUnknown",
    message: /"orders", not to "other"/,
  });
  assert.equal(chooseDatabase(read({}), "orders", "ns/db"), "orders");
  assert.equal(chooseDatabase(read({ database: "other" }), undefined, "ns/db"), "other");
});

test("application_name claims a chain, tools' own names claim none", () => {
  assert.equal(chainOf("summarise-orders"), "summarise-orders");
  assert.equal(chainOf("psql"), undefined);
  assert.equal(chainOf("PostgreSQL JDBC Driver"), undefined);
});
