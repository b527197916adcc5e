// The first look at a projected token: signature, issuer, audience and time, with the API server's published keys and without asking it.
import { createLocalJWKSet, errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from "jose";
import { podAudience } from "../../contract/control.ts";
import { TokenRefused } from "../resources.ts";
import type { KubeClient } from "./client.ts";
import { fieldAt, isJsonObject, listAt, textAt } from "./objects.ts";
import { ProvenTokens } from "./proven-tokens.ts";

/** Keys of the API server change when somebody rotates them by hand; a token with an unknown key makes us look again, this often at most. */
const reloadIntervalMs = 5_000;

/** Also a removed key stops to count after this. */
const keysTtlMs = 10 * 60_000;

/** Nodes and API server are synchronised; a token is dated a moment before we see it. */
const clockToleranceSeconds = 10;

/** What the token says about itself; only TokenReview says that it still holds. */
export interface PodClaims {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
  readonly podUid: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

interface Issuer {
  readonly issuer: string;
  readonly keys: JWTVerifyGetKey;
  readonly at: number;
}

export class TokenClaims {
  readonly #client: KubeClient;
  readonly #now: () => number;
  readonly #proven: ProvenTokens<PodClaims>;
  #issuer: Issuer | undefined;
  #loading: Promise<Issuer> | undefined;

  constructor(client: KubeClient, now: () => number) {
    this.#client = client;
    this.#now = now;
    this.#proven = new ProvenTokens(now);
  }

  /** Throws TokenRefused. */
  async read(token: string, signal: AbortSignal): Promise<PodClaims> {
    const known = this.#proven.get(token);
    if (known !== undefined) return known;
    const claims = podClaims(
      await this.#verify(token, await this.#keys(keysTtlMs, signal), signal),
    );
    this.#proven.add(token, claims, claims.expiresAt);
    return claims;
  }

  async #verify(token: string, issuer: Issuer, signal: AbortSignal): Promise<JWTPayload> {
    try {
      return (
        await jwtVerify(token, issuer.keys, {
          issuer: issuer.issuer,
          audience: podAudience,
          clockTolerance: clockToleranceSeconds,
          currentDate: new Date(this.#now()),
          requiredClaims: ["exp", "sub"],
        })
      ).payload;
    } catch (error) {
      if (error instanceof errors.JWKSNoMatchingKey) {
        const newer = await this.#keys(reloadIntervalMs, signal);
        if (newer !== issuer) return await this.#verify(token, newer, signal);
      }
      throw refusal(error);
    }
  }

  async #keys(maxAgeMs: number, signal: AbortSignal): Promise<Issuer> {
    const known = this.#issuer;
    if (known !== undefined && this.#now() - known.at < maxAgeMs) return known;
    this.#loading ??= this.#load(signal).finally(() => (this.#loading = undefined));
    try {
      return await this.#loading;
    } catch (cause) {
      // The API server is away: what it published minutes ago still tells a forged token from a real one.
      if (known !== undefined) return known;
      throw new TokenRefused(
        "IssuerUnavailable",
        "the API server's token keys cannot be read at the moment",
        { cause, temporary: true },
      );
    }
  }

  async #load(signal: AbortSignal): Promise<Issuer> {
    const about = await this.#client.call(
      { method: "GET", path: "/.well-known/openid-configuration" },
      signal,
    );
    const keys = await this.#client.call({ method: "GET", path: "/openid/v1/jwks" }, signal);
    const issuer = textAt(about, "issuer");
    if (issuer === undefined || !isJsonObject(keys))
      throw new Error("the API server publishes no issuer or no keys");
    this.#issuer = {
      issuer,
      keys: createLocalJWKSet({ keys: listAt(keys, "keys").filter(isJsonObject) }),
      at: this.#now(),
    };
    return this.#issuer;
  }
}

/** Kubernetes' own private claim. */
function podClaims(payload: JWTPayload): PodClaims {
  const bound = payload["kubernetes.io"];
  const namespace = textAt(bound, "namespace");
  const serviceAccount = textAt(bound, "serviceaccount", "name");
  const pod = textAt(bound, "pod", "name");
  const podUid = textAt(bound, "pod", "uid");
  if (
    namespace === undefined ||
    serviceAccount === undefined ||
    fieldAt(payload, "sub") !== `system:serviceaccount:${namespace}:${serviceAccount}`
  ) {
    throw new TokenRefused("NotServiceAccount", "the token is not one of a service account");
  }
  if (pod === undefined || podUid === undefined) {
    throw new TokenRefused(
      "NotPodBound",
      `the token of ${namespace}/${serviceAccount} is bound to no pod; only a projected volume gives one that is`,
    );
  }
  return { namespace, serviceAccount, pod, podUid, expiresAt: (payload.exp ?? 0) * 1000 };
}

function refusal(error: unknown): TokenRefused {
  if (error instanceof TokenRefused) return error;
  if (error instanceof errors.JWTExpired)
    return new TokenRefused(
      "TokenExpired",
      "the token has expired; read the file again, the kubelet renews it",
      { cause: error },
    );
  if (error instanceof errors.JWTClaimValidationFailed) return claimRefusal(error);
  if (
    error instanceof errors.JWSSignatureVerificationFailed ||
    error instanceof errors.JWKSNoMatchingKey
  ) {
    return new TokenRefused(
      "TokenSignature",
      "the token is not signed by this cluster's API server",
      { cause: error },
    );
  }
  if (error instanceof errors.JOSEError)
    return new TokenRefused("TokenMalformed", "the subject token is not a JWT", { cause: error });
  return new TokenRefused("TokenUnverified", "the token could not be verified", {
    cause: error,
    temporary: true,
  });
}

function claimRefusal(error: errors.JWTClaimValidationFailed): TokenRefused {
  if (error.claim === "aud")
    return new TokenRefused("WrongAudience", `the token is not for audience ${podAudience}`, {
      cause: error,
    });
  if (error.claim === "iss")
    return new TokenRefused("WrongIssuer", "the token is not of this cluster's issuer", {
      cause: error,
    });
  if (error.claim === "nbf")
    return new TokenRefused("TokenNotYetValid", "the token is not valid yet; check the clocks", {
      cause: error,
    });
  return new TokenRefused("TokenClaims", `the token's claim ${error.claim} is not as it must be`, {
    cause: error,
  });
}
