// The proxy's own key: made in memory at start, never leaves it, and proves every request to the operator (RFC 9449).
import { createHash, randomBytes, webcrypto } from "node:crypto";

type ProofAlgorithm = "EdDSA" | "ES256";

const algorithms = {
  EdDSA: { generate: { name: "Ed25519" }, sign: { name: "Ed25519" } },
  ES256: {
    generate: { name: "ECDSA", namedCurve: "P-256" },
    sign: { name: "ECDSA", hash: "SHA-256" },
  },
} as const;

export interface PublicJwk {
  readonly kty: string;
  readonly crv: string;
  readonly x: string;
  readonly y?: string;
}

export interface ProofRequest {
  readonly method: string;
  /** Without query and fragment. */
  readonly url: string;
  /** The grant sent beside the proof. */
  readonly grant?: string;
  readonly nonce?: string;
}

/** A key pair whose private half cannot be exported, not even by us. */
export class ProofKey {
  readonly alg: ProofAlgorithm;
  readonly publicJwk: PublicJwk;
  /** RFC 7638 thumbprint, what grants are bound to. */
  readonly jkt: string;
  readonly #privateKey: webcrypto.CryptoKey;
  readonly #now: () => number;

  private constructor(
    alg: ProofAlgorithm,
    privateKey: webcrypto.CryptoKey,
    publicJwk: PublicJwk,
    now: () => number,
  ) {
    this.alg = alg;
    this.#privateKey = privateKey;
    this.publicJwk = publicJwk;
    this.jkt = thumbprint(publicJwk);
    this.#now = now;
  }

  static async create(now: () => number, alg: ProofAlgorithm = "EdDSA"): Promise<ProofKey> {
    const pair = await webcrypto.subtle.generateKey(algorithms[alg].generate, false, [
      "sign",
      "verify",
    ]);
    if (!("privateKey" in pair)) throw new Error(`this Node cannot make ${alg} key pairs`);
    const { kty, crv, x, y } = await webcrypto.subtle.exportKey("jwk", pair.publicKey);
    if (kty === undefined || crv === undefined || x === undefined)
      throw new Error(`this Node made an incomplete ${alg} public key`);
    return new ProofKey(
      alg,
      pair.privateKey,
      { kty, crv, x, ...(y === undefined ? {} : { y }) },
      now,
    );
  }

  /** A DPoP proof for one request, used once. */
  proof(request: ProofRequest): Promise<string> {
    return this.#jws(
      { typ: "dpop+jwt", alg: this.alg, jwk: this.publicJwk },
      JSON.stringify({
        jti: randomBytes(16).toString("base64url"),
        htm: request.method,
        htu: request.url,
        iat: Math.floor(this.#now() / 1000),
        ...(request.nonce === undefined ? {} : { nonce: request.nonce }),
        ...(request.grant === undefined
          ? {}
          : { ath: createHash("sha256").update(request.grant).digest("base64url") }),
      }),
    );
  }

  /** Signs the head of an event batch (`EventBatch.head`): a compact JWS whose payload is the hash itself. */
  signHead(hash: string): Promise<string> {
    return this.#jws({ typ: "chaperone-head", alg: this.alg, jwk: this.publicJwk }, hash);
  }

  async #jws(header: object, payload: string): Promise<string> {
    const input = `${base64url(JSON.stringify(header))}.${base64url(payload)}`;
    const signature = await webcrypto.subtle.sign(
      algorithms[this.alg].sign,
      this.#privateKey,
      Buffer.from(input),
    );
    return `${input}.${Buffer.from(signature).toString("base64url")}`;
  }
}

function base64url(text: string): string {
  return Buffer.from(text).toString("base64url");
}

/** RFC 7638: the required members in lexical order, without white space. */
function thumbprint({ kty, crv, x, y }: PublicJwk): string {
  return createHash("sha256")
    .update(JSON.stringify({ crv, kty, x, ...(y === undefined ? {} : { y }) }))
    .digest("base64url");
}
