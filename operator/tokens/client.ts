// What the client of an oauth2 credential proves itself with, read from its Secret.
import { createHash, createPrivateKey, type KeyObject, type webcrypto } from "node:crypto";
import type { Connection, OAuth2Credential } from "../../crds/types.gen.ts";
import { LeaseRefused } from "../grants/lease-refused.ts";
import {
  encodedPart,
  namedSecret,
  secretValue,
  type NamedSecret,
  type SecretReader,
} from "../grants/secret-value.ts";
import { pemBundle } from "../grants/tls-secrets.ts";

export type ClientProof =
  | { readonly method: "client_secret_basic" | "client_secret_post"; readonly secret: string }
  | {
      readonly method: "private_key_jwt";
      readonly key: webcrypto.CryptoKey;
      readonly kid: string | undefined;
    };

export interface TokenClient {
  readonly settings: OAuth2Credential;
  readonly clientId: string;
  readonly proof: ClientProof;
  readonly subjectToken: string | undefined;
  /** PEM. */
  readonly ca: string | undefined;
  /** Changes when anything of it does: a token got with other values is not this one's. */
  readonly fingerprint: string;
}

/** Throws LeaseRefused. */
export async function readClient(
  connection: Connection,
  settings: OAuth2Credential,
  readSecret: SecretReader,
  signal: AbortSignal,
): Promise<TokenClient> {
  const secret = await namedSecret(connection, settings.secretRef.name, readSecret, signal);
  const { caSecretRef, tokenExchange } = settings;
  const clientId = encodedPart(secret, settings.clientIdKey);
  const proof = readProof(settings, secret);
  const subjectToken =
    tokenExchange === undefined ? undefined : encodedPart(secret, tokenExchange.subjectTokenKey);
  const ca =
    caSecretRef === undefined
      ? undefined
      : await pemBundle(
          connection,
          caSecretRef,
          "credential.oauth2.caSecretRef",
          readSecret,
          signal,
        );
  const fingerprint = createHash("sha256")
    .update(JSON.stringify([settings, secret.values, ca]))
    .digest("base64url");
  return { settings, clientId, proof, subjectToken, ca, fingerprint };
}

function readProof(settings: OAuth2Credential, secret: NamedSecret): ClientProof {
  const { clientAuthentication: method, clientSecretKey, privateKeyKey } = settings;
  if (method !== "private_key_jwt") {
    if (clientSecretKey === undefined) throw incomplete(secret, "clientSecretKey");
    return { method, secret: encodedPart(secret, clientSecretKey) };
  }
  if (privateKeyKey === undefined) throw incomplete(secret, "privateKeyKey");
  return { method, key: privateKey(secret, privateKeyKey), kid: settings.keyId };
}

function incomplete({ where }: NamedSecret, field: string): LeaseRefused {
  return new LeaseRefused("CredentialUnusable", `credential.oauth2.${field} is missing (${where})`);
}

function privateKey(secret: NamedSecret, name: string): webcrypto.CryptoKey {
  const pem = secretValue(secret, name);
  try {
    return signingKey(createPrivateKey(pem));
  } catch {
    throw new LeaseRefused(
      "SecretValueUnusable",
      `${secret.where}: key ${name} holds no unencrypted RSA, EC (P-256, P-384, P-521) or Ed25519 private key in PEM`,
    );
  }
}

const curves: Readonly<Record<string, string>> = {
  prime256v1: "P-256",
  secp384r1: "P-384",
  secp521r1: "P-521",
};

/** RS256 for RSA, which every server knows. */
function signingKey(key: KeyObject): webcrypto.CryptoKey {
  const namedCurve = curves[key.asymmetricKeyDetails?.namedCurve ?? ""];
  switch (key.asymmetricKeyType) {
    case "rsa":
      return key.toCryptoKey({ name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, false, ["sign"]);
    case "ed25519":
      return key.toCryptoKey({ name: "Ed25519" }, false, ["sign"]);
    case "ec":
      if (namedCurve !== undefined)
        return key.toCryptoKey({ name: "ECDSA", namedCurve }, false, ["sign"]);
  }
  throw new Error("no key that can sign a JWT");
}
