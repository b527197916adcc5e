// Who a proxy is: its pod grant, and a proof that it holds the key the grant is bound to (RFC 9449 section 7).
import type { KeyBindings } from "../grants/bindings.ts";
import { ProofRefused, type ProofVerifier } from "../grants/dpop.ts";
import type { SigningKeys } from "../grants/keys.ts";
import type { ReplayCache } from "../grants/replay.ts";
import { GrantInvalid, verifyPodGrant, type VerifiedGrant } from "../grants/token.ts";
import { tooMany, unauthorized } from "./errors.ts";

export interface ProxyAuthentication {
  readonly keys: SigningKeys;
  readonly proofs: ProofVerifier;
  readonly replay: ReplayCache;
  readonly bindings: KeyBindings;
  readonly isGone: (podUid: string) => boolean;
  readonly now: () => number;
}

export interface PresentedRequest {
  readonly method: string;
  /** Without query. */
  readonly path: string;
  readonly authorization: string | undefined;
  readonly proof: string | readonly string[] | undefined;
}

const scheme = /^DPoP +([-A-Za-z0-9._~+/=]+)$/i;

/** Throws ApiError 401. */
export async function authenticateProxy(
  authentication: ProxyAuthentication,
  request: PresentedRequest,
  signal: AbortSignal,
): Promise<VerifiedGrant> {
  const { keys, proofs, replay, bindings, isGone, now } = authentication;
  const [, token] = scheme.exec(request.authorization ?? "") ?? [];
  if (token === undefined)
    throw unauthorized(
      "invalid_token",
      "GrantMissing",
      "send the pod grant as Authorization: DPoP GRANT, with a DPoP proof",
    );
  try {
    const grant = await verifyPodGrant(keys, token, now(), signal);
    const proof = await proofs.verify(request.proof, {
      method: request.method,
      path: request.path,
      grant: token,
    });
    if (proof.jkt !== grant.binding.jkt)
      throw unauthorized(
        "invalid_token",
        "KeyMismatch",
        "the grant is bound to another key than the proof's",
      );
    refuseReplay(replay.use(proof.jkt, proof.jti));
    if (isGone(grant.subject.podUid))
      throw unauthorized(
        "invalid_token",
        "PodNotFound",
        `pod ${grant.subject.namespace}/${grant.subject.pod} is gone`,
      );
    // Also how a replica that just started learns which key speaks for the pod.
    if (!bindings.observe(grant.subject.podUid, grant.binding))
      throw unauthorized(
        "invalid_token",
        "KeyReplaced",
        "another key speaks for this pod; exchange the token again",
      );
    return grant;
  } catch (error) {
    if (error instanceof ProofRefused)
      throw unauthorized(error.code, error.reason, error.message, error);
    if (error instanceof GrantInvalid)
      throw unauthorized("invalid_token", error.reason, error.message, error);
    throw error;
  }
}

function refuseReplay(verdict: ReturnType<ReplayCache["use"]>): void {
  if (verdict === "replayed")
    throw unauthorized(
      "invalid_dpop_proof",
      "ProofReplayed",
      "this DPoP proof was used before; make a new one for every request",
    );
  if (verdict === "too-many")
    throw tooMany("TooManyRequests", "too many requests by this key in a minute; slow down");
}
