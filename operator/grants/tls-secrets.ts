// What `endpoint.tls` takes from Secrets: the CA and the client's certificate.
import { createPrivateKey, X509Certificate } from "node:crypto";
import type { TlsSettings } from "../../contract/control.ts";
import type { Connection, SecretKeyReference } from "../../crds/types.gen.ts";
import { LeaseRefused } from "./lease-refused.ts";
import { namedSecret, secretValue, type SecretReader } from "./secret-value.ts";

/** The CA bundle of `endpoint.tls.caSecretRef`; undefined when none is named. */
async function readCa(
  connection: Connection,
  readSecret: SecretReader,
  signal: AbortSignal,
): Promise<string | undefined> {
  const reference = connection.spec.endpoint.tls?.caSecretRef;
  if (reference === undefined) return undefined;
  return await pemBundle(connection, reference, "endpoint.tls.caSecretRef", readSecret, signal);
}

/** @param field that names it, for messages */
export async function pemBundle(
  connection: Connection,
  reference: SecretKeyReference,
  field: string,
  readSecret: SecretReader,
  signal: AbortSignal,
): Promise<string> {
  const secret = await namedSecret(connection, reference.name, readSecret, signal, field);
  const ca = secretValue(secret, reference.key);
  if (!ca.includes("-----BEGIN CERTIFICATE-----"))
    throw new LeaseRefused(
      "SecretValueUnusable",
      `${secret.where}: key ${reference.key} holds no PEM certificate`,
    );
  return ca;
}

export type TlsSecrets = Pick<TlsSettings, "ca" | "clientCertificate">;

/** What `endpoint.tls` takes from Secrets. */
export async function readTlsSecrets(
  connection: Connection,
  readSecret: SecretReader,
  signal: AbortSignal,
): Promise<TlsSecrets> {
  const ca = await readCa(connection, readSecret, signal);
  const clientCertificate = await readClientCertificate(connection, readSecret, signal);
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(clientCertificate === undefined ? {} : { clientCertificate }),
  };
}

async function readClientCertificate(
  connection: Connection,
  readSecret: SecretReader,
  signal: AbortSignal,
): Promise<TlsSettings["clientCertificate"]> {
  const reference = connection.spec.endpoint.tls?.clientCertificateSecretRef;
  if (reference === undefined) return undefined;
  const field = "endpoint.tls.clientCertificateSecretRef";
  const secret = await namedSecret(connection, reference.name, readSecret, signal, field);
  const certificate = secretValue(secret, "tls.crt");
  const key = secretValue(secret, "tls.key");
  if (!belongTogether(certificate, key))
    throw new LeaseRefused(
      "SecretValueUnusable",
      `${secret.where}: tls.crt and tls.key are no PEM certificate and its unencrypted private key`,
    );
  return { certificate, key };
}

function belongTogether(certificate: string, key: string): boolean {
  try {
    return new X509Certificate(certificate).checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}
