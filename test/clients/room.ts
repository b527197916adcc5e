// A real PostgreSQL and the proxy before it, both over verified TLS, and the two ways to it that every client test compares.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { allow, deny, everything, startHarness } from "../integration/postgres-proxy-harness.ts";
import type { Harness } from "../integration/postgres-proxy-harness.ts";
import { startPostgres } from "../integration/postgres-server.ts";
import type { PostgresServer } from "../integration/postgres-server.ts";

/** One way to the database, as a client is told of it. */
export interface Way {
  readonly name: "direct" | "proxied";
  /** The name in the certificate; it leads to 127.0.0.1. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly caFile: string;
}

export interface ClientRoom {
  readonly server: PostgresServer;
  readonly harness: Harness;
  /** For files of the test; gone when the room is closed. */
  readonly directory: string;
  readonly direct: Way;
  /** The login is the agent's own idea; the proxy replaces it. */
  readonly proxied: Way;
  /** Runs statements as the superuser, past the proxy. */
  run(...statements: readonly string[]): Promise<readonly Record<string, unknown>[]>;
  close(): Promise<void>;
}

/** @param serverPackage folder of another PostgreSQL's npm package; the 18 of node_modules when absent. */
export async function openRoom(
  serverPackage?: string,
  settings?: Readonly<Record<string, string>>,
): Promise<ClientRoom> {
  const directory = await mkdtemp(join(tmpdir(), "chaperone-clients-"));
  const server = await startPostgres({
    tls: true,
    ...(serverPackage === undefined ? {} : { package: serverPackage }),
    ...(settings === undefined ? {} : { settings }),
  });
  const harness = await startHarness(server);
  const caFile = join(directory, "proxy.pem");
  await writeFile(caFile, harness.caPem);
  assert.ok(server.caFile !== undefined);
  const common = { host: "localhost", database: "postgres" };
  return {
    server,
    harness,
    directory,
    direct: {
      ...common,
      name: "direct",
      port: server.port,
      user: server.superuser,
      password: server.password,
      caFile: server.caFile,
    },
    proxied: {
      ...common,
      name: "proxied",
      port: harness.port,
      user: "agent",
      password: "guess",
      caFile,
    },
    run: (...statements) => runStatements(server, statements),
    close: async () => {
      await harness.close();
      await server.stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function runStatements(
  server: PostgresServer,
  statements: readonly string[],
): Promise<readonly Record<string, unknown>[]> {
  const client = new pg.Client({
    host: server.host,
    port: server.port,
    user: server.superuser,
    password: server.password,
    database: "postgres",
    ssl: { ca: server.caPem, servername: "localhost" },
  });
  await client.connect();
  try {
    let rows: readonly Record<string, unknown>[] = [];
    for (const statement of statements)
      ({ rows } = await client.query<Record<string, unknown>>(statement));
    return rows;
  } finally {
    await client.end();
  }
}

/** libpq's environment for one way: nothing of the caller's own configuration takes part. */
export function libpqEnvironment(way: Way): Record<string, string> {
  return {
    PGHOST: way.host,
    PGHOSTADDR: "127.0.0.1",
    PGPORT: String(way.port),
    PGUSER: way.user,
    PGPASSWORD: way.password,
    PGDATABASE: way.database,
    PGSSLMODE: "verify-full",
    PGSSLROOTCERT: way.caFile,
    PGSSLCERT: "/nonexistent",
    PGSERVICEFILE: "/nonexistent",
    PGPASSFILE: "/nonexistent",
  };
}

/** The same as one URI, for libpq and what reads its words. */
export function libpqUri(way: Way): string {
  return `postgresql://${way.user}:${way.password}@${way.host}:${way.port}/${way.database}?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert=${encodeURIComponent(way.caFile)}`;
}

export const notes: readonly string[] = [
  "DROP TABLE IF EXISTS notes",
  "CREATE TABLE notes (id int PRIMARY KEY, note text)",
  "INSERT INTO notes VALUES (0, 'zero'), (1, 'one'), (2, NULL)",
];

/** The harness's rules for everything, and what defines objects whose code nobody sees. */
const allowAll = [
  ...everything,
  allow({ statements: ["create", "alter", "drop", "grant", "revoke"] }, "definitions"),
];

/** Lets everything pass that any rule could let pass. */
export function allowEverything(room: ClientRoom): void {
  room.harness.setRules(allowAll);
}

/** Plays the same thing straight and through the proxy, each over fresh tables, and wants one result. */
export async function sameBothWays(
  room: ClientRoom,
  tables: readonly string[],
  play: (way: Way) => Promise<unknown>,
): Promise<unknown> {
  allowEverything(room);
  await room.run(...tables);
  const expected = await play(room.direct);
  await room.run(...tables);
  const seen = await play(room.proxied);
  assert.deepEqual(seen, expected);
  return expected;
}

/** A mask on `people.ssn`, reads allowed, deletion and DROP denied with a message: what every driver is shown of a policy. */
export async function setPolicyScene(room: ClientRoom): Promise<void> {
  await room.run(
    "DROP TABLE IF EXISTS people",
    "CREATE TABLE people (id int, name text, ssn text)",
    "INSERT INTO people VALUES (1, 'Ada', '078-05-1120'), (2, 'Grace', '219-09-9999')",
  );
  room.harness.setRules(
    [
      allow({ statements: ["select", "copy"], relations: ["public.*"] }),
      { ...deny({ statements: ["drop", "delete"] }, "never"), message: denialMessage },
    ],
    {
      columnMasks: [
        {
          column: "public.people.ssn",
          transform: { kind: "partial", keepFirst: 0, keepLast: 4 },
          policy: "agents/invoice-agent",
        },
      ],
    },
  );
}

export const denialMessage = "Ask the data team.";
export const maskedRow = ["Ada", "*******1120"];

/** Names of the scenes that a script has played. */
export function scenesOf(result: unknown): readonly string[] {
  assert.ok(typeof result === "object" && result !== null);
  return Object.keys(result);
}

/** What each driver reports of the policy scene: whatever way it asked the same masked row and denial, and both people still there. */
export function assertPolicyScene(seen: unknown): void {
  assert.ok(typeof seen === "object" && seen !== null && "policy" in seen);
  assert.ok(typeof seen.policy === "object" && seen.policy !== null);
  const reported: Record<string, unknown> = { ...seen.policy };
  const { masked, after: left, ...denials } = reported;
  assert.ok(Array.isArray(masked) && masked.length > 1);
  for (const rows of masked) assert.deepEqual(rows, [maskedRow]);
  assert.ok(Object.keys(denials).length > 0);
  for (const denial of Object.values(denials)) assert.deepEqual(denial, ["42501", denialMessage]);
  assert.equal(left, 2);
}
