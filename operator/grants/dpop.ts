// Checks a DPoP proof (RFC 9449 section 4.3): that whoever sends this request holds the key it names, now, and for this request only.
import { createHash, createPublicKey, timingSafeEqual, type KeyObject } from "node:crypto";
import { calculateJwkThumbprint, type JWK } from "jose";
import {
  parseCompactJws,
  parseObject,
  verifyJws,
  type CompactJws,
  type JwsAlgorithm,
} from "./jws.ts";
import type { Nonces } from "./nonces.ts";

export const proofAlgorithms: readonly JwsAlgorithm[] = ["ES256", "EdDSA"];

/** Clocks of nodes differ by seconds at most; RFC 9449 section 11.1 asks for a window of seconds or minutes. */
export const proofWindowSeconds = 60;

/** A proof takes about 500 bytes. */
export const maxProofBytes = 4_096;

/** Ours are 22 characters; others' may be UUIDs. */
const maxJtiLength = 128;

/** Imported keys of recent callers, so that a busy one does not pay the import each time; one entry is under 1 KiB. */
const maxCachedKeys = 10_000;

export interface ProofExpectation {
  readonly method: string;
  /** Path of the request without query. */
  readonly path: string;
  /** Grant that the request carries; its hash must stand in `ath`. */
  readonly grant?: string;
}

export interface Proof {
  /** RFC 7638 thumbprint of the caller's key. */
  readonly jkt: string;
  readonly jti: string;
}

/** `code` is the error of RFC 9449, `reason` ours. */
export class ProofRefused extends Error {
  readonly code: "invalid_dpop_proof" | "use_dpop_nonce";
  readonly reason: string;

  constructor(
    code: "invalid_dpop_proof" | "use_dpop_nonce",
    reason: string,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = "ProofRefused";
    this.code = code;
    this.reason = reason;
  }
}

export interface ProofVerifierOptions {
  readonly nonces: Nonces;
  readonly now: () => number;
  /** Origins under which callers know this server, e.g. `https://chaperone-operator.chaperone-system.svc`. */
  readonly origins: () => readonly string[];
}

export class ProofVerifier {
  readonly #options: ProofVerifierOptions;
  readonly #keys = new Map<string, { readonly key: KeyObject; readonly jkt: string }>();

  constructor(options: ProofVerifierOptions) {
    this.#options = options;
  }

  /** What to put into `DPoP-Nonce`. */
  nonce(): string {
    return this.#options.nonces.current();
  }

  /** Everything but replay: the caller notes the `jti` once it knows whose proof this is. Throws ProofRefused. */
  async verify(
    header: string | readonly string[] | undefined,
    expected: ProofExpectation,
  ): Promise<Proof> {
    const proof = oneProof(header);
    const { jws, jwk, alg } = parseProof(proof);
    const { key, jkt } = await this.#import(jwk, alg);
    if (!verifyJws(jws, alg, key))
      throw invalid(
        "ProofSignature",
        "the DPoP proof's signature does not match the key in its header",
      );
    const claims = parseObject(jws.payload.toString("utf8"));
    if (claims === undefined)
      throw invalid("ProofMalformed", "the DPoP proof's claims are not a JSON object");
    for (const check of claimChecks) check(claims, expected, this.#options);
    return { jkt, jti: String(claims["jti"]) };
  }

  async #import(jwk: JWK, alg: string): Promise<{ readonly key: KeyObject; readonly jkt: string }> {
    const id = `${alg} ${String(jwk.crv)} ${String(jwk.x)} ${String(jwk.y)}`;
    const cached = this.#keys.get(id);
    if (cached !== undefined) return cached;
    let key: KeyObject;
    try {
      key = createPublicKey({ format: "jwk", key: jwk });
    } catch (cause) {
      throw invalid("ProofKey", "the DPoP proof's jwk is not a valid public key", cause);
    }
    const entry = { key, jkt: await calculateJwkThumbprint(jwk, "sha256") };
    const oldest = this.#keys.size >= maxCachedKeys ? this.#keys.keys().next().value : undefined;
    if (oldest !== undefined) this.#keys.delete(oldest);
    this.#keys.set(id, entry);
    return entry;
  }
}

type Claims = Readonly<Record<string, unknown>>;

const claimChecks: readonly ((
  claims: Claims,
  expected: ProofExpectation,
  options: ProofVerifierOptions,
) => void)[] = [
  checkJti, // can be told apart from every other proof
  checkMethod, // made for this method
  checkUri, // made for this URI of this server
  checkGrantHash, // made for the grant it comes with
  checkNonce, // made after we spoke to this caller
  checkTime, // made now
];

function checkJti(claims: Claims): void {
  const jti = claims["jti"];
  if (typeof jti !== "string" || jti === "" || jti.length > maxJtiLength) {
    throw invalid(
      "ProofId",
      `the DPoP proof's jti must be a string of 1 to ${maxJtiLength} characters`,
    );
  }
}

function checkMethod(claims: Claims, expected: ProofExpectation): void {
  if (claims["htm"] !== expected.method)
    throw invalid("ProofMethod", `the DPoP proof's htm is not ${expected.method}`);
}

function checkUri(claims: Claims, expected: ProofExpectation, options: ProofVerifierOptions): void {
  const htu = claims["htu"];
  const url = typeof htu === "string" && URL.canParse(htu) ? new URL(htu) : undefined;
  if (
    url === undefined ||
    url.pathname !== expected.path ||
    !options.origins().includes(url.origin)
  ) {
    throw invalid(
      "ProofUri",
      `the DPoP proof's htu is not the address of ${expected.path} on this operator`,
    );
  }
}

function checkGrantHash(claims: Claims, expected: ProofExpectation): void {
  if (expected.grant === undefined) return;
  const ath = claims["ath"];
  const wanted = createHash("sha256").update(expected.grant).digest();
  const given = Buffer.from(typeof ath === "string" ? ath : "", "base64url");
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
    throw invalid(
      "ProofGrantHash",
      "the DPoP proof's ath is not the hash of the grant it came with",
    );
  }
}

function checkNonce(
  claims: Claims,
  _expected: ProofExpectation,
  options: ProofVerifierOptions,
): void {
  const nonce = claims["nonce"];
  if (typeof nonce !== "string" || !options.nonces.accepts(nonce)) {
    throw new ProofRefused(
      "use_dpop_nonce",
      "ProofNonce",
      "the DPoP proof needs the nonce of the DPoP-Nonce header",
    );
  }
}

function checkTime(
  claims: Claims,
  _expected: ProofExpectation,
  options: ProofVerifierOptions,
): void {
  const iat = claims["iat"];
  const skew = typeof iat === "number" ? iat - options.now() / 1000 : Number.NaN;
  if (!(Math.abs(skew) <= proofWindowSeconds)) {
    const howFar = Number.isFinite(skew)
      ? `${Math.round(Math.abs(skew))} s ${skew < 0 ? "behind" : "ahead of"} this operator's clock`
      : "missing";
    throw invalid(
      "ProofTime",
      `the DPoP proof's iat is ${howFar}; at most ${proofWindowSeconds} s is accepted: check the clocks of the nodes`,
    );
  }
}

function oneProof(header: string | readonly string[] | undefined): string {
  const values = typeof header === "string" ? [header] : (header ?? []);
  const [proof] = values;
  // Node joins repeated headers with a comma, which no compact JWS contains.
  if (proof === undefined || values.length > 1 || proof.includes(","))
    throw invalid("ProofMissing", "exactly one DPoP header with a proof is required");
  if (proof.length > maxProofBytes)
    throw invalid("ProofTooLarge", `the DPoP proof is larger than ${maxProofBytes} bytes`);
  return proof;
}

function parseProof(proof: string): {
  readonly jws: CompactJws;
  readonly jwk: JWK;
  readonly alg: JwsAlgorithm;
} {
  const jws = parseCompactJws(proof);
  if (jws === undefined) throw invalid("ProofMalformed", "the DPoP proof is not a compact JWS");
  const { typ, alg: named, jwk } = jws.header;
  if (typ !== "dpop+jwt") throw invalid("ProofType", "the DPoP proof's typ is not dpop+jwt");
  const alg = proofAlgorithms.find((known) => known === named);
  if (alg === undefined) {
    const known = proofAlgorithms.join(", ");
    throw invalid("ProofAlgorithm", `the DPoP proof's alg is not one of ${known}`);
  }
  return { jws, jwk: publicJwk(jwk, alg), alg };
}

/** Only the members that make the key: a private one in a header is refused, because it is no secret any more. */
function publicJwk(jwk: unknown, alg: JwsAlgorithm): JWK {
  if (typeof jwk !== "object" || jwk === null)
    throw invalid("ProofKey", "the DPoP proof's header has no jwk");
  const { kty, crv, x, y, d, k } = Object.fromEntries(Object.entries(jwk));
  if (d !== undefined || k !== undefined)
    throw invalid("ProofKey", "the DPoP proof's jwk must be a public key");
  if (
    alg === "ES256" &&
    kty === "EC" &&
    crv === "P-256" &&
    typeof x === "string" &&
    typeof y === "string"
  )
    return { kty, crv, x, y };
  if (alg === "EdDSA" && kty === "OKP" && crv === "Ed25519" && typeof x === "string")
    return { kty, crv, x };
  throw invalid("ProofKey", `the DPoP proof's jwk is not a public key for ${alg}`);
}

function invalid(reason: string, message: string, cause?: unknown): ProofRefused {
  return new ProofRefused(
    "invalid_dpop_proof",
    reason,
    message,
    cause === undefined ? {} : { cause },
  );
}
