// Turns a Connection's credential into the lease its proxy is given. Errors name the Secret and its key, never a value.
import { createPrivateKey, X509Certificate } from "node:crypto";
import type { Lease, TlsSettings } from "../../contract/control.ts";
import type { Connection, CredentialHeader } from "../../crds/types.gen.ts";

export type SecretReader = (
  namespace: string,
  name: string,
  signal: AbortSignal,
) => Promise<Readonly<Record<string, string>> | undefined>;

export type LeaseRefusal =
  | "SecretNotFound"
  | "SecretKeyNotFound"
  | "SecretValueUnusable"
  | "CredentialUnusable"
  // Of `postgresRole` alone:
  | "DatabaseUnreachable"
  | "DatabaseUntrusted"
  | "AdminRefused"
  | "AdminNotAble"
  | "RoleNotMade"
  | "TooManyLeases";

export class LeaseRefused extends Error {
  readonly reason: LeaseRefusal;
  /** True: nothing was said against the grant, so what is held may live to its end. */
  readonly temporary: boolean;

  constructor(
    reason: LeaseRefusal,
    message: string,
    options?: { cause?: unknown; temporary?: boolean },
  ) {
    super(message, options);
    this.name = "LeaseRefused";
    this.reason = reason;
    this.temporary = options?.temporary ?? false;
  }
}

/** The lease of a connection whose credential is static or none; a `postgresRole` is made by leases/. */
export async function buildLease(
  connection: Connection,
  readSecret: SecretReader,
  signal: AbortSignal,
): Promise<Lease> {
  const credential = connection.spec.credential?.static;
  if (credential === undefined) return { kind: "none" };
  const { namespace, name: connectionName } = connection.metadata;
  const secret = await namedSecret(connection, credential.secretRef.name, readSecret, signal);
  if (credential.header !== undefined)
    return { kind: "headers", headers: [substitute(credential.header, secret)] };
  if (credential.usernameKey === undefined || credential.passwordKey === undefined) {
    throw new LeaseRefused(
      "CredentialUnusable",
      `connection ${namespace}/${connectionName}: credential.static names neither header nor usernameKey and passwordKey`,
    );
  }
  return {
    kind: "password",
    username: passwordPart(secret, credential.usernameKey),
    password: passwordPart(secret, credential.passwordKey),
  };
}

export interface AdminLogin {
  readonly username: string;
  readonly password: string;
}

/** The login that makes the roles of `credential.postgresRole`; undefined where the credential is another. */
export async function readAdminLogin(
  connection: Connection,
  readSecret: SecretReader,
  signal: AbortSignal,
): Promise<AdminLogin | undefined> {
  const role = connection.spec.credential?.postgresRole;
  if (role === undefined) return undefined;
  const secret = await namedSecret(connection, role.adminSecretRef.name, readSecret, signal);
  return {
    username: passwordPart(secret, role.usernameKey),
    password: passwordPart(secret, role.passwordKey),
  };
}

async function namedSecret(
  connection: Connection,
  name: string,
  readSecret: SecretReader,
  signal: AbortSignal,
): Promise<NamedSecret> {
  const { namespace, name: connectionName } = connection.metadata;
  const values = await readSecret(namespace, name, signal);
  if (values !== undefined) return { where: `Secret ${namespace}/${name}`, values };
  throw new LeaseRefused(
    "SecretNotFound",
    `Secret ${namespace}/${name}, which holds the credential of connection ${namespace}/${connectionName}, does not exist; create it`,
  );
}

/** The CA bundle of `endpoint.tls.caSecretRef`; undefined when none is named. */
export async function readCa(
  connection: Connection,
  readSecret: SecretReader,
  signal: AbortSignal,
): Promise<string | undefined> {
  const reference = connection.spec.endpoint.tls?.caSecretRef;
  if (reference === undefined) return undefined;
  const { namespace } = connection.metadata;
  const values = await readSecret(namespace, reference.name, signal);
  if (values === undefined)
    throw new LeaseRefused(
      "SecretNotFound",
      `Secret ${namespace}/${reference.name}, named by endpoint.tls.caSecretRef, does not exist; create it`,
    );
  const where = `Secret ${namespace}/${reference.name}`;
  const ca = value({ where, values }, reference.key);
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
  const certificate = value({ where, values }, "tls.crt");
  const key = value({ where, values }, "tls.key");
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

interface NamedSecret {
  /** For messages: `Secret agents/orders-db`. */
  readonly where: string;
  readonly values: Readonly<Record<string, string>>;
}

const placeholder = /\$\{([-._a-zA-Z0-9]+)\}/g;

/** Bytes that RFC 9110 section 5.5 keeps out of a field value; CR and LF would start another header. */
// eslint-disable-next-line no-control-regex
const notInHeader = /[\u0000-\u0008\u000a-\u001f\u007f]/;

function substitute(
  header: CredentialHeader,
  secret: NamedSecret,
): { readonly name: string; readonly value: string } {
  const text = header.value.replace(placeholder, (_whole, key: string) => headerPart(secret, key));
  if (notInHeader.test(text))
    throw new LeaseRefused(
      "CredentialUnusable",
      `credential.static.header.value of ${header.name} holds a control character`,
    );
  return { name: header.name, value: text };
}

function headerPart(secret: NamedSecret, key: string): string {
  const text = value(secret, key);
  if (notInHeader.test(text)) {
    throw new LeaseRefused(
      "SecretValueUnusable",
      `${secret.where}: the value of key ${key} holds a line break or another control character, which a header cannot carry; often it ends with a newline`,
    );
  }
  return text;
}

/** PostgreSQL sends both as C strings, so a NUL would cut them short; line breaks are almost always an accident of `echo`. */
function passwordPart(secret: NamedSecret, key: string): string {
  const text = value(secret, key);
  if (/[\0\r\n]/.test(text)) {
    throw new LeaseRefused(
      "SecretValueUnusable",
      `${secret.where}: the value of key ${key} holds a line break or NUL; often it ends with a newline`,
    );
  }
  return text;
}

function value(secret: NamedSecret, key: string): string {
  const text = Object.hasOwn(secret.values, key) ? secret.values[key] : undefined;
  if (text === undefined)
    throw new LeaseRefused("SecretKeyNotFound", `${secret.where} has no key ${key}`);
  if (text === "")
    throw new LeaseRefused(
      "SecretValueUnusable",
      `${secret.where}: the value of key ${key} is empty`,
    );
  return text;
}
