// The token exchange (RFC 8693 with RFC 9449): a pod's projected token and a proof of its proxy's key in, a grant of minutes out.
import {
  connectionAudience,
  grantTokenType,
  podAudience,
  type ConnectionGrant,
  type Endpoint,
  type Lease,
  type TokenAnswer,
} from "../../contract/control.ts";
import type { Connection } from "../../crds/types.gen.ts";
import type { Bundle } from "../../policy/bundle.ts";
import type { EventBody, EventSubject, EventType } from "../../contract/event.ts";
import { TokenRefused, type IdentityVerifier, type PodIdentity } from "../resources.ts";
import type { Binding, KeyBindings } from "./bindings.ts";
import { ProofRefused, type Proof, type ProofVerifier } from "./dpop.ts";
import { ExchangeRefused, readExchangeForm } from "./exchange-form.ts";
import { refuseExposed } from "./exposed.ts";
import { refuseUnheld } from "./held.ts";
import { endpointOf, govern, type Governed, type Governing } from "./govern.ts";
import type { SigningKeys } from "./keys.ts";
import { buildLease } from "./lease.ts";
import { LeaseRefused } from "./lease-refused.ts";
import type { LiveGrants } from "./live.ts";
import type { Tokens } from "../tokens/tokens.ts";
import type { ReplayCache } from "./replay.ts";
import { readTlsSecrets } from "./tls-secrets.ts";
import { signGrant, type SignedGrant } from "./token.ts";

/** A pod grant opens the stream and ships events, nothing else; it is as short as a connection grant is by default. */
export const podGrantTtlSeconds = 300;

/** Whatever a policy says: no grant outlives the overlap of signing keys or an hour of somebody's mistake. */
export const maxGrantTtlSeconds = 3_600;

/** One TokenReview and two Secret reads at the API server's slowest bearable pace; the proxy itself gives up after 5 s. */
export const exchangeTimeoutMs = 4_500;

/** Pods that are gone; their tokens live on for a minute at most (Kubernetes), their grants for their ttl. */
const maxGonePods = 20_000;

export interface ExchangeRequest {
  /** The form, as sent. */
  readonly body: string;
  readonly proof: string | readonly string[] | undefined;
  readonly method: string;
  readonly path: string;
  readonly peerAddress: string;
}

export interface ExchangeRefusal {
  readonly reason: string;
  readonly message: string;
  readonly peerAddress: string;
  readonly subject?: EventSubject;
  readonly connection?: string;
}

/** Leases that have to be made, and ended with their grant. */
export interface LeaseMaker {
  /** Throws LeaseRefused, or the signal's reason. */
  lease(
    request: {
      readonly connection: Connection;
      readonly bundle: Bundle;
      readonly pod: PodIdentity;
      readonly ttlSeconds: number;
    },
    signal: AbortSignal,
  ): Promise<Lease>;
  end(podUid: string, connection?: string): void;
}

export interface ExchangeOptions extends Governing {
  readonly keys: SigningKeys;
  readonly identity: IdentityVerifier;
  readonly proofs: ProofVerifier;
  readonly replay: ReplayCache;
  readonly bindings: KeyBindings;
  readonly live: LiveGrants;
  /** Makes the roles of `credential.postgresRole`. */
  readonly leases: LeaseMaker;
  /** Fetches the tokens of `credential.oauth2`. */
  readonly tokens: Pick<Tokens, "lease">;
  /** Audit events of the operator's own stream. */
  readonly record: (type: EventType, body: EventBody) => void;
  readonly onRefused: (refusal: ExchangeRefusal) => void;
  /** A container that restarted brought a new key: what the old one held is void. */
  readonly onRebound?: (podUid: string) => void;
  /** A connection grant went out with this connection and bundle. */
  readonly onIssued?: (pod: PodIdentity, connection: Connection, bundle: Bundle) => void;
}

export class TokenExchange {
  readonly #options: ExchangeOptions;
  readonly #gone = new Map<string, number>();

  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  /** Throws ExchangeRefused, after saying so to `onRefused`. */
  async exchange(request: ExchangeRequest, outer: AbortSignal): Promise<TokenAnswer> {
    const signal = AbortSignal.any([outer, AbortSignal.timeout(exchangeTimeoutMs)]);
    const progress: Progress = {};
    try {
      return await this.#steps(request, progress, signal);
    } catch (error) {
      const refused = asRefused(error);
      // A missing nonce is how every proxy begins, not something that went wrong.
      if (refused.error !== "use_dpop_nonce") {
        this.#options.onRefused({
          reason: refused.reason,
          message: refused.message,
          peerAddress: request.peerAddress,
          ...progress,
        });
      }
      throw refused;
    }
  }

  async #steps(
    request: ExchangeRequest,
    progress: Progress,
    signal: AbortSignal,
  ): Promise<TokenAnswer> {
    const { proofs, identity } = this.#options;
    const proof = await proofs.verify(request.proof, {
      method: request.method,
      path: request.path,
    });
    const form = readExchangeForm(request.body);
    if (form.connection !== undefined) progress.connection = form.connection;
    const pod = await identity.verify(form.subjectToken, request.peerAddress, signal);
    progress.subject = subjectOf(pod);
    this.#refuseReplay(proof);
    this.#refuseGone(pod);
    const binding = this.#bind(pod, proof);
    return form.connection === undefined
      ? await this.#podGrant(pod, binding)
      : await this.#connectionGrant(pod, binding, form.connection, signal);
  }

  /** Also for a quarantined pod: it opens no connection, and without it the proxy could neither ship its events nor learn that it is free again. */
  async #podGrant(pod: PodIdentity, binding: Binding): Promise<TokenAnswer> {
    const { keys, now, live } = this.#options;
    const grant = signGrant(
      keys,
      { subject: pod, audience: podAudience, binding },
      podGrantTtlSeconds,
      now(),
    );
    live.add({ ...liveSubject(pod), id: grant.id, policies: [], expiresAt: grant.expiresAt });
    return answer(grant, podGrantTtlSeconds);
  }

  async #connectionGrant(
    pod: PodIdentity,
    binding: Binding,
    name: string,
    signal: AbortSignal,
  ): Promise<TokenAnswer> {
    const { keys, now, live, record } = this.#options;
    if (!pod.connections.includes(name)) {
      throw new ExchangeRefused(
        "invalid_target",
        "ConnectionNotOfPod",
        `pod ${pod.namespace}/${pod.pod} has no connection ${name}; see its annotation chaperone.dev/connections`,
      );
    }
    const governed = allowed(govern(this.#options, pod, pod, name));
    const { connection } = governed;
    refuseExposed(pod, connection);
    refuseUnheld(pod, governed.bundle);
    const { lease, endpoint, expiresAt } = await this.#upstream(pod, governed, signal);
    // Reading the Secrets took time: what was revoked or cut off meanwhile must not slip through.
    const { bundle } = this.#stillAllowed(pod, name);
    refuseUnheld(pod, bundle);
    const ttlSeconds = Math.min(ttlOf(bundle), secondsUntil(expiresAt, now()));
    const { namespace, name: local } = connection.metadata;
    const signed = signGrant(
      keys,
      { subject: pod, connection: name, audience: connectionAudience(namespace, local), binding },
      ttlSeconds,
      now(),
    );
    const grant: ConnectionGrant = {
      id: signed.id,
      connection: { namespace, name: local, protocol: connection.spec.protocol },
      endpoint,
      bundle,
      lease,
      expiresAt: new Date(signed.expiresAt).toISOString(),
    };
    live.add({
      ...liveSubject(pod),
      id: signed.id,
      connection: name,
      bundle: bundle.generation,
      policies: bundle.policies,
      expiresAt: signed.expiresAt,
    });
    this.#options.onIssued?.(pod, connection, bundle);
    record("grant", {
      subject: subjectOf(pod),
      connection: grant.connection,
      grant: { id: grant.id, expiresAt: grant.expiresAt, ...roleOf(connection, lease) },
    });
    return { ...answer(signed, ttlSeconds), grant };
  }

  async #upstream(
    pod: PodIdentity,
    { connection, bundle }: { readonly connection: Connection; readonly bundle: Bundle },
    signal: AbortSignal,
  ): Promise<Upstream> {
    const { view, leases, tokens } = this.#options;
    const readSecret = view.secret.bind(view);
    const endpoint = endpointOf(connection, await readTlsSecrets(connection, readSecret, signal));
    const { postgresRole, oauth2 } = connection.spec.credential ?? {};
    if (oauth2 !== undefined)
      return { endpoint, ...(await tokens.lease(connection, oauth2, readSecret, signal)) };
    const lease =
      postgresRole === undefined
        ? await buildLease(connection, readSecret, signal)
        : await leases.lease({ connection, bundle, pod, ttlSeconds: ttlOf(bundle) }, signal);
    return { lease, endpoint };
  }

  #stillAllowed(pod: PodIdentity, name: string): { readonly bundle: Bundle } {
    try {
      const governed = allowed(govern(this.#options, pod, pod, name));
      this.#refuseGone(pod);
      return governed;
    } catch (error) {
      this.#options.leases.end(pod.podUid, name);
      throw error;
    }
  }

  /** The pod is deleted: nothing is issued to it any more, also when its token is still believed. */
  forgetPod(podUid: string): void {
    const { bindings, live, now, record } = this.#options;
    const oldest = this.#gone.size >= maxGonePods ? this.#gone.keys().next().value : undefined;
    if (oldest !== undefined) this.#gone.delete(oldest);
    this.#gone.set(podUid, now());
    bindings.forgetPod(podUid);
    for (const entry of live.forgetPod(podUid)) {
      if (entry.connection === undefined) continue;
      const { namespace, serviceAccount, pod } = entry;
      record("revoke", {
        subject: { namespace, serviceAccount, pod, podUid },
        grant: {
          id: entry.id,
          expiresAt: new Date(entry.expiresAt).toISOString(),
          reason: "PodGone",
        },
      });
    }
  }

  isGone(podUid: string): boolean {
    return this.#gone.has(podUid);
  }

  #refuseReplay({ jkt, jti }: Proof): void {
    const verdict = this.#options.replay.use(jkt, jti);
    if (verdict === "replayed")
      throw new ExchangeRefused(
        "invalid_dpop_proof",
        "ProofReplayed",
        "this DPoP proof was used before; make a new one for every request",
      );
    if (verdict === "too-many")
      throw new ExchangeRefused(
        "temporarily_unavailable",
        "TooManyRequests",
        "too many requests by this key in a minute; slow down",
      );
  }

  #refuseGone(pod: PodIdentity): void {
    if (this.#gone.has(pod.podUid))
      throw new ExchangeRefused(
        "invalid_request",
        "PodNotFound",
        `pod ${pod.namespace}/${pod.pod} is gone`,
      );
  }

  #bind(pod: PodIdentity, { jkt }: Proof): Binding {
    const verdict = this.#options.bindings.bind(pod.podUid, jkt, pod.proxyStartedAt);
    if ("refused" in verdict) {
      const code =
        verdict.refused === "TooManyPods" ? "temporarily_unavailable" : "invalid_request";
      throw new ExchangeRefused(code, verdict.refused, verdict.message);
    }
    if (verdict.replaced !== undefined) this.#options.onRebound?.(pod.podUid);
    return verdict.bound;
  }
}

interface Upstream {
  readonly lease: Lease;
  readonly endpoint: Endpoint;
  /** Milliseconds since 1970: a lease that ends by itself ends its grant. */
  readonly expiresAt?: number;
}

interface Progress {
  subject?: EventSubject;
  connection?: string;
}

function allowed(governed: Governed): Exclude<Governed, { refused: string }> {
  if ("refused" in governed)
    throw new ExchangeRefused("invalid_target", governed.refused, governed.message);
  return governed;
}

function ttlOf(bundle: Bundle): number {
  return Math.max(1, Math.min(bundle.grantTtlSeconds, maxGrantTtlSeconds));
}

function secondsUntil(at: number | undefined, now: number): number {
  return at === undefined ? Infinity : Math.max(1, Math.floor((at - now) / 1_000));
}

/** The name of a static credential's user is part of the Secret; that of a role made for the grant is news. */
function roleOf({ spec }: Connection, lease: Lease): { readonly role?: string } {
  return spec.credential?.postgresRole !== undefined && lease.kind === "password"
    ? { role: lease.username }
    : {};
}

function answer(grant: SignedGrant, ttlSeconds: number): TokenAnswer {
  return {
    access_token: grant.token,
    issued_token_type: grantTokenType,
    token_type: "DPoP",
    expires_in: ttlSeconds,
  };
}

export function subjectOf(
  pod: Pick<PodIdentity, "namespace" | "serviceAccount" | "pod" | "podUid" | "chain">,
): EventSubject {
  const { namespace, serviceAccount, pod: name, podUid, chain } = pod;
  return {
    namespace,
    serviceAccount,
    pod: name,
    podUid,
    ...(chain === undefined ? {} : { chain }),
  };
}

function liveSubject({ namespace, serviceAccount, pod, podUid }: PodIdentity): {
  namespace: string;
  serviceAccount: string;
  pod: string;
  podUid: string;
} {
  return { namespace, serviceAccount, pod, podUid };
}

/** One place where others' errors become the RFCs'. */
function asRefused(error: unknown): ExchangeRefused {
  if (error instanceof ExchangeRefused) return error;
  if (error instanceof ProofRefused)
    return new ExchangeRefused(error.code, error.reason, error.message, { cause: error });
  if (error instanceof TokenRefused) {
    // RFC 8693 section 2.2.2: an unacceptable subject_token is invalid_request.
    return new ExchangeRefused(
      error.temporary ? "temporarily_unavailable" : "invalid_request",
      error.reason,
      error.message,
      { cause: error },
    );
  }
  if (error instanceof LeaseRefused)
    return new ExchangeRefused(
      error.temporary ? "temporarily_unavailable" : "invalid_target",
      error.reason,
      error.message,
      { cause: error },
    );
  const isTimeout =
    error instanceof Error && (error.name === "TimeoutError" || error.name === "AbortError");
  return new ExchangeRefused(
    "temporarily_unavailable",
    isTimeout ? "Timeout" : "InternalError",
    isTimeout
      ? `the exchange took longer than ${exchangeTimeoutMs} ms`
      : "the exchange failed inside the operator; see its log",
    { cause: error },
  );
}
