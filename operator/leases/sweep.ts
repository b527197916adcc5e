// Looks in every database, from time to time and before the first role of a start, for roles that an earlier process left.
import type { Connection } from "../../crds/types.gen.ts";
import { connectionName } from "../connections/endpoint.ts";
import { LeaseRefused } from "../grants/lease-refused.ts";

/** How long an orphan may stand after its time. */
const intervalMs = 60_000;

/** Databases looked into at one time. */
const workers = 4;

/** One look into one database. */
const timeoutMs = 10_000;

export interface SweepOptions {
  readonly connections: () => Iterable<Connection>;
  /** Throws LeaseRefused. */
  readonly look: (connection: Connection, signal: AbortSignal) => Promise<void>;
  readonly onProblem: (connection: string, error: unknown) => void;
}

export class Sweep {
  readonly #options: SweepOptions;
  /** First looks, by Connection: those that went well, and those under way. */
  readonly #seen = new Map<string, Promise<void>>();
  readonly #problems = new Map<string, LeaseRefused>();
  readonly #timer: NodeJS.Timeout;
  readonly #closing = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: SweepOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.run(), intervalMs);
    this.#timer.unref();
  }

  /** What kept the last look into this Connection's database from going well. */
  problem(connection: string): LeaseRefused | undefined {
    return this.#problems.get(connection);
  }

  /** Every database once. Never rejects. */
  run(): Promise<void> {
    this.#running ??= this.#all().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Resolves once what an earlier process left behind this Connection is known. Throws LeaseRefused, or the signal's reason. */
  async first(connection: Connection, signal: AbortSignal): Promise<void> {
    await orAbort(this.#seen.get(connectionName(connection)) ?? this.#one(connection), signal);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#closing.abort(new Error("shutting down"));
    await this.#running;
  }

  async #all(): Promise<void> {
    const connections = [...this.#options.connections()].filter(
      ({ spec }) => spec.credential?.postgresRole !== undefined,
    );
    const names = new Set(connections.map(connectionName));
    for (const map of [this.#seen, this.#problems])
      for (const name of map.keys()) if (!names.has(name)) map.delete(name);
    const queue = connections.values();
    const worker = async (): Promise<void> => {
      for (const connection of queue) {
        if (this.#closing.signal.aborted) return;
        await this.#one(connection).catch(() => undefined); // it stands in #problems
      }
    };
    await Promise.all(Array.from({ length: workers }, worker));
  }

  #one(connection: Connection): Promise<void> {
    const name = connectionName(connection);
    const looking = this.#look(connection, name);
    if (!this.#seen.has(name)) this.#seen.set(name, looking);
    looking.catch(() => undefined);
    return looking;
  }

  async #look(connection: Connection, name: string): Promise<void> {
    const signal = AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#closing.signal]);
    try {
      await this.#options.look(connection, signal);
      this.#problems.delete(name);
    } catch (error) {
      this.#seen.delete(name);
      if (error instanceof LeaseRefused) this.#problems.set(name, error);
      if (!this.#closing.signal.aborted) this.#options.onProblem(name, error);
      throw error;
    }
  }
}

function orAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
