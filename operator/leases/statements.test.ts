import assert from "node:assert/strict";
import { test } from "node:test";
import type { ObjectPrivilege } from "../../policy/sql/privileges.ts";
import { alterRole, changePrivileges, createRole, joinRole } from "./statements.ts";

const table = (
  name: string,
  privilege: "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "TRUNCATE",
  column?: string,
): ObjectPrivilege => ({
  on: "table",
  schema: "public",
  name,
  privilege,
  ...(column === undefined ? {} : { column }),
});

test("what is held already is left alone, what is too much is taken away first", () => {
  const held = [table("orders", "SELECT"), table("customers", "SELECT"), table("orders", "DELETE")];
  const wanted = [
    table("orders", "SELECT"),
    table("customers", "SELECT", "id"),
    table("customers", "SELECT", "name"),
    table("orders", "INSERT"),
  ];
  assert.deepEqual(changePrivileges("r", held, wanted), [
    `REVOKE SELECT ON TABLE "public"."customers" FROM "r"`,
    `REVOKE DELETE ON TABLE "public"."orders" FROM "r"`,
    `GRANT SELECT ("id", "name") ON TABLE "public"."customers" TO "r"`,
    `GRANT INSERT ON TABLE "public"."orders" TO "r"`,
  ]);
  assert.deepEqual(changePrivileges("r", wanted, wanted), []);
});

test("tables that share their privileges share a statement, of bounded length", () => {
  const wanted = Array.from({ length: 450 }, (_, at) => table(`t${at}`, "SELECT"));
  const statements = changePrivileges("r", [], wanted);
  assert.equal(statements.length, 3);
  assert.equal(statements.join(" ").match(/"t\d+"/g)?.length, 450);
});

test("names and values that try to end their quotes do not", () => {
  const evil = `x"; DROP ROLE postgres; --`;
  const [statement = ""] = changePrivileges(evil, [], [table(evil, "SELECT", evil)]);
  const quoted = `"x""; DROP ROLE postgres; --"`;
  assert.equal(statement, `GRANT SELECT (${quoted}) ON TABLE "public".${quoted} TO ${quoted}`);
  const attributes = { name: "r", validUntil: 0, connectionLimit: 1 };
  assert.match(createRole({ ...attributes, verifier: "a'b\\c" }), /PASSWORD {2}?E'a''b\\\\c'/);
});

test("a renewal does not touch the password unless it is new", () => {
  const attributes = { name: "r", validUntil: 0, connectionLimit: 7 };
  assert.equal(
    alterRole(attributes),
    `ALTER ROLE "r" CONNECTION LIMIT 7 VALID UNTIL '1970-01-01T00:00:00.000Z'`,
  );
  assert.match(alterRole({ ...attributes, verifier: "v" }), / PASSWORD 'v'$/);
});

test("from PostgreSQL 16 on the login inherits without leave to become the role", () => {
  assert.equal(joinRole("r", 160_000), `GRANT "r" TO CURRENT_USER WITH INHERIT TRUE, SET FALSE`);
  assert.equal(joinRole("r", 150_008), `GRANT "r" TO CURRENT_USER`);
});
