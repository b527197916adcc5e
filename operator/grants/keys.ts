// The keys that sign grants: EdDSA, two slots (the current key, and beside it the next or the previous one), rotated by age, kept in a KeyStore.
import {
  createHmac,
  createPrivateKey,
  generateKeyPairSync,
  randomBytes,
  type KeyObject,
} from "node:crypto";
import { calculateJwkThumbprint, importJWK, type CryptoKey, type JWK } from "jose";

/** A signing key lives this long; long enough that rotation is rare, short enough that a stolen backup goes stale. */
export const keyLifetimeMs = 30 * 24 * 60 * 60 * 1000;

/**
 * The next key is published this long before it signs, and the previous one stays published this long after: longer than any
 * grant lives and than any replica or verifier keeps a key set.
 */
export const keyOverlapMs = 24 * 60 * 60 * 1000;

/** An unknown key id makes a replica read the store again, at most this often, so that forged ids cannot make it spin. */
export const reloadIntervalMs = 2_000;

/** Several replicas rotate at once; each loser reads again. More rounds than this means the store is broken. */
const maxSaveRounds = 5;

export interface StoredKey {
  readonly kid: string;
  /** Private JWK (OKP, Ed25519). */
  readonly jwk: JWK;
  /** RFC 3339. */
  readonly createdAt: string;
}

/** What the store keeps. `other` is the next key before a rotation and the previous one after it. */
export interface StoredKeys {
  readonly version: 1;
  readonly current: StoredKey;
  /** When `current` began to sign, RFC 3339. */
  readonly since: string;
  readonly other?: { readonly role: "next" | "previous"; readonly key: StoredKey };
  /** 32 bytes, base64url: what nonces and mask keys are derived from; never rotated, so that hashed values stay joinable. */
  readonly secret: string;
}

/** Where keys live: a Secret in a cluster, a file in local mode. Writes are compare-and-swap on `revision`. */
export interface KeyStore {
  load(
    signal: AbortSignal,
  ): Promise<{ readonly keys: StoredKeys | undefined; readonly revision: string }>;
  /** False when the stored revision is no longer the given one. */
  save(keys: StoredKeys, revision: string, signal: AbortSignal): Promise<boolean>;
}

/** Namespaces with agents in them, and then some; what exceeds it is derived again. */
const maxDerived = 4_096;

export interface SigningKey {
  readonly kid: string;
  readonly key: KeyObject;
}

/** A new Ed25519 key whose id is its RFC 7638 thumbprint. */
export async function newKey(now: number): Promise<StoredKey> {
  const jwk: JWK = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  return { kid: await calculateJwkThumbprint(jwk), jwk, createdAt: new Date(now).toISOString() };
}

/** What rotation asks for at `now`: nothing, a published next key, the switch to it, or the previous key's removal. */
export type RotationStep = "none" | "publish-next" | "switch" | "drop-previous";

export function rotationStep(keys: StoredKeys, now: number): RotationStep {
  const age = now - Date.parse(keys.since);
  if (keys.other?.role === "next") {
    const published = now - Date.parse(keys.other.key.createdAt);
    return age >= keyLifetimeMs && published >= keyOverlapMs ? "switch" : "none";
  }
  if (keys.other?.role === "previous" && age >= keyOverlapMs) return "drop-previous";
  return keys.other === undefined && age >= keyLifetimeMs - keyOverlapMs ? "publish-next" : "none";
}

/** The keys after one step. `fresh` is used only to publish a next key. */
export function rotate(
  keys: StoredKeys,
  step: RotationStep,
  fresh: StoredKey,
  now: number,
): StoredKeys {
  const { other, ...rest } = keys;
  switch (step) {
    case "none":
      return keys;
    case "publish-next":
      return { ...rest, other: { role: "next", key: fresh } };
    case "switch":
      if (other === undefined) return keys;
      return {
        ...rest,
        current: other.key,
        since: new Date(now).toISOString(),
        other: { role: "previous", key: keys.current },
      };
    case "drop-previous":
      return rest;
  }
}

export interface SigningKeysOptions {
  readonly store: KeyStore;
  readonly now: () => number;
}

/** The keys in force, as this replica last read them. `open` creates the first ones; `maintain` is called from a timer by whoever owns it. */
export class SigningKeys {
  readonly #store: KeyStore;
  readonly #now: () => number;
  #keys: StoredKeys;
  /** By purpose: every exchange asks for its namespace's. */
  readonly #derived = new Map<string, Buffer>();
  #imported: ReadonlyMap<string, CryptoKey>;
  #public: readonly JWK[];
  #signer: SigningKey;
  #reloadedAt: number;
  #reloading: Promise<void> | undefined;

  private constructor(options: SigningKeysOptions, keys: StoredKeys, loaded: LoadedKeys) {
    this.#store = options.store;
    this.#now = options.now;
    this.#keys = keys;
    this.#imported = loaded.verifiers;
    this.#public = loaded.published;
    this.#signer = loaded.signer;
    this.#reloadedAt = options.now();
  }

  static async open(options: SigningKeysOptions, signal: AbortSignal): Promise<SigningKeys> {
    const keys = await bringUpToDate(options.store, options.now(), signal);
    return new SigningKeys(options, keys, await importKeys(keys));
  }

  /** The key that signs now. */
  signer(): SigningKey {
    return this.#signer;
  }

  /** RFC 7517 set of every key whose signatures count, without private parts. */
  jwks(): { readonly keys: readonly JWK[] } {
    return { keys: this.#public };
  }

  /** The public key of `kid`; reads the store again for one it does not know, because another replica may have rotated. */
  async verifier(kid: string, signal: AbortSignal): Promise<CryptoKey | undefined> {
    const known = this.#imported.get(kid);
    if (known !== undefined) return known;
    if (this.#now() - this.#reloadedAt >= reloadIntervalMs) {
      this.#reloading ??= this.#reload(signal).finally(() => (this.#reloading = undefined));
      await this.#reloading;
    }
    return this.#imported.get(kid);
  }

  /** Rotates what is due, and picks up what other replicas rotated. */
  async maintain(signal: AbortSignal): Promise<void> {
    await this.#adopt(await bringUpToDate(this.#store, this.#now(), signal));
  }

  /** Key material for one purpose (`nonce`, `mask/<namespace>`), the same in every replica. */
  derive(purpose: string): Buffer {
    const known = this.#derived.get(purpose);
    if (known !== undefined) return known;
    const made = createHmac("sha256", Buffer.from(this.#keys.secret, "base64url"))
      .update(`chaperone.dev/${purpose}`)
      .digest();
    if (this.#derived.size >= maxDerived) this.#derived.clear();
    this.#derived.set(purpose, made);
    return made;
  }

  async #reload(signal: AbortSignal): Promise<void> {
    this.#reloadedAt = this.#now();
    const { keys } = await this.#store.load(signal);
    if (keys !== undefined) await this.#adopt(keys);
  }

  async #adopt(keys: StoredKeys): Promise<void> {
    const loaded = await importKeys(keys);
    this.#derived.clear();
    this.#keys = keys;
    this.#imported = loaded.verifiers;
    this.#public = loaded.published;
    this.#signer = loaded.signer;
  }
}

interface LoadedKeys {
  readonly signer: SigningKey;
  readonly verifiers: ReadonlyMap<string, CryptoKey>;
  readonly published: readonly JWK[];
}

async function importKeys(keys: StoredKeys): Promise<LoadedKeys> {
  const verifiers = new Map<string, CryptoKey>();
  const published: JWK[] = [];
  for (const { kid, jwk } of [
    keys.current,
    ...(keys.other === undefined ? [] : [keys.other.key]),
  ]) {
    const publicJwk: JWK = {
      kty: "OKP",
      crv: "Ed25519",
      ...(jwk.x === undefined ? {} : { x: jwk.x }),
    };
    verifiers.set(kid, await importEd25519(publicJwk, kid));
    published.push({ ...publicJwk, kid, use: "sig", alg: "EdDSA" });
  }
  return {
    signer: {
      kid: keys.current.kid,
      key: createPrivateKey({ format: "jwk", key: keys.current.jwk }),
    },
    verifiers,
    published,
  };
}

async function importEd25519(jwk: JWK, kid: string): Promise<CryptoKey> {
  const key = await importJWK(jwk, "EdDSA");
  if (key instanceof Uint8Array)
    throw new Error(
      `signing key ${kid} is a symmetric key; delete the stored keys and let the operator make new ones`,
    );
  return key;
}

/** Loads, creates and rotates by compare-and-swap until the stored keys need nothing more at `now`. */
async function bringUpToDate(
  store: KeyStore,
  now: number,
  signal: AbortSignal,
): Promise<StoredKeys> {
  for (let round = 0; round < maxSaveRounds; round += 1) {
    const { keys, revision } = await store.load(signal);
    const step = keys === undefined ? "none" : rotationStep(keys, now);
    if (keys !== undefined && step === "none") return keys;
    const fresh = await newKey(now);
    const wanted: StoredKeys =
      keys === undefined
        ? {
            version: 1,
            current: fresh,
            since: fresh.createdAt,
            secret: randomBytes(32).toString("base64url"),
          }
        : rotate(keys, step, fresh, now);
    // One step at a time: a replica that slept for a month publishes before it switches.
    if (await store.save(wanted, revision, signal)) return wanted;
  }
  throw new Error(
    `signing keys changed under us ${maxSaveRounds} times in a row; is something else writing them?`,
  );
}
