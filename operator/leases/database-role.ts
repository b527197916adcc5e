// One role in one database: made, brought up to date, ended. Every step can be repeated; what is half done is rolled back or done again.
import type { Client } from "pg";
import type { Bundle } from "../../policy/bundle.ts";
import { privilegesOf } from "../../policy/sql/privileges.ts";
import { planGrants, readCatalog } from "./catalog.ts";
import { readMark, rolePrefix, writeMark, type RoleMark } from "./role-mark.ts";
import {
  alterRole,
  changePrivileges,
  closeRole,
  commentOnRole,
  connectToDatabase,
  createRole,
  dropRole,
  joinRole,
  readOnlyRole,
} from "./statements.ts";

/**
 * Two sessions that GRANT on one table at a time fail with "tuple concurrently updated", so whoever makes or drops roles in a
 * database holds this advisory lock of it ("chaperon" in ASCII).
 */
const advisoryLock = "7163375911693512302";

/** Other tools may GRANT at the same time; more collisions than this in a row are something else. */
const maxAttempts = 4;

/** Sessions of a role whose policies set no `maxConnections`. */
export const defaultConnectionLimit = 100;

/** Above `maxConnections`, which the proxy holds: sessions that are just ending still count in the database. */
const endingConnections = 4;

/** Between our clock and the server's; what is taken for extended by mistake is found by the sweep. */
const clockMarginMs = 5_000;

/** Terminated sessions are gone within milliseconds unless the server is very busy. */
const sessionsEndWithinMs = 3_000;
const sessionsPollMs = 20;

export interface RoleRequest {
  readonly name: string;
  readonly verifier: string;
  /** The password is new also where the role is not. */
  readonly setsPassword: boolean;
  readonly mark: Omit<RoleMark, "expiresAt">;
  readonly bundle: Bundle;
  /** How long from now the role may log in. */
  readonly lifeMs: number;
}

export interface RoleMade {
  /** What the policies permit and the role cannot do, and what it can do besides: sentences. */
  readonly notes: readonly string[];
}

/** Makes the role, or gives an earlier one the privileges and the time that are due now: all of it or nothing. */
export async function makeRole(client: Client, request: RoleRequest): Promise<RoleMade> {
  return await inTransaction(client, async () => {
    const server = await readServer(client, request.name);
    if (server.cannot !== undefined) throw new AdminCannot(server.cannot);
    const { name, verifier, mark, bundle } = request;
    const catalog = await readCatalog(client, name);
    const { privileges, readOnly, ungrantable } = privilegesOf(bundle, catalog);
    const { wanted, notes } = planGrants(privileges, catalog);
    const validUntil = server.now + request.lifeMs;
    const attributes = { name, validUntil, connectionLimit: connectionLimit(bundle) };
    if (server.exists)
      await client.query(
        alterRole(request.setsPassword ? { ...attributes, verifier } : attributes),
      );
    else {
      await client.query(createRole({ ...attributes, verifier }));
      if (!server.isSuperuser) await client.query(joinRole(name, server.version));
    }
    await client.query(commentOnRole(name, writeMark({ ...mark, expiresAt: validUntil })));
    if (server.exists || readOnly) await client.query(readOnlyRole(name, readOnly));
    if (!server.mayConnect) await client.query(connectToDatabase(name, mark.database));
    for (const statement of changePrivileges(name, catalog.held, wanted))
      await client.query(statement);
    return { notes: [...ungrantable, ...notes] };
  });
}

/** What our login lacks, in a sentence that says what to do. */
export class AdminCannot extends Error {
  constructor(message: string) {
    super(message);
    this.name = "AdminCannot";
  }
}

function connectionLimit({ limits }: Bundle): number {
  return limits.maxConnections === undefined
    ? defaultConnectionLimit
    : limits.maxConnections + endingConnections;
}

interface ServerRow {
  readonly now: string;
  readonly version: number;
  readonly standby: boolean;
  readonly super: boolean;
  readonly create_role: boolean;
  readonly known: boolean;
  readonly connect: boolean;
}

interface ServerState {
  /** Milliseconds since 1970 by the server's clock. */
  readonly now: number;
  readonly version: number;
  readonly isSuperuser: boolean;
  /** Of the role asked about. */
  readonly exists: boolean;
  /** Everybody may connect to this database. */
  readonly mayConnect: boolean;
  readonly cannot: string | undefined;
}

async function readServer(client: Client, role: string): Promise<ServerState> {
  const { rows } = await client.query<ServerRow>(
    `SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint::text AS now,
            current_setting('server_version_num')::int AS version,
            pg_is_in_recovery() AS standby, rolsuper AS super, rolcreaterole AS create_role,
            EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS known,
            EXISTS (SELECT FROM pg_database d, aclexplode(COALESCE(d.datacl, acldefault('d', d.datdba))) a
                     WHERE d.datname = current_database() AND a.privilege_type = 'CONNECT' AND a.grantee = 0) AS connect
       FROM pg_roles WHERE rolname = current_user`,
    [role],
  );
  const [row] = rows;
  if (row === undefined) throw new Error("the server does not know its own user");
  return {
    now: Number(row.now),
    version: row.version,
    isSuperuser: row.super,
    exists: row.known,
    mayConnect: row.connect,
    cannot: cannot(row),
  };
}

function cannot(row: ServerRow): string | undefined {
  if (row.standby) return "its server is a standby, where no role can be made; name the primary";
  if (!row.super && !row.create_role)
    return "the login of credential.postgresRole lacks CREATEROLE; ALTER ROLE … CREATEROLE";
  return undefined;
}

export interface FoundRole {
  readonly name: string;
  readonly mark: RoleMark;
}

export interface FoundRoles {
  readonly roles: readonly FoundRole[];
  /** Every role named like ours, also one whose comment somebody has changed. */
  readonly names: ReadonlySet<string>;
  /** Milliseconds since 1970 by the server's clock. */
  readonly now: number;
}

/** Every role that bears a mark of Chaperone's, whichever installation made it. Throws AdminCannot. */
export async function findRoles(client: Client): Promise<FoundRoles> {
  const { now, cannot: lacks } = await readServer(client, rolePrefix);
  if (lacks !== undefined) throw new AdminCannot(lacks);
  const { rows } = await client.query<{ name: string; comment: string | null }>(
    `SELECT rolname AS name, shobj_description(oid, 'pg_authid') AS comment
       FROM pg_roles WHERE starts_with(rolname, $1)`,
    [rolePrefix],
  );
  return {
    now,
    names: new Set(rows.map(({ name }) => name)),
    roles: rows.flatMap(({ name, comment }) => {
      const mark = readMark(comment);
      return mark === undefined ? [] : [{ name, mark }];
    }),
  };
}

/**
 * No login, no session, no privilege, no role; one that is not there any more is fine. Sessions of all end before the first
 * role is dropped. One that cannot be dropped keeps none of the others; its error is thrown at the end.
 */
export async function endRoles(
  client: Client,
  roles: readonly { readonly name: string; readonly ifExpired: boolean }[],
  gone: (name: string) => void,
): Promise<void> {
  const found = await findRoles(client);
  const marks = new Map(found.roles.map(({ name, mark }) => [name, mark]));
  const isOver = (name: string): boolean =>
    (marks.get(name)?.expiresAt ?? 0) <= found.now + clockMarginMs;
  const standing = new Set(
    roles.flatMap(({ name, ifExpired }) =>
      found.names.has(name) && (!ifExpired || isOver(name)) ? [name] : [],
    ),
  );
  for (const { name } of roles) if (!standing.has(name)) gone(name);
  if (standing.size === 0) return;
  let failure: unknown;
  const each = async (work: (name: string) => Promise<void>): Promise<void> => {
    for (const name of standing)
      await inTransaction(client, () => work(name)).catch((error: unknown) => {
        failure = error;
        standing.delete(name);
      });
  };
  await each(async (name) => void (await client.query(closeRole(name))));
  await endSessions(client, [...standing]);
  await each(async (name) => {
    for (const statement of dropRole(name)) await client.query(statement);
  });
  for (const name of standing) gone(name);
  if (failure !== undefined) throw failure;
}

/** Told to end until none is left: DROP ROLE would let a session live on. */
async function endSessions(client: Client, names: readonly string[]): Promise<void> {
  const deadline = performance.now() + sessionsEndWithinMs;
  for (;;) {
    const { rowCount } = await client.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY($1)",
      [names],
    );
    if (rowCount === 0) return;
    if (performance.now() > deadline)
      throw new Error(`${rowCount} sessions of roles whose grant is over do not end`);
    await new Promise((resolve) => setTimeout(resolve, sessionsPollMs));
  }
}

async function inTransaction<T>(client: Client, work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    await client.query("BEGIN");
    try {
      await client.query(`SELECT pg_advisory_xact_lock(${advisoryLock})`);
      const result = await work();
      await client.query("COMMIT");
      return result;
    } catch (error) {
      await client.query("ROLLBACK");
      if (attempt === maxAttempts || !isCollision(error)) throw error;
    }
  }
}

/** Somebody else changed the same row of the catalog: PostgreSQL says it as an internal error, or as a serialisation failure. */
function isCollision(error: unknown): boolean {
  if (!(error instanceof Error) || !("code" in error)) return false;
  return (
    error.code === "40001" ||
    error.code === "40P01" ||
    (error.code === "XX000" && /concurrently/.test(error.message))
  );
}
