// The drivers and tools under test, by version: what is installed, and what docs/clients.md says was run.

/** psql, pg_dump and pgbench. */
export const programsVersion = "18.6";
/** As in pgx/go.mod. */
export const pgxVersion = "5.13.0";

/** Drivers, SQLAlchemy and LangChain, installed together once. */
export const pythonDrivers: readonly string[] = [
  "psycopg[binary]==3.3.9",
  "psycopg2-binary==2.9.13",
  "asyncpg==0.32.0",
  "pg8000==1.31.6",
  "SQLAlchemy[asyncio]==2.1.9",
  "langchain-community==0.4.2",
];

export const nodeDrivers: readonly string[] = [
  "pg@8.23.1",
  "pg-cursor@2.22.1",
  "pg-query-stream@4.17.0",
  "pg-copy-streams@7.0.0",
  "postgres@3.4.9",
  "drizzle-orm@0.45.4",
];

export const javaDriver = "org.postgresql:postgresql:42.7.14";

export interface Client {
  readonly name: string;
  readonly version: string;
  /** In words for docs/clients.md. */
  readonly played: string;
}

/** The version that a list of requirements names for a package. */
function versionIn(requirements: readonly string[], name: string): string {
  for (const requirement of requirements) {
    const [, found, version] = /^([^@=[]+)(?:\[\w+\])?(?:@|==)(.+)$/.exec(requirement) ?? [];
    if (found === name && version !== undefined) return version;
  }
  throw new Error(`no version of ${name} is listed`);
}

const python = (name: string): string => versionIn(pythonDrivers, name);
const node = (name: string): string => versionIn(nodeDrivers, name);

export const clients: readonly Client[] = [
  {
    name: "psql",
    version: programsVersion,
    played:
      "a session of 130 commands: `\\d` and its kin, `\\copy` both ways, `\\bind`, `\\parse`, `\\gdesc`, `\\gexec`, pipelines, cursors, PREPARE and EXECUTE, errors; ctrl-C at a terminal, in and out of a transaction",
  },
  {
    name: "pg_dump, pg_restore",
    version: programsVersion,
    played:
      "dumps as SQL, as inserts, definitions or rows only, one table; a directory by two jobs on one snapshot and its restore; a script played by psql; one schema under rules for it alone",
  },
  {
    name: "pg_receivewal, pg_recvlogical, pg_basebackup",
    version: programsVersion,
    played:
      "the log from a slot, decoded changes from a slot, a backup with its log that pg_verifybackup accepts; psycopg2's replication connections beside them; each refused where no rule names replication",
  },
  {
    name: "pgbench",
    version: programsVersion,
    played: "`-M simple`, `extended`, `prepared`; a script with pipelines; eight clients",
  },
  {
    name: "psycopg 3",
    version: python("psycopg"),
    played:
      "types in text and binary, prepared statements, `executemany`, transactions, pipelines, server cursors, COPY, AsyncConnection, cancel, notifications",
  },
  {
    name: "psycopg2",
    version: python("psycopg2-binary"),
    played:
      "types, server cursors (also WITH HOLD), COPY, two-phase commit, asynchronous mode, cancel, notices and notifications, startup options",
  },
  {
    name: "asyncpg",
    version: python("asyncpg"),
    played:
      "binary types and the database's own, prepared statements, cursors, COPY of records, queries and tables, pools, listeners, timeout and cancel, server settings",
  },
  {
    name: "pg8000",
    version: python("pg8000"),
    played: "native and DB-API: types, prepared statements, COPY, transactions, notifications",
  },
  {
    name: "SQLAlchemy",
    version: python("SQLAlchemy"),
    played:
      "over psycopg, psycopg2, pg8000 and asyncpg: reflection of everything, an ORM round trip",
  },
  {
    name: "LangChain `SQLDatabase` and toolkit (langchain-community)",
    version: python("langchain-community"),
    played:
      "`get_usable_table_names`, `get_table_info`, `run`, a schema of its own, the toolkit's four tools; over psycopg2 and psycopg 3",
  },
  {
    name: "pg (node-postgres)",
    version: node("pg"),
    played:
      "types in text and binary, named statements, pools, pipelining, cancel, notifications; pg-cursor, pg-query-stream, pg-copy-streams",
  },
  {
    name: "postgres (porsager)",
    version: node("postgres"),
    played:
      "types, fragments, pipelining, transactions, cursors, COPY, describe, cancel, notifications, without preparing",
  },
  {
    name: "Drizzle",
    version: node("drizzle-orm"),
    played: "over pg and postgres: inserts, relational queries, prepared queries, transactions",
  },
  {
    name: "pgx",
    version: pgxVersion,
    played:
      "queries, failures and batches in all five query modes; CopyFrom and CopyTo, pipelines, pools, cancel by context, notifications",
  },
  {
    name: "pgjdbc",
    version: javaDriver.split(":")[2] ?? "",
    played:
      "all four query modes, server-side prepare threshold, fetch size, batches (also rewritten), COPY API, autosave, metadata, cancel and query timeout, notifications, connection properties",
  },
];

/** Names of the clients as the tests before PostgreSQL 14 to 17 know them. */
export type OlderClient =
  | "psql"
  | "pg_dump"
  | "pgbench"
  | "psycopg"
  | "psycopg2"
  | "asyncpg"
  | "pg8000"
  | "sqlalchemy"
  | "langchain"
  | "pg"
  | "postgres"
  | "drizzle"
  | "pgx"
  | "pgjdbc";

export interface OlderScenes {
  readonly client: OlderClient;
  /** None: all that the client has. */
  readonly scenes: readonly string[];
  /** How many results that gives. */
  readonly results: number;
}

/** What is played before PostgreSQL 14 to 17: everything, but for two that bring the same queries over several drivers. */
export const olderScenes: readonly OlderScenes[] = [
  { client: "psql", scenes: [], results: 5 },
  { client: "pg_dump", scenes: [], results: 3 },
  { client: "pgbench", scenes: [], results: 3 },
  { client: "psycopg", scenes: [], results: 16 },
  { client: "psycopg2", scenes: [], results: 15 },
  { client: "asyncpg", scenes: [], results: 13 },
  { client: "pg8000", scenes: [], results: 9 },
  { client: "sqlalchemy", scenes: ["over_psycopg"], results: 1 },
  {
    client: "langchain",
    scenes: ["psycopg2_look_ups", "run_statements", "toolkit"],
    results: 3,
  },
  { client: "pg", scenes: [], results: 12 },
  { client: "postgres", scenes: [], results: 11 },
  { client: "drizzle", scenes: [], results: 2 },
  { client: "pgx", scenes: [], results: 10 },
  { client: "pgjdbc", scenes: [], results: 11 },
];

/** The subset in words for docs/clients.md. */
export const olderInWords =
  "all but replication; of SQLAlchemy the scene over psycopg 3, of LangChain look-ups and tools over psycopg2 and statements over both; masks and denials with asyncpg, pg and pgx";
