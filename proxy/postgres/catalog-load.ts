// Reads the mask catalog over the session's own upstream connection, between two client requests.
import { ProxyError } from "../errors.ts";
import type { Exchange } from "./exchange.ts";
import type { Rows } from "./mask-source.ts";

/** The catalog of a large database takes well under a second; a server that does not answer must not hold the client for ever. */
const catalogTimeoutMs = 15_000;

/**
 * The caller keeps the client from sending anything meanwhile.
 * @param begun part of a batch is forwarded without its Sync: a query of ours would commit it
 */
export async function loadCatalog(exchange: Exchange, begun: boolean): Promise<void> {
  const { masks } = exchange.options;
  const timer = timeout();
  try {
    await Promise.race([exchange.drained(), timer.expired]);
    if (exchange.status === "E")
      throw new Error("the transaction failed earlier; end it with ROLLBACK first");
    if (begun && exchange.status === "I")
      throw new Error("the pipeline is half sent; send the statement again after Sync");
    const results: Rows[] = [];
    for (const text of masks.queries)
      results.push(await Promise.race([exchange.ownQuery(text), timer.expired]));
    masks.loaded(results);
  } catch (error) {
    throw new ProxyError(
      "MaskNotProvable",
      `connection ${exchange.connection} has masks, and the columns of its database cannot be read now: ${error instanceof Error ? error.message : "unknown failure"}`,
      { cause: error },
    );
  } finally {
    timer.clear();
  }
}

function timeout(): { readonly expired: Promise<never>; readonly clear: () => void } {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error("no answer in time")), catalogTimeoutMs);
  });
  expired.catch(() => undefined);
  return { expired, clear: () => clearTimeout(timer) };
}
