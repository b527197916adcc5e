// Keeps the access token of each Connection with an oauth2 credential: one request at a time, used again while it lives, and what failed is not asked again at once.
import type { Lease } from "../../contract/control.ts";
import type { Connection, OAuth2Credential } from "../../crds/types.gen.ts";
import { connectionName } from "../connections/endpoint.ts";
import { LeaseRefused } from "../grants/lease-refused.ts";
import type { SecretReader } from "../grants/secret-value.ts";
import { readClient, type TokenClient } from "./client.ts";
import type { TokenAccess } from "./endpoint.ts";
import { requestToken, type AccessToken } from "./request.ts";

/** Below the time an exchange may take: a proxy whose exchange gave up finds the token at its next. */
export const tokenTimeoutMs = 4_000;
/** A token with less left is not handed out any more; of a short one, half its life. */
const marginMs = 60_000;
/** Clocks and ways: a grant ends this much before its token. */
const skewMs = 2_000;
/** What is assumed of a token whose server does not say (RFC 6749 section 5.1 only recommends it): the default life of a grant. */
const unsaidLifeMs = 300_000;
/** A shorter one would be over before its grant has reached the proxy. */
const shortestLifeMs = 10_000;
/** However long a token lives: one that was revoked at its server is not used for longer than this and one grant. */
const longestUseMs = 15 * 60_000;
/** A server that fails is not asked again for this long, by however many pods. */
const failureMemoryMs = 5_000;
/** More than a cluster's Connections; beyond it the oldest goes and is asked for again. */
const maxKept = 10_000;

export interface TokensOptions {
  readonly access: TokenAccess;
  readonly now: () => number;
  /** For tests: how a token is asked for. */
  readonly request?: typeof requestToken;
}

export interface TokenLease {
  readonly lease: Lease;
  /** Milliseconds since 1970; no grant may outlive it. */
  readonly expiresAt: number;
}

interface Kept {
  readonly of: string;
  readonly work: Promise<TokenLease>;
  /** Until then `work` is the answer: infinite while it is under way. */
  goodUntil: number;
}

export class Tokens {
  readonly #options: TokensOptions;
  readonly #kept = new Map<string, Kept>();

  constructor(options: TokensOptions) {
    this.#options = options;
  }

  /** Throws LeaseRefused, or the signal's reason. */
  async lease(
    connection: Connection,
    settings: OAuth2Credential,
    readSecret: SecretReader,
    signal: AbortSignal,
  ): Promise<TokenLease> {
    const client = await readClient(connection, settings, readSecret, signal);
    const name = connectionName(connection);
    const known = this.#kept.get(name);
    if (
      known !== undefined &&
      known.of === client.fingerprint &&
      known.goodUntil > this.#options.now()
    )
      return await orAbort(known.work, signal);
    return await orAbort(this.#ask(name, client), signal);
  }

  #ask(name: string, client: TokenClient): Promise<TokenLease> {
    const { access, now, request = requestToken } = this.#options;
    const askedAt = now();
    const work = request(name, client, access, AbortSignal.timeout(tokenTimeoutMs)).then((token) =>
      leaseOf(name, token, askedAt),
    );
    const kept: Kept = { of: client.fingerprint, work, goodUntil: Infinity };
    this.#kept.delete(name);
    this.#kept.set(name, kept);
    work.then(
      ({ expiresAt }) => {
        kept.goodUntil = goodUntil(askedAt, expiresAt);
      },
      () => {
        kept.goodUntil = now() + failureMemoryMs;
      },
    );
    const oldest = this.#kept.size > maxKept ? this.#kept.keys().next().value : undefined;
    if (oldest !== undefined) this.#kept.delete(oldest);
    return work;
  }
}

function leaseOf(name: string, token: AccessToken, askedAt: number): TokenLease {
  const lifeMs = token.livesSeconds === undefined ? unsaidLifeMs : token.livesSeconds * 1_000;
  if (lifeMs < shortestLifeMs)
    throw new LeaseRefused(
      "TokenUnusable",
      `connection ${name}: its token endpoint gives tokens that live for less than ${shortestLifeMs / 1_000} s; let them live longer`,
      { temporary: true },
    );
  return {
    lease: {
      kind: "headers",
      headers: [{ name: "authorization", value: `Bearer ${token.value}` }],
    },
    expiresAt: askedAt + lifeMs - skewMs,
  };
}

function goodUntil(askedAt: number, expiresAt: number): number {
  const margin = Math.min(marginMs, (expiresAt - askedAt) / 2);
  return Math.min(expiresAt - margin, askedAt + longestUseMs);
}

/** Whoever waits gives up by themselves; the work goes on for the others. */
async function orAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
