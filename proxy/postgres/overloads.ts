// Functions of `public` under PostgreSQL's own names, as far as this session's database has any: read before its first statement, then once in a while.
import type { FunctionAccess } from "../../policy/operation.ts";
import type { CatalogNames } from "../../policy/sql/catalog-names.ts";
import type { SqlGrammar } from "../../policy/sql/grammar.ts";
import {
  overloadedCalls,
  overloadsFromRows,
  overloadsQuery,
  type Overloads,
} from "../../policy/sql/overloads.ts";
import { ProxyError } from "../errors.ts";
import { bounded } from "./bounded.ts";
import type { Exchange } from "./exchange.ts";
import { LookUps } from "./look-ups.ts";
import type { Rows } from "./mask-source.ts";
import type { Understood } from "./understanding.ts";

/** Others may create functions meanwhile; with masks the catalog is as old. */
const ttlMs = 60_000;
/** Databases a pod talks to. */
const maxDatabases = 16;
/** Texts whose calls are remembered; where a database has no such function nothing is looked at. */
const maxTexts = 1_000;
/** A server that does not answer must not hold the client for ever. */
const timeoutMs = 15_000;

export type CallsOf = (text: string, overloads: Overloads) => readonly FunctionAccess[];

export function createCallsOf(grammar: SqlGrammar, names: CatalogNames): CallsOf {
  return (text, overloads) => overloadedCalls(text, grammar, names, overloads);
}

interface Known {
  readonly overloads: Overloads;
  loadedAt: number;
  readonly calls: Map<string, readonly FunctionAccess[]>;
}

/** By upstream and database, shared by the sessions of a room. */
export class OverloadCache {
  readonly known = new Map<string, Known>();
  readonly lookUps: LookUps;

  constructor(now: () => number) {
    this.lookUps = new LookUps(now);
  }
}

export interface OverloadSourceOptions {
  readonly callsOf: CallsOf;
  readonly cache: OverloadCache;
  readonly key: string;
  readonly now: () => number;
}

const none: readonly FunctionAccess[] = [];

export class OverloadSource {
  readonly #options: OverloadSourceOptions;

  constructor(options: OverloadSourceOptions) {
    this.#options = options;
  }

  get #known(): Known | undefined {
    return this.#options.cache.known.get(this.#options.key);
  }

  /**
   * They were never read, or not since the agent's own DDL, or a while ago.
   * @param idle no transaction is open: behind BEGIN a question of ours would be the query that SET TRANSACTION must precede
   */
  due(idle: boolean): boolean {
    const known = this.#known;
    if (known === undefined || known.loadedAt === Number.NEGATIVE_INFINITY) return true;
    return idle && this.#options.now() - known.loadedAt >= ttlMs;
  }

  /**
   * Reads them by `read`, or waits for another session that is just doing so.
   *
   * @param idle no transaction is open: what is found holds for others as well
   */
  async look(idle: boolean, read: () => Promise<Rows>): Promise<void> {
    const { cache, key } = this.#options;
    if (!idle) this.loaded(await read());
    else
      await cache.lookUps.share(key, async (isOutdated) => {
        this.loaded(await read());
        if (isOutdated()) this.#outdated();
      });
  }

  loaded(rows: Rows): void {
    const { cache, key, now } = this.#options;
    const { known } = cache;
    if (!known.has(key) && known.size >= maxDatabases) {
      for (const oldest of known.keys()) {
        known.delete(oldest);
        break;
      }
    }
    known.set(key, { overloads: overloadsFromRows(rows), loadedAt: now(), calls: new Map() });
  }

  /** The agent's own DDL was forwarded: they are read again before the next statement. */
  stale(): void {
    this.#options.cache.lookUps.outdate(this.#options.key);
    this.#outdated();
  }

  #outdated(): void {
    const known = this.#known;
    if (known !== undefined) known.loadedAt = Number.NEGATIVE_INFINITY;
  }

  /** What a text may run besides what it says; undefined where that is not known. */
  calls({ shape, operation }: Understood): readonly FunctionAccess[] | undefined {
    const known = this.#known;
    if (known === undefined) return undefined;
    const { functions, operators } = known.overloads;
    if (operation.unrecognised !== undefined || functions.size + operators.size === 0) return none;
    const found = known.calls.get(shape);
    if (found !== undefined) return found;
    const calls = this.#options.callsOf(shape, known.overloads);
    if (known.calls.size >= maxTexts) known.calls.clear();
    known.calls.set(shape, calls);
    return calls;
  }
}

/** The caller keeps the client from sending anything meanwhile, and nothing of a batch is half sent. */
export async function loadOverloads(exchange: Exchange): Promise<void> {
  const timer = bounded(timeoutMs);
  try {
    await timer.race(exchange.drained());
    const read = async (): Promise<Rows> => {
      if (exchange.over) throw new Error("the session is over");
      return timer.race(exchange.ownQuery(overloadsQuery));
    };
    await timer.race(exchange.options.overloads.look(exchange.status === "I", read));
  } finally {
    timer.clear();
  }
}

export function overloadsUnknown(connection: string): ProxyError {
  return new ProxyError(
    "UpstreamProtocol",
    `connection ${connection}: the functions of its database could not be read, so nobody can tell what the statement would run; send it again`,
  );
}
