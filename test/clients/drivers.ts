// The drivers and tools under test, by version: what is installed, and what docs/clients.md says was run.

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
