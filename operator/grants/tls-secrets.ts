// What `endpoint.tls` takes from Secrets: the CA and the client's certificate.
import { createPrivateKey, X509Certificate } from "node:crypto";
import type { TlsSettings } from "../../contract/control.ts";
import type { Connection, SecretKeyReference } from "../../crds/types.gen.ts";
import { LeaseRefused } from "./lease-refused.ts";
import { secretValue, type SecretReader } from "./secret-value.ts";

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
  const { namespace } = connection.metadata;
  const where = `Secret ${namespace}/${reference.name}`;
  const values = await readSecret(namespace, reference.name, signal);
  if (values === undefined)
    throw new LeaseRefused(
      "SecretNotFound",
      `${where}, named by ${field}, does not exist; create it`,
    );
  const ca = secretValue({ where, values }, reference.key);
  if (!ca.includes("-----BEGIN CERTIFICATE-----"))
    throw new LeaseRefused(
      "SecretValueUnusable",
      `${where}: key ${reference.key} holds no PEM certificate`,
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
  const { namespace } = connection.metadata;
  const where = `Secret ${namespace}/${reference.name}`;
  const values = await readSecret(namespace, reference.name, signal);
  if (values === undefined)
    throw new LeaseRefused(
      "SecretNotFound",
      `${where}, named by endpoint.tls.clientCertificateSecretRef, does not exist; create it`,
    );
  const certificate = secretValue({ where, values }, "tls.crt");
  const key = secretValue({ where, values }, "tls.key");
  if (!belongTogether(certificate, key))
    throw new LeaseRefused(
      "SecretValueUnusable",
      `${where}: tls.crt and tls.key are no PEM certificate and its unencrypted private key`,
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
