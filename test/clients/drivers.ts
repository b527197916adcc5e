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
