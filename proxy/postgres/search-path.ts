// The search path that names are resolved by, where the server does not report it (before PostgreSQL 18): code that nobody here has read may have set
// another, so it is asked for behind such code, before anything that names a relation.
import { ProxyError } from "../errors.ts";
import { bounded } from "./bounded.ts";
import type { Exchange } from "./exchange.ts";
import type { Understood } from "./understanding.ts";
import { becomesForeignDialect } from "./upstream.ts";

/** SHOW takes no time; a server that does not answer must not hold the client for ever. */
const checkTimeoutMs = 15_000;

export class SearchPath {
  readonly #reported: boolean;
  #doubtful = false;

  /** @param reported the server says whenever it changes, and the session ends if it does */
  constructor(reported: boolean) {
    this.#reported = reported;
  }

  /** Unread code was sent, and nobody has looked since. */
  get doubtful(): boolean {
    return this.#doubtful;
  }

  /** What stands behind this text waits for its answer, so that the path can be looked at between them. */
  waitsBehind({ runsCode }: Understood): boolean {
    return runsCode && !this.#reported;
  }

  /** Why a text cannot be decided as long as nobody has looked; undefined for nearly all. */
  refuses({ runsCode, operation }: Understood): string | undefined {
    if (this.#reported || !namesRelations(operation)) return undefined;
    if (this.#doubtful)
      return "a function ran before it in this pipeline, and the server (before PostgreSQL 18) does not say whether it changed what names mean; send Sync between them";
    return runsCode && operation.facts.count > 1
      ? "a function and a relation stand in one text, and the server (before PostgreSQL 18) does not say whether the function changed what names mean; send them one by one"
      : undefined;
  }

  /** A text was decided and will be sent. */
  passes(understood: Understood): void {
    if (this.waitsBehind(understood)) this.#doubtful = true;
  }

  looked(): void {
    this.#doubtful = false;
  }
}

function namesRelations({ facts, unrecognised }: Understood["operation"]): boolean {
  return (
    unrecognised !== undefined || facts.relationsRead.length + facts.relationsWritten.length > 0
  );
}

/**
 * The caller keeps the client from sending anything meanwhile.
 *
 * @param begun part of a batch is forwarded without its Sync: a query of ours would commit it
 * @throws ProxyError where names mean something else by now: the session has to end
 */
export async function checkSearchPath(exchange: Exchange, begun: boolean): Promise<void> {
  const { path, connection } = exchange;
  // What the client sent before may take its time.
  await exchange.drained();
  const timer = bounded(checkTimeoutMs);
  try {
    if (exchange.over || !exchange.mayAsk(begun)) return;
    const [row] = await timer.race(exchange.ownQuery("SHOW search_path"));
    if (becomesForeignDialect("search_path", row?.[0] ?? "unknown"))
      throw new ProxyError(
        "UpstreamProtocol",
        `connection ${connection}: a function changed search_path, so SQL would be misread; the session ends`,
      );
    path.looked();
  } finally {
    timer.clear();
  }
}
