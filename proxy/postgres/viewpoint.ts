// From where a look-up sees what the names of the next statement mean: PostgreSQL resolves them by what is committed now and what the session itself
// did, while a query of ours inside REPEATABLE READ or SERIALIZABLE sees the catalog as it was at the transaction's first query.
import type { Exchange } from "./exchange.ts";
import type { Rows } from "./mask-source.ts";

export type Ask = (text: string) => Promise<Rows>;

/** The session's own transaction may hold a lock that a look-up from outside waits for. */
const lockTimeoutMs = 5_000;

export interface Viewpoint {
  /** Asked is a connection of our own beside the session's: what its open transaction did is not seen. */
  readonly beside: boolean;
  /** What is found holds for other sessions as well. */
  readonly shared: boolean;
  readonly look: <T>(asking: (ask: Ask) => Promise<T>) => Promise<T>;
}

/**
 * Nothing may be outstanding, and the caller keeps the client from sending anything meanwhile.
 * @param begun part of a batch is forwarded without its Sync: outside a transaction a query of ours would commit it
 */
export async function viewpointOf(exchange: Exchange, begun: boolean): Promise<Viewpoint> {
  const here: Viewpoint["look"] = (asking) => asking((text) => exchange.ownQuery(text));
  const beside: Viewpoint["look"] = (asking) => lookBeside(exchange, asking);
  if (exchange.halfSent(begun)) {
    if (exchange.changes.uncommitted)
      throw new Error("the pipeline is half sent; send the statement again after Sync");
    return { beside: true, shared: true, look: beside };
  }
  if (exchange.status === "I") return { beside: false, shared: true, look: here };
  // SHOW takes no snapshot, so SET TRANSACTION may still follow.
  const [row] = await exchange.ownQuery("SHOW transaction_isolation");
  return readsCommitted(row?.[0])
    ? { beside: false, shared: !exchange.changes.uncommitted, look: here }
    : { beside: true, shared: true, look: beside };
}

function readsCommitted(isolation: string | null | undefined): boolean {
  return isolation === "read committed" || isolation === "read uncommitted";
}

async function lookBeside<T>(exchange: Exchange, asking: (ask: Ask) => Promise<T>): Promise<T> {
  const aside = await exchange.options.openAside();
  try {
    await aside.ask(`SET lock_timeout = ${lockTimeoutMs}`);
    return await asking((text) => aside.ask(text));
  } finally {
    aside.close();
  }
}
