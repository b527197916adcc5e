// The administrator's connection to one database: dialled as a probe is, proven as the Connection says, SCRAM only, closed after one piece of work.
import { isIP, Socket } from "node:net";
import pg from "pg";
import type { Endpoint, HostAddress } from "../../contract/control.ts";
import type { ForbiddenAddresses } from "../connections/forbidden.ts";
import { pinnedIdentity } from "../../contract/pins.ts";
import { CatalogTooLarge } from "./catalog.ts";
import { AdminCannot } from "./database-role.ts";
import { LeaseRefused } from "../grants/lease-refused.ts";

/** Name, TCP, TLS and login together; the exchange that waits for it has 4.5 s. */
const connectTimeoutMs = 3_000;

/** The largest statement reads the catalog of 10,000 relations. */
const statementTimeoutMs = 4_000;

/** The server answers Terminate by closing; one that does not is cut off. */
const closeTimeoutMs = 1_000;

/** Addresses of one name that are tried. */
const maxAddresses = 4;

export interface AdminTarget {
  /** `namespace/name`, as errors name it. */
  readonly connection: string;
  readonly endpoint: Pick<Endpoint, "host" | "port" | "tls" | "fallbacks">;
  readonly database: string;
  readonly username: string;
  readonly password: string;
}

export interface DatabaseAccess {
  /** Every address of a name. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
  /** What must not be dialled; on a laptop everything may. */
  readonly forbidden?: ForbiddenAddresses;
  /** PEM, for Connections that name no CA; undefined means Node's own roots. */
  readonly roots?: string;
}

/** Throws LeaseRefused, whose sentence names the Connection and nothing secret; the signal's reason when it was aborted. */
export async function withAdmin<T>(
  target: AdminTarget,
  access: DatabaseAccess,
  signal: AbortSignal,
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const trying: { socket?: Socket } = {};
  let session: Session | undefined;
  const aborted = Promise.withResolvers<never>();
  aborted.promise.catch(() => undefined);
  const abort = (): void => {
    trying.socket?.destroy(new Error("aborted"));
    aborted.reject(signal.reason);
  };
  signal.addEventListener("abort", abort, { once: true });
  try {
    signal.throwIfAborted();
    session = await open(target, access, {
      signal,
      aborted: aborted.promise,
      onTry: (socket) => {
        signal.throwIfAborted();
        trying.socket = socket;
      },
    });
    signal.throwIfAborted();
    // Nothing that stands in a schema of theirs may pass for a function or operator of PostgreSQL's (CVE-2018-1058).
    await session.client.query("SELECT pg_catalog.set_config('search_path', '', false)");
    return await work(session.client);
  } catch (error) {
    if (error instanceof LeaseRefused) throw error;
    throw signal.aborted ? signal.reason : translate(error, target.connection);
  } finally {
    signal.removeEventListener("abort", abort);
    if (session !== undefined) await close(session);
  }
}

interface Session {
  readonly client: pg.Client;
  readonly socket: Socket;
}

/** What gives up together. */
interface Attempt {
  readonly signal: AbortSignal;
  /** Rejects with the signal's reason. */
  readonly aborted: Promise<never>;
  /** Hears of each socket before it is used. */
  readonly onTry: (socket: Socket) => void;
}

/** The first server that answers; of several, the first that is no standby: roles are made where they can be written. */
async function open(
  target: AdminTarget,
  access: DatabaseAccess,
  trying: Attempt,
): Promise<Session> {
  const { fallbacks = [] } = target.endpoint;
  const hosts: readonly HostAddress[] = [target.endpoint, ...fallbacks];
  let failure: unknown;
  for (const host of hosts) {
    try {
      const session = await openHost(target, access, host, trying);
      if (hosts.length === 1 || !(await isStandby(session))) return session;
      await close(session);
      failure ??= refused(target.connection, "DatabaseUnreachable", "no server is its primary");
    } catch (error) {
      trying.signal.throwIfAborted();
      failure ??= error;
    }
  }
  throw failure;
}

async function isStandby({ client }: Session): Promise<boolean> {
  const { rows } = await client.query<{ standby: boolean }>(
    "SELECT pg_catalog.pg_is_in_recovery() AS standby",
  );
  return rows[0]?.standby === true;
}

/** The first address that answers. */
async function openHost(
  target: AdminTarget,
  access: DatabaseAccess,
  host: HostAddress,
  trying: Attempt,
): Promise<Session> {
  // The resolver cannot be told to stop, so nobody waits for it longer than they want to.
  const addresses = await Promise.race([
    allowedAddresses(target.connection, access, host),
    trying.aborted,
  ]);
  for (const [index, address] of addresses.entries()) {
    const session = createSession(target, access, host, address);
    trying.onTry(session.socket);
    try {
      await session.client.connect();
      return session;
    } catch (error) {
      await close(session);
      if (index === addresses.length - 1 || !isUnreachable(error)) throw error;
    }
  }
  throw refused(target.connection, "DatabaseUnreachable", "its host has no address");
}

/** All of them must be allowed, as for a probe: a name that also points at ourselves is not to be trusted with the choice. */
async function allowedAddresses(
  connection: string,
  { resolve, forbidden }: DatabaseAccess,
  { host }: HostAddress,
): Promise<readonly string[]> {
  let addresses: readonly string[];
  try {
    addresses = isIP(host) > 0 ? [host] : await resolve(host);
  } catch (cause) {
    throw refused(connection, "DatabaseUnreachable", "the name of its host has no address", cause);
  }
  for (const address of addresses) {
    const why = forbidden?.reason(address);
    if (why !== undefined)
      throw refused(
        connection,
        "DatabaseUnreachable",
        `its host is ${why}, which the operator never dials`,
      );
  }
  return addresses.slice(0, maxAddresses);
}

function createSession(
  target: AdminTarget,
  access: DatabaseAccess,
  { host, port }: HostAddress,
  address: string,
): Session {
  const { endpoint, connection, database, username, password } = target;
  const socket = new Socket();
  let isWeak = false;
  const ca = endpoint.tls.ca ?? access.roots;
  const { clientCertificate: certificate, pins } = endpoint.tls;
  const client = new pg.Client({
    stream: () => socket,
    host: address,
    port,
    database,
    user: username,
    password: () => {
      if (isWeak)
        throw refused(
          connection,
          "AdminRefused",
          "the server asks for the administrator's password in the clear or as MD5; set up scram-sha-256 in its pg_hba.conf",
        );
      return password;
    },
    ssl:
      endpoint.tls.mode === "Disable"
        ? false
        : {
            ...(ca === undefined ? {} : { ca }),
            ...(certificate === undefined
              ? {}
              : { cert: certificate.certificate, key: certificate.key }),
            ...(pins === undefined ? {} : { checkServerIdentity: pinnedIdentity(pins) }),
            minVersion: "TLSv1.2",
            // The certificate is held against the name in the Connection, not against the address it led to.
            host,
            ...(isIP(host) > 0 ? {} : { servername: host }),
          },
    enableChannelBinding: true,
    connectionTimeoutMillis: connectTimeoutMs,
    query_timeout: statementTimeoutMs,
    statement_timeout: statementTimeoutMs,
    application_name: "chaperone",
  });
  const weak = (): void => {
    isWeak = true;
  };
  for (const method of ["authenticationCleartextPassword", "authenticationMD5Password"])
    client.connection.prependListener(method, weak);
  client.on("error", () => undefined); // the query that runs, or the next, fails with it
  return { client, socket };
}

async function close({ client, socket }: Session): Promise<void> {
  const cut = setTimeout(() => socket.destroy(), closeTimeoutMs);
  try {
    await client.end();
  } catch {
    // It was broken already.
  } finally {
    clearTimeout(cut);
    socket.destroy();
  }
}

function refused(
  connection: string,
  reason: LeaseRefused["reason"],
  why: string,
  cause?: unknown,
): LeaseRefused {
  return new LeaseRefused(reason, `connection ${connection}: ${why}`, { cause, temporary: true });
}

const untrusted = /^(CERT_|ERR_TLS_CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_)/;

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : "";
}

/** SQLSTATEs have five characters, Node's codes more. */
function isSqlState(code: string): boolean {
  return /^[0-9A-Z]{5}$/.test(code);
}

function isUnreachable(error: unknown): boolean {
  const code = codeOf(error);
  return !(error instanceof LeaseRefused) && !isSqlState(code) && !untrusted.test(code);
}

/** What the server says of DDL names objects, never values: the passwords that we send are verifiers, and stand in no message. */
function translate(error: unknown, connection: string): LeaseRefused {
  const code = codeOf(error);
  const text = error instanceof Error ? error.message : "unknown failure";
  if (error instanceof AdminCannot || error instanceof CatalogTooLarge)
    return refused(connection, "AdminNotAble", text, error);
  if (code.startsWith("28"))
    return refused(
      connection,
      "AdminRefused",
      `the database refused the administrator's login (${code}); the Secret of credential.postgresRole or pg_hba.conf has to be mended`,
      error,
    );
  if (isSqlState(code))
    return refused(
      connection,
      "RoleNotMade",
      `the database did not let the administrator make or change a role (${code}): ${text}`,
      error,
    );
  if (untrusted.test(code))
    return refused(
      connection,
      "DatabaseUntrusted",
      `the certificate of its database is not to be trusted (${code}); see endpoint.tls.caSecretRef`,
      error,
    );
  return refused(
    connection,
    "DatabaseUnreachable",
    `its database cannot be reached to make a role${code === "" ? "" : ` (${code})`}`,
    error,
  );
}
