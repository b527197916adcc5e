// Resolves upstream names by DNS itself. Never through getaddrinfo: a pod's `hostAliases` write our own loopback
// addresses into /etc/hosts of every container, ours too, and getaddrinfo would hand them back.
import { Resolver as Ares } from "node:dns/promises";
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";

import { ProxyError } from "../errors.ts";
import { candidates, parseResolvConf } from "./resolv-conf.ts";
import type { ResolvConf } from "./resolv-conf.ts";

export interface ResolverOptions {
  /** Path of resolv.conf, read again when a look-up finds it older than a few seconds. */
  readonly resolvConf: string;
  /** Local mode: `localhost` is 127.0.0.1. Elsewhere it is refused, as everything on loopback is. */
  readonly allowLocalhost?: boolean;
  /** Instead of the servers of resolv.conf, `address:port`. */
  readonly servers?: readonly string[];
  /** Milliseconds that only go forward. */
  readonly now?: () => number;
}

export interface Resolver {
  /** The addresses of a name, in the order in which to try them; an IP literal is its own address. Throws ProxyError UpstreamUnreachable. */
  resolve(host: string, signal: AbortSignal): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** A pod talks to few names; this bounds what a hostile list of them could hold. */
const cacheEntries = 512;
/** A record may say a day; what moved must be noticed in minutes. */
const maxTtlMs = 300_000;
/** A record with TTL 0 still answers the requests of one burst. */
const minTtlMs = 1_000;
/** A name that is not there yet (a Service being created) must be found soon after it appears. */
const negativeTtlMs = 1_000;
/** How long an address family may be late once the other has answered (RFC 8305 section 3 calls it the resolution delay). */
const lateFamilyMs = 100;
/** One query to one server, and how often each server is asked. c-ares repeats over TCP by itself when an answer is truncated. */
const queryTimeoutMs = 2_000;
const queryTries = 2;
const confAgeMs = 5_000;

interface Found {
  readonly addresses: readonly string[];
  readonly until: number;
  /** Why there are none. */
  readonly failure?: string;
}

interface Records {
  readonly addresses: readonly { readonly address: string; readonly ttl: number }[];
  /** Set when the server did not say, as against saying that there are none. */
  readonly failure?: string;
}

export function createResolver(options: ResolverOptions): Resolver {
  return new DnsResolver(options);
}

class DnsResolver implements Resolver {
  readonly #options: ResolverOptions;
  #ares = newAres();
  readonly #cache = new Map<string, Found>();
  readonly #flying = new Map<string, Promise<Found>>();
  readonly #now: () => number;
  #conf: ResolvConf | undefined;
  #confRead = -Infinity;
  #servers = "";

  constructor(options: ResolverOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  async resolve(host: string, signal: AbortSignal): Promise<readonly string[]> {
    const literal = host.startsWith("[") ? host.slice(1, -1) : host;
    if (isIP(literal) !== 0) return [literal];
    const name = host.toLowerCase();
    if (isLocalhost(name)) {
      if (this.#options.allowLocalhost === true) return ["127.0.0.1"];
      throw new ProxyError(
        "UpstreamUnreachable",
        `The endpoint host ${host} is this pod itself; name the host where the target runs.`,
      );
    }
    const found = this.#cached(name) ?? (await abortable(this.#lookUp(name), signal));
    if (found.failure !== undefined)
      throw new ProxyError(
        "UpstreamUnreachable",
        `The endpoint host ${host} cannot be resolved: ${found.failure}.`,
      );
    return found.addresses;
  }

  async close(): Promise<void> {
    this.#ares.cancel();
    await Promise.allSettled(this.#flying.values());
  }

  #cached(name: string): Found | undefined {
    const found = this.#cache.get(name);
    if (found === undefined || found.until <= this.#now()) return undefined;
    return found;
  }

  /** One look-up a name at a time, whoever asks. */
  #lookUp(name: string): Promise<Found> {
    const flying = this.#flying.get(name);
    if (flying !== undefined) return flying;
    const flight = this.#search(name)
      .then((found) => this.#remember(name, found))
      .finally(() => this.#flying.delete(name));
    this.#flying.set(name, flight);
    return flight;
  }

  #remember(name: string, found: Found): Found {
    this.#cache.delete(name);
    if (this.#cache.size >= cacheEntries) {
      const oldest = this.#cache.keys().next();
      if (oldest.done !== true) this.#cache.delete(oldest.value);
    }
    this.#cache.set(name, found);
    return found;
  }

  async #search(name: string): Promise<Found> {
    const conf = await this.#configuration();
    for (const candidate of candidates(name, conf)) {
      const records = await this.#query(candidate);
      if (records.addresses.length > 0) {
        const ttlMs = Math.min(...records.addresses.map((record) => record.ttl)) * 1_000;
        const until = this.#now() + Math.min(Math.max(ttlMs, minTtlMs), maxTtlMs);
        return { addresses: records.addresses.map((record) => record.address), until };
      }
      // A server that does not answer must not make the next candidate, which may be somebody else's name, the answer.
      if (records.failure !== undefined) return this.#failed(records.failure);
    }
    return this.#failed("no such name");
  }

  #failed(failure: string): Found {
    return { addresses: [], until: this.#now() + negativeTtlMs, failure };
  }

  /** Both families at once; IPv4 first, because a pod without IPv6 is common and one without IPv4 fails at once and moves on. */
  async #query(name: string): Promise<Records> {
    const v4 = settle(this.#ares.resolve4(name, { ttl: true }));
    const v6 = settle(this.#ares.resolve6(name, { ttl: true }));
    const first = await Promise.race([v4, v6]);
    const late = first.addresses.length > 0 ? lateFamilyMs : undefined;
    const [four, six] = await Promise.all([within(v4, late), within(v6, late)]);
    const addresses = interleave(four.addresses, six.addresses);
    const failure = four.failure ?? six.failure;
    return failure === undefined ? { addresses } : { addresses, failure };
  }

  async #configuration(): Promise<ResolvConf> {
    if (this.#conf !== undefined && this.#now() - this.#confRead < confAgeMs) return this.#conf;
    const conf = parseResolvConf(await readFile(this.#options.resolvConf, "utf8").catch(() => ""));
    const servers = this.#options.servers ?? conf.servers;
    // Without any, c-ares keeps those it found by itself. A new one, because servers cannot change under queries in flight.
    if (servers.length > 0 && servers.join() !== this.#servers) {
      this.#servers = servers.join();
      this.#ares = newAres();
      this.#ares.setServers(servers);
    }
    this.#conf = conf;
    this.#confRead = this.#now();
    return conf;
  }
}

function newAres(): Ares {
  return new Ares({ timeout: queryTimeoutMs, tries: queryTries });
}

async function settle(query: Promise<{ address: string; ttl: number }[]>): Promise<Records> {
  try {
    return { addresses: await query };
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (code === "ENOTFOUND" || code === "ENODATA") return { addresses: [] };
    return { addresses: [], failure: reasons[code] ?? `the name servers answered ${code}` };
  }
}

const reasons: Readonly<Record<string, string>> = {
  ETIMEOUT: "the name servers do not answer",
  ECONNREFUSED: "the name servers cannot be reached",
  ESERVFAIL: "the name servers failed (SERVFAIL)",
  EREFUSED: "the name servers refused the query",
  EBADNAME: "it is not a well-formed name",
  ECANCELLED: "the proxy is shutting down",
};

async function within(
  records: Promise<Records>,
  milliseconds: number | undefined,
): Promise<Records> {
  if (milliseconds === undefined) return records;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Records>((resolve) => {
    timer = setTimeout(resolve, milliseconds, { addresses: [] });
  });
  return Promise.race([records, late]).finally(() => clearTimeout(timer));
}

function interleave<T>(first: readonly T[], second: readonly T[]): T[] {
  const result: T[] = [];
  for (let at = 0; at < Math.max(first.length, second.length); at++) {
    result.push(...first.slice(at, at + 1), ...second.slice(at, at + 1));
  }
  return result;
}

function isLocalhost(name: string): boolean {
  const bare = name.endsWith(".") ? name.slice(0, -1) : name;
  return bare === "localhost" || bare.endsWith(".localhost");
}

/** The shared look-up goes on for the others; this caller stops waiting. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) {
      abort();
      return;
    }
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
