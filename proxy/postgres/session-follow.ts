// Brings the database session to what the rules now ask of it, between two client requests.
import type { PreparedBundle } from "../../policy/decide.ts";
import { ProxyError } from "../errors.ts";
import { bounded } from "./bounded.ts";
import type { Exchange } from "./exchange.ts";

/** A SET takes no time; a server that does not answer must not hold the client for ever. */
const followTimeoutMs = 15_000;

/**
 * The caller keeps the client from sending anything meanwhile.
 * @param begun part of a batch is forwarded without its Sync: a query of ours would commit it
 */
export async function followRules(
  exchange: Exchange,
  prepared: PreparedBundle,
  begun: boolean,
): Promise<void> {
  const { settings } = exchange;
  // What the client sent before may take its time.
  await exchange.drained();
  const timer = bounded(followTimeoutMs);
  try {
    if (begun || !exchange.mayAsk(begun)) return;
    await settings.follow(prepared, exchange.status === "I", (text) =>
      timer.race(exchange.ownQuery(text)),
    );
  } catch (error) {
    throw new ProxyError(
      "UpstreamProtocol",
      `connection ${exchange.connection}: the session could not be set to what its policy now says (${error instanceof Error ? error.message : "unknown failure"}); connect again`,
      { cause: error },
    );
  } finally {
    timer.clear();
  }
}
