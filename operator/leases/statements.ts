// The SQL of a role made for a grant, as text: pure. Names and values are quoted here and nowhere else.
import { escapeIdentifier, escapeLiteral } from "pg";
import {
  privilegeKey,
  type ObjectPrivilege,
  type RelationPrivilege,
} from "../../policy/sql/privileges.ts";

/** Objects named by one GRANT; a statement of a few hundred kilobytes helps nobody who reads the server's log. */
const maxObjects = 200;

/** What can be granted on the columns of a table as well. */
const columnPrivileges: readonly RelationPrivilege[] = ["SELECT", "INSERT", "UPDATE"];

export interface RoleAttributes {
  readonly name: string;
  readonly verifier: string;
  /** Milliseconds since 1970 by the server's clock. */
  readonly validUntil: number;
  readonly connectionLimit: number;
}

/** Everything that makes a role more than its grants is said to be off, whatever the server's defaults are. */
export function createRole({
  name,
  verifier,
  validUntil,
  connectionLimit,
}: RoleAttributes): string {
  return `CREATE ROLE ${escapeIdentifier(name)} LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT ${connectionLimit} PASSWORD ${escapeLiteral(verifier)} VALID UNTIL ${timestamp(validUntil)}`;
}

/** Without `verifier` the password stays. */
export function alterRole(
  attributes: Omit<RoleAttributes, "verifier"> & { readonly verifier?: string },
): string {
  const { name, verifier, validUntil, connectionLimit } = attributes;
  const password = verifier === undefined ? "" : ` PASSWORD ${escapeLiteral(verifier)}`;
  return `ALTER ROLE ${escapeIdentifier(name)} CONNECTION LIMIT ${connectionLimit} VALID UNTIL ${timestamp(validUntil)}${password}`;
}

export function closeRole(name: string): string {
  return `ALTER ROLE ${escapeIdentifier(name)} NOLOGIN`;
}

export function commentOnRole(name: string, comment: string): string {
  return `COMMENT ON ROLE ${escapeIdentifier(name)} IS ${escapeLiteral(comment)}`;
}

export function readOnlyRole(name: string, readOnly: boolean): string {
  const role = escapeIdentifier(name);
  return readOnly
    ? `ALTER ROLE ${role} SET default_transaction_read_only = on`
    : `ALTER ROLE ${role} RESET default_transaction_read_only`;
}

/**
 * Ending its sessions and dropping what it owns takes the role's privileges. From PostgreSQL 16 on a membership can be
 * inherited without leave to SET ROLE (release notes of 16, E.1.3.4).
 */
export function joinRole(name: string, serverVersion: number): string {
  const how = serverVersion >= 160_000 ? " WITH INHERIT TRUE, SET FALSE" : "";
  return `GRANT ${escapeIdentifier(name)} TO CURRENT_USER${how}`;
}

export function connectToDatabase(name: string, database: string): string {
  return `GRANT CONNECT ON DATABASE ${escapeIdentifier(database)} TO ${escapeIdentifier(name)}`;
}

export function dropRole(name: string): readonly string[] {
  const role = escapeIdentifier(name);
  return [`DROP OWNED BY ${role}`, `DROP ROLE ${role}`];
}

/** First what is taken away: REVOKE of a table's privilege takes its columns' with it. */
export function changePrivileges(
  name: string,
  held: readonly ObjectPrivilege[],
  wanted: readonly ObjectPrivilege[],
): readonly string[] {
  const role = escapeIdentifier(name);
  const change = (verb: string, link: string, items: readonly ObjectPrivilege[]): string[] =>
    targets(items).map(({ what, on }) => `${verb} ${what} ON ${on} ${link} ${role}`);
  return [
    ...change("REVOKE", "FROM", without(held, wanted)),
    ...change("GRANT", "TO", without(wanted, held)),
  ];
}

function without(
  items: readonly ObjectPrivilege[],
  others: readonly ObjectPrivilege[],
): readonly ObjectPrivilege[] {
  const keys = new Set(others.map(privilegeKey));
  return items.filter((item) => !keys.has(privilegeKey(item)));
}

/** Objects that share a list of privileges share a statement. */
function targets(
  items: readonly ObjectPrivilege[],
): readonly { readonly what: string; readonly on: string }[] {
  const byObject = new Map<string, { on: ObjectPrivilege["on"]; items: ObjectPrivilege[] }>();
  for (const item of items) {
    const name = objectName(item);
    const key = `${item.on} ${name}`;
    const known = byObject.get(key) ?? { on: item.on, items: [] };
    known.items.push(item);
    byObject.set(key, known);
  }
  const byPrivileges = new Map<
    string,
    { what: string; on: ObjectPrivilege["on"]; names: string[] }
  >();
  for (const { on, items: ofOne } of byObject.values()) {
    const [first] = ofOne;
    if (first === undefined) continue;
    const what = privilegeList(ofOne);
    const key = `${on} ${what}`;
    const known = byPrivileges.get(key) ?? { what, on, names: [] };
    known.names.push(objectName(first));
    byPrivileges.set(key, known);
  }
  return [...byPrivileges.values()].flatMap(({ what, on, names }) =>
    chunks(names).map((chunk) => ({ what, on: `${on.toUpperCase()} ${chunk.join(", ")}` })),
  );
}

function objectName(item: ObjectPrivilege): string {
  return item.on === "schema"
    ? escapeIdentifier(item.schema)
    : `${escapeIdentifier(item.schema)}.${escapeIdentifier(item.name)}`;
}

/** `SELECT ("id", "name"), DELETE`. */
function privilegeList(items: readonly ObjectPrivilege[]): string {
  const columns = new Map<string, string[]>();
  const list: string[] = [];
  for (const item of items) {
    if (item.on !== "table" || item.column === undefined) list.push(item.privilege);
    else if (columnPrivileges.includes(item.privilege))
      columns.set(item.privilege, [
        ...(columns.get(item.privilege) ?? []),
        escapeIdentifier(item.column),
      ]);
  }
  for (const [privilege, names] of columns) list.push(`${privilege} (${names.join(", ")})`);
  return list.join(", ");
}

function chunks(names: readonly string[]): string[][] {
  const parts: string[][] = [];
  for (let at = 0; at < names.length; at += maxObjects)
    parts.push(names.slice(at, at + maxObjects));
  return parts;
}

function timestamp(at: number): string {
  return escapeLiteral(new Date(at).toISOString());
}
