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
import { freshForMs, printOf } from "./freshness.ts";
import { LookUps } from "./look-ups.ts";
import type { LookUpUse, Rows } from "./mask-source.ts";
import type { SchemaChanges } from "./schema-changes.ts";
import type { Understood } from "./understanding.ts";
import { viewpointOf } from "./viewpoint.ts";

/** Databases a pod talks to. */
const maxDatabases = 16;
/** Texts whose calls are remembered; where a database has no such function nothing is looked at. */
const maxTexts = 1_000;
/** Longer texts are rarely sent twice. */
const maxRememberedText = 4 * 1024;
/** A server that does not answer must not hold the client for ever. */
const timeoutMs = 15_000;

export type CallsOf = (text: string, overloads: Overloads) => readonly FunctionAccess[];

export function createCallsOf(grammar: SqlGrammar, names: CatalogNames): CallsOf {
  return (text, overloads) => overloadedCalls(text, grammar, names, overloads);
}

interface Known {
  readonly overloads: Overloads;
  readonly print: string;
  loadedAt: number;
  /** Others may create functions meanwhile; with masks the catalog is as old. */
  readonly freshForMs: number;
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
  readonly changes: SchemaChanges;
}

const none: readonly FunctionAccess[] = [];

export class OverloadSource {
  readonly #options: OverloadSourceOptions;
  /** Seen by the open transaction alone. */
  #within: Known | undefined;
  /** Of `changes` when they were last read. */
  #epoch = 0;

  constructor(options: OverloadSourceOptions) {
    this.#options = options;
  }

  /** What this session goes by; undefined where it has to read them first. */
  get #known(): Known | undefined {
    const { changes, cache, key } = this.#options;
    if (this.#epoch !== changes.functionsEpoch) return undefined;
    return this.#within ?? cache.known.get(key);
  }

  /**
   * They were never read, or not since the agent's own DDL, or a while ago.
   * @param asks some statement is about to run: a question of ours before SET TRANSACTION would make that fail
   */
  due(asks: boolean): boolean {
    const known = this.#known;
    if (known === undefined || known.loadedAt === Number.NEGATIVE_INFINITY) return true;
    return asks && this.#options.now() - known.loadedAt >= known.freshForMs;
  }

  /** Reads them by `read`, or waits for another session that is just doing so. */
  async look({ joins, shared }: LookUpUse, read: () => Promise<Rows>): Promise<void> {
    const { cache, key, changes, now } = this.#options;
    const keep = async (): Promise<void> => {
      const begunAt = now();
      const rows = await read();
      this.loaded(rows, shared, now() - begunAt);
    };
    if (!joins || this.#epoch !== changes.functionsEpoch) await keep();
    else
      await cache.lookUps.share(key, async (isOutdated) => {
        await keep();
        if (isOutdated()) this.#outdated();
      });
  }

  loaded(rows: Rows, shared: boolean, tookMs: number): void {
    const { cache, key, now, changes } = this.#options;
    const print = printOf([rows]);
    const last = this.#within ?? cache.known.get(key);
    const { overloads, calls } =
      last?.print === print
        ? last
        : {
            overloads: overloadsFromRows(rows),
            calls: new Map<string, readonly FunctionAccess[]>(),
          };
    const found = { overloads, calls, print, loadedAt: now(), freshForMs: freshForMs(tookMs) };
    this.#epoch = changes.functionsEpoch;
    this.#within = shared ? undefined : found;
    if (!shared) return;
    const { known } = cache;
    if (!known.has(key) && known.size >= maxDatabases) {
      for (const oldest of known.keys()) {
        known.delete(oldest);
        break;
      }
    }
    known.set(key, found);
  }

  /** The agent's own DDL is done, or committed: every session reads them again before its next statement. */
  outdated(): void {
    this.#within = undefined;
    this.#options.cache.lookUps.outdate(this.#options.key);
    this.#outdated();
  }

  #outdated(): void {
    const known = this.#options.cache.known.get(this.#options.key);
    if (known !== undefined) known.loadedAt = Number.NEGATIVE_INFINITY;
  }

  /** What a text may run besides what it says; undefined where that is not known. */
  calls({ shape, operation, addsFunctions }: Understood): readonly FunctionAccess[] | undefined {
    const known = this.#known;
    if (known === undefined) return undefined;
    const { functions, operators } = known.overloads;
    if (operation.unrecognised !== undefined) return none;
    if (functions.size + operators.size === 0 && !addsFunctions) return none;
    const found = known.calls.get(shape);
    if (found !== undefined) return found;
    const calls = this.#options.callsOf(shape, known.overloads);
    if (shape.length > maxRememberedText) return calls;
    if (known.calls.size >= maxTexts) known.calls.clear();
    known.calls.set(shape, calls);
    return calls;
  }
}

/**
 * The caller keeps the client from sending anything meanwhile.
 * @param begun part of a batch is forwarded without its Sync
 */
export async function loadOverloads(exchange: Exchange, begun: boolean): Promise<void> {
  // What the client sent before may take its time.
  await exchange.drained();
  const timer = bounded(timeoutMs);
  try {
    if (exchange.status === "E") throw new Error("the transaction failed earlier");
    const { options, changes } = exchange;
    const { beside, shared, look } = await timer.race(viewpointOf(exchange, begun));
    // Of what only the transaction sees, the names count beside those that others see: more need a rule, never fewer.
    const ownToo = beside && changes.uncommitted;
    const read = async (): Promise<Rows> => {
      if (exchange.over) throw new Error("the session is over");
      const rows = await timer.race(look((ask) => ask(overloadsQuery)));
      return ownToo ? [...rows, ...(await timer.race(exchange.ownQuery(overloadsQuery)))] : rows;
    };
    const joins = (beside && !ownToo) || exchange.status === "I";
    await timer.race(options.overloads.look({ joins, shared: shared && !ownToo }, read));
    if (!shared || ownToo) changes.foundWithin();
  } finally {
    timer.clear();
  }
}

/** @param halfSent what stands before it in its pipeline may have made functions, and nothing can be asked before its Sync */
export function overloadsUnknown(connection: string, halfSent: boolean): ProxyError {
  if (halfSent)
    return new ProxyError(
      "NotSupported",
      `connection ${connection}: what stands before it in this pipeline may change which functions it runs, which can be read only behind a Sync; send Sync between them`,
    );
  return new ProxyError(
    "UpstreamProtocol",
    `connection ${connection}: the functions of its database could not be read, so nobody can tell what the statement would run; send it again`,
  );
}
