// The grant itself: a JWT signed by the operator and bound to the proxy's key (RFC 9449 section 6).
import { randomUUID } from "node:crypto";
import { decodeProtectedHeader, errors, jwtVerify } from "jose";
import { podAudience } from "../../contract/control.ts";
import type { PodIdentity } from "../resources.ts";
import type { Binding } from "./bindings.ts";
import { signJws } from "./jws.ts";
import type { SigningKeys } from "./keys.ts";

export const grantIssuer = "chaperone.dev";

/** A grant takes about 900 bytes; Node's header limit is 16 KiB. */
export const maxGrantBytes = 8 * 1024;

/** Replicas' clocks differ a little; a grant must not be refused for being fresh. */
const clockToleranceSeconds = 5;

export interface GrantClaims {
  readonly subject: Pick<PodIdentity, "namespace" | "serviceAccount" | "pod" | "podUid" | "chain">;
  /** `namespace/name`; absent in a pod grant. */
  readonly connection?: string;
  readonly audience: string;
  readonly binding: Binding;
}

export interface SignedGrant {
  readonly token: string;
  readonly id: string;
  readonly expiresAt: number;
}

export function signGrant(
  keys: SigningKeys,
  claims: GrantClaims,
  ttlSeconds: number,
  now: number,
): SignedGrant {
  const { kid, key } = keys.signer();
  const { namespace, serviceAccount, pod, podUid, chain } = claims.subject;
  const id = randomUUID();
  const issuedAt = Math.floor(now / 1000);
  const token = signJws(
    { typ: "at+jwt", kid },
    {
      iss: grantIssuer,
      sub: `${namespace}/${serviceAccount}/${pod}`,
      aud: claims.audience,
      jti: id,
      iat: issuedAt,
      exp: issuedAt + ttlSeconds,
      cnf: { jkt: claims.binding.jkt },
      namespace,
      service_account: serviceAccount,
      pod,
      pod_uid: podUid,
      ...(chain === undefined ? {} : { chain }),
      ...(claims.connection === undefined ? {} : { connection: claims.connection }),
      key_bound_at: claims.binding.boundAt,
      proxy_started_at: claims.binding.startedAt,
    },
    key,
  );
  return { token, id, expiresAt: (issuedAt + ttlSeconds) * 1000 };
}

export interface VerifiedGrant extends GrantClaims {
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

/** Why a presented grant does not count; `reason` is `GrantExpired`, `GrantInvalid` or `GrantWrongAudience`. */
export class GrantInvalid extends Error {
  readonly reason: "GrantExpired" | "GrantInvalid" | "GrantWrongAudience";

  constructor(reason: GrantInvalid["reason"], message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "GrantInvalid";
    this.reason = reason;
  }
}

/** Checks a pod grant: signed by a key of ours, for us, not over. The caller still has to prove that it holds the key. */
export async function verifyPodGrant(
  keys: SigningKeys,
  token: string,
  now: number,
  signal: AbortSignal,
): Promise<VerifiedGrant> {
  if (token.length > maxGrantBytes)
    throw new GrantInvalid("GrantInvalid", `the grant is larger than ${maxGrantBytes} bytes`);
  try {
    const { kid } = decodeProtectedHeader(token);
    const key = kid === undefined ? undefined : await keys.verifier(kid, signal);
    if (key === undefined)
      throw new GrantInvalid(
        "GrantInvalid",
        "the grant is not signed by a key of this operator; exchange the token again",
      );
    const { payload } = await jwtVerify(token, key, {
      algorithms: ["EdDSA"],
      typ: "at+jwt",
      issuer: grantIssuer,
      audience: podAudience,
      clockTolerance: clockToleranceSeconds,
      currentDate: new Date(now),
      requiredClaims: ["exp", "jti", "sub"],
    });
    return readClaims(payload);
  } catch (cause) {
    throw explain(cause);
  }
}

function readClaims(payload: Readonly<Record<string, unknown>>): VerifiedGrant {
  const {
    jti,
    exp,
    namespace,
    service_account,
    pod,
    pod_uid,
    chain,
    cnf,
    key_bound_at,
    proxy_started_at,
  } = payload;
  const jkt = typeof cnf === "object" && cnf !== null && "jkt" in cnf ? cnf.jkt : undefined;
  const texts = [jti, namespace, service_account, pod, pod_uid, jkt];
  const numbers = [exp, key_bound_at, proxy_started_at];
  if (
    texts.some((text) => typeof text !== "string" || text === "") ||
    numbers.some((number) => typeof number !== "number")
  ) {
    throw new GrantInvalid("GrantInvalid", "the grant lacks a claim");
  }
  return {
    id: String(jti),
    expiresAt: Number(exp) * 1000,
    audience: podAudience,
    subject: {
      namespace: String(namespace),
      serviceAccount: String(service_account),
      pod: String(pod),
      podUid: String(pod_uid),
      ...(typeof chain === "string" ? { chain } : {}),
    },
    binding: {
      jkt: String(jkt),
      boundAt: Number(key_bound_at),
      startedAt: Number(proxy_started_at),
    },
  };
}

function explain(cause: unknown): unknown {
  if (cause instanceof errors.JWTExpired)
    return new GrantInvalid("GrantExpired", "the grant has expired; exchange the token again", {
      cause,
    });
  if (cause instanceof errors.JWTClaimValidationFailed && cause.claim === "aud") {
    return new GrantInvalid(
      "GrantWrongAudience",
      `the grant is not a pod grant (audience ${podAudience})`,
      { cause },
    );
  }
  if (cause instanceof errors.JOSEError || cause instanceof TypeError)
    return new GrantInvalid("GrantInvalid", "the grant is not a valid token of this operator", {
      cause,
    });
  return cause;
}
