// Kysely's SQLite grammar over one connection of `node:sqlite`, wherever that lives: in this thread or in a worker.
import {
  CompiledQuery,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from "kysely";

export interface SqliteConnection extends DatabaseConnection {
  close(): Promise<void>;
}

/** `open` is called once, when the first query comes. */
export function sqliteDialect(open: () => SqliteConnection, readOnly: boolean): Dialect {
  return {
    createDriver: () => new SqliteDriver(open, readOnly),
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createAdapter: () => new SqliteAdapter(),
    createIntrospector: (db) => new SqliteIntrospector(db),
  };
}

/** Kysely hands out the one connection to one user at a time: the adapter says there is only one. */
class SqliteDriver implements Driver {
  readonly #open: () => SqliteConnection;
  readonly #readOnly: boolean;
  #connection: SqliteConnection | undefined;

  constructor(open: () => SqliteConnection, readOnly: boolean) {
    this.#open = open;
    this.#readOnly = readOnly;
  }

  async init(): Promise<void> {
    this.#connection = this.#open();
  }

  async acquireConnection(): Promise<DatabaseConnection> {
    if (this.#connection === undefined) throw new Error("the audit store is not open");
    return this.#connection;
  }

  async beginTransaction(connection: DatabaseConnection): Promise<void> {
    // Immediate: a transaction that reads first and writes later would fail on a lock instead of waiting for it.
    await connection.executeQuery(CompiledQuery.raw(this.#readOnly ? "begin" : "begin immediate"));
  }

  async commitTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw("commit"));
  }

  async rollbackTransaction(connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw("rollback"));
  }

  async releaseConnection(): Promise<void> {
    // There is one connection, and it stays open.
  }

  async destroy(): Promise<void> {
    await this.#connection?.close();
  }
}
