// The masks that apply to a session right now: the bundle in force over the catalog of its database, compiled once per pair.
import type { Bundle, DetectMask } from "../../policy/bundle.ts";
import type { Followed } from "../../policy/followed.ts";
import type { MaskCatalog } from "../../policy/mask/catalog.ts";
import type { Relatives } from "../../policy/mask/relatives.ts";
import { ProxyError } from "../errors.ts";
import type { LiveGrant } from "../pipeline.ts";
import { Cursors } from "./cursors.ts";
import type { Execution } from "./execution.ts";
import { LookUps } from "./look-ups.ts";
import type { Masking } from "./masking.ts";
import type { SchemaChanges } from "./schema-changes.ts";

/** A result of one of our own queries, in text form. */
export type Rows = readonly (readonly (string | null)[])[];

/** How masks are compiled and where their catalog comes from. */
export interface MaskEngine {
  /** Sent as they are over the session's own upstream connection. */
  readonly catalogQueries: readonly string[];
  catalog(results: readonly Rows[]): MaskCatalog;
  /** `catalog` is undefined where the bundle has detectors only. */
  masking(bundle: Bundle, catalog: MaskCatalog | undefined): Masking;
  /** What else statements touch by the names they use, as far as these rules may be about it; the same object for the same two. */
  relatives(followed: Followed, catalog: MaskCatalog): Relatives;
}

/** Columns may be renamed by others: an older catalog is read again before the next statement. */
const catalogTtlMs = 60_000;
/** In a pipeline that is half sent it cannot be read: until its Sync, and no longer than this, the older one serves. */
const lateGraceMs = 60_000;
/** A statement that cannot be proven has the catalog read again, but not more often than this. */
const rereadAfterMs = 1_000;
/** Databases a pod talks to; each catalog may hold thousands of columns. */
const maxCatalogs = 16;

interface CachedCatalog {
  readonly catalog: MaskCatalog;
  readonly loadedAt: number;
}

/** Catalogs by upstream and database, shared by the sessions of a room. */
export class CatalogCache {
  readonly #known = new Map<string, CachedCatalog>();
  readonly lookUps: LookUps;

  constructor(now: () => number) {
    this.lookUps = new LookUps(now);
  }

  /** @param late it cannot be read anew just now */
  get(key: string, now: number, late: boolean): CachedCatalog | undefined {
    return lasting(this.#known.get(key), now, late);
  }

  set(key: string, catalog: MaskCatalog, now: number): CachedCatalog {
    if (this.#known.size >= maxCatalogs && !this.#known.has(key)) {
      for (const oldest of this.#known.keys()) {
        this.#known.delete(oldest);
        break;
      }
    }
    const cached = { catalog, loadedAt: now };
    this.#known.set(key, cached);
    return cached;
  }

  drop(key: string): void {
    this.#known.delete(key);
  }
}

function lasting(
  found: CachedCatalog | undefined,
  now: number,
  late: boolean,
): CachedCatalog | undefined {
  const lastsMs = late ? catalogTtlMs + lateGraceMs : catalogTtlMs;
  return found !== undefined && now - found.loadedAt < lastsMs ? found : undefined;
}

/** Of what is about to be read, and for whom. */
export interface LookUpUse {
  /** Another session's look-up that has just begun would find the same. */
  readonly joins: boolean;
  /** What is found holds for other sessions as well; else for the rest of this session's transaction. */
  readonly shared: boolean;
}

export interface MaskSourceOptions {
  readonly engine: MaskEngine;
  readonly cache: CatalogCache;
  /** Upstream and database: catalogs of different ones never mix. */
  readonly key: string;
  readonly current: () => LiveGrant | undefined;
  /** Those masks of a bundle that apply now; the same object while the same ones do. */
  readonly masksNow: (masks: readonly DetectMask[]) => readonly DetectMask[];
  readonly now: () => number;
  readonly changes: SchemaChanges;
}

export class MaskSource {
  readonly #options: MaskSourceOptions;
  #bundle: Bundle | undefined;
  #catalog: CachedCatalog | undefined;
  #masking: Masking | undefined;
  #detectMasks: readonly DetectMask[] | undefined;
  /** Seen by the open transaction alone. */
  #within: CachedCatalog | undefined;
  /** Of `changes` when the catalog was last read: what others have read before the agent's own DDL does not count. */
  #epoch = 0;
  readonly cursors = new Cursors();

  constructor(options: MaskSourceOptions) {
    this.#options = options;
  }

  get #rereads(): boolean {
    return this.#epoch !== this.#options.changes.epoch;
  }

  #known(late: boolean): CachedCatalog | undefined {
    const { cache, key, now } = this.#options;
    if (this.#rereads) return undefined;
    const within = this.#within;
    return within === undefined
      ? cache.get(key, now(), late)
      : (lasting(within, now(), late) ?? cache.get(key, now(), late));
  }

  get #current(): Bundle | undefined {
    return this.#options.current()?.bundle ?? this.#bundle;
  }

  /** Any mask applies: what the server says beside rows is told without values. */
  get active(): boolean {
    const bundle = this.#current;
    return bundle !== undefined && (bundle.columnMasks.length > 0 || bundle.detectMasks.length > 0);
  }

  /** Detectors look at every text that is shown. */
  get detects(): boolean {
    return (this.#current?.detectMasks.length ?? 0) > 0;
  }

  /**
   * The masks for this bundle; `load` when the catalog has to be read first.
   * @param late it cannot be read just now
   */
  for(bundle: Bundle, late: boolean): Masking | "load" | undefined {
    const columns = bundle.columnMasks.length > 0;
    const detectMasks = this.#options.masksNow(bundle.detectMasks);
    if (!columns && detectMasks.length === 0) {
      this.#bundle = bundle;
      return undefined;
    }
    const { engine } = this.#options;
    const catalog = columns ? this.#known(late) : undefined;
    if (columns && catalog === undefined) return "load";
    if (
      this.#masking === undefined ||
      this.#bundle?.generation !== bundle.generation ||
      this.#detectMasks !== detectMasks ||
      this.#catalog !== catalog
    ) {
      this.#masking = compile(engine, { ...bundle, detectMasks }, catalog?.catalog);
      this.#detectMasks = detectMasks;
      this.#catalog = catalog;
    }
    this.#bundle = bundle;
    return this.#masking;
  }

  /**
   * What relations stand for under these rules; `load` when the catalog has to be read first, undefined where no rule asks.
   * @param late it cannot be read just now
   */
  relatives({ prepared: { followed } }: LiveGrant, late: boolean): Relatives | "load" | undefined {
    if (followed === undefined) return undefined;
    const known = this.#known(late);
    return known === undefined ? "load" : this.#options.engine.relatives(followed, known.catalog);
  }

  /** The catalog in use was read a while ago: what it does not know may exist by now. */
  mayBeOld(): boolean {
    return this.#isOld(this.#catalog);
  }

  /** The same of the one that relations are looked up in. */
  relativesMayBeOld(): boolean {
    return this.#isOld(this.#known(true));
  }

  #isOld(catalog: CachedCatalog | undefined): boolean {
    return catalog !== undefined && this.#options.now() - catalog.loadedAt > rereadAfterMs;
  }

  get queries(): readonly string[] {
    return this.#options.engine.catalogQueries;
  }

  /**
   * Reads the catalog by `read`, or waits for another session that is just doing so.
   */
  async look({ joins, shared }: LookUpUse, read: () => Promise<readonly Rows[]>): Promise<void> {
    const { cache, key } = this.#options;
    const keep = async (): Promise<void> => this.loaded(await read(), shared);
    if (joins && !this.#rereads) await cache.lookUps.share(key, keep);
    else await keep();
  }

  loaded(results: readonly Rows[], shared: boolean): void {
    const { engine, cache, key, now, changes } = this.#options;
    const catalog = engine.catalog(results);
    this.#within = shared ? undefined : { catalog, loadedAt: now() };
    if (shared) cache.set(key, catalog, now());
    this.#epoch = changes.epoch;
  }

  /** The catalog may no longer tell the truth: it is read again, by whichever session is first. */
  stale(): void {
    this.#within = undefined;
    this.#options.cache.drop(this.#options.key);
  }

  sent(execution: Execution): void {
    const { understood } = execution;
    const declares = execution.masking?.declares(understood);
    if (declares === undefined) {
      if (mayOpenCursors(understood)) this.cursors.openedUnseen();
    } else for (const name of declares) this.cursors.declared(name, understood.shape);
  }

  /** The agent's own DDL is done, or committed. */
  outdated(): void {
    this.stale();
    // Nor does what somebody began to read before.
    this.#options.cache.lookUps.outdate(this.#options.key);
  }
}

/** By DECLARE, wherever it stands in the text, or in code that nobody here has read. */
function mayOpenCursors({ text, runsCode, changesNames }: Execution["understood"]): boolean {
  return runsCode || (changesNames && /\bdeclare\b/i.test(text));
}

/** A mask that this version cannot apply must not be skipped: the session ends with a sentence. */
function compile(engine: MaskEngine, bundle: Bundle, catalog: MaskCatalog | undefined): Masking {
  try {
    return engine.masking(bundle, catalog);
  } catch (error) {
    const { namespace, name } = bundle.connection;
    throw new ProxyError(
      "ProxyTooOld",
      `the masks of connection ${namespace}/${name} cannot be applied by this proxy: ${error instanceof Error ? error.message : "unknown failure"}`,
      { cause: error },
    );
  }
}
