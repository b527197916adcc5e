// Reads a store that another process may be writing: a read-only connection of its own, in a worker of its own.
import { access, constants } from "node:fs/promises";
import { Kysely } from "kysely";
import { type AuditReader, createAuditReader } from "./queries.ts";
import type { AuditDatabase } from "./schema.ts";
import { sqliteDialect } from "./sqlite-dialect.ts";
import { RemoteSqlite } from "./sqlite-remote.ts";

export interface OpenReader extends AuditReader {
  readonly db: AuditDatabase;
  close(): Promise<void>;
}

/** Throws when there is no such file. What is committed later shows in later answers. */
export async function openReader(file: string): Promise<OpenReader> {
  await access(file, constants.R_OK);
  const open = (): RemoteSqlite => new RemoteSqlite({ file, readOnly: true });
  const db: AuditDatabase = new Kysely({ dialect: sqliteDialect(open, true) });
  return { ...createAuditReader(db), db, close: () => db.destroy() };
}
