// Reads the catalog that masks and rules about relations go by, over the session's own upstream connection, between two client requests.
import { ProxyError } from "../errors.ts";
import { bounded } from "./bounded.ts";
import type { Exchange } from "./exchange.ts";
import type { Rows } from "./mask-source.ts";
import { viewpointOf } from "./viewpoint.ts";

/** The catalog of a large database takes well under a second; a server that does not answer must not hold the client for ever. */
const catalogTimeoutMs = 15_000;

/**
 * The caller keeps the client from sending anything meanwhile.
 * @param begun part of a batch is forwarded without its Sync: a query of ours would commit it
 */
export async function loadCatalog(exchange: Exchange, begun: boolean): Promise<void> {
  const { masks } = exchange.options;
  // What the client sent before may take its time.
  await exchange.drained();
  const timer = bounded(catalogTimeoutMs);
  try {
    if (exchange.status === "E")
      throw new Error("the transaction failed earlier; end it with ROLLBACK first");
    const { beside, shared, look } = await timer.race(viewpointOf(exchange, begun));
    const { changes } = exchange;
    if (beside && changes.changed)
      throw new Error(
        "this transaction changed the schema, and at its isolation level it does not see what others changed meanwhile; end it with COMMIT first, or use READ COMMITTED",
      );
    const read = (): Promise<readonly Rows[]> =>
      look(async (ask) => {
        const results: Rows[] = [];
        for (const text of masks.queries) {
          if (exchange.over) throw new Error("the session is over");
          results.push(await timer.race(ask(text)));
        }
        return results;
      });
    const joins = beside || exchange.status === "I";
    await timer.race(masks.look({ joins, shared }, read));
    if (!shared) changes.foundWithin();
  } catch (error) {
    const why = error instanceof Error ? error.message : "unknown failure";
    throw isForMasks(exchange)
      ? new ProxyError(
          "MaskNotProvable",
          `connection ${exchange.connection} has masks, and the columns of its database cannot be read now: ${why}`,
          { cause: error },
        )
      : new ProxyError(
          "Denied",
          `rules name relations, and what partitions, children and views the database has cannot be read now: ${why}`,
          { cause: error },
        );
  } finally {
    timer.clear();
  }
}

function isForMasks({ options: { gate } }: Exchange): boolean {
  return (gate.current()?.bundle.columnMasks.length ?? 0) > 0;
}
