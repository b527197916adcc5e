// Values of the Secrets that a Connection names, checked for what they are used as. Errors name the Secret and its key, never a value.
import type { Connection } from "../../crds/types.gen.ts";
import { LeaseRefused } from "./lease-refused.ts";

export type SecretReader = (
  namespace: string,
  name: string,
  signal: AbortSignal,
) => Promise<Readonly<Record<string, string>> | undefined>;

export interface NamedSecret {
  /** For messages: `Secret agents/orders-db`. */
  readonly where: string;
  readonly values: Readonly<Record<string, string>>;
}

/**
 * A Secret of the connection's own namespace. Throws LeaseRefused SecretNotFound.
 *
 * @param field that names it, for the message; undefined: the credential
 */
export async function namedSecret(
  connection: Connection,
  name: string,
  readSecret: SecretReader,
  signal: AbortSignal,
  field?: string,
): Promise<NamedSecret> {
  const { namespace, name: connectionName } = connection.metadata;
  const values = await readSecret(namespace, name, signal);
  if (values !== undefined) return { where: `Secret ${namespace}/${name}`, values };
  const role =
    field === undefined
      ? `which holds the credential of connection ${namespace}/${connectionName}`
      : `named by ${field}`;
  throw new LeaseRefused(
    "SecretNotFound",
    `Secret ${namespace}/${name}, ${role}, does not exist; create it`,
  );
}

/** What RFC 9110 section 5.5 keeps out of a field value (CR and LF would start another header), and what is no byte at all. */
export const notInHeader = /[^\t\u0020-\u007e\u0080-\u00ff]/;

export function headerPart(secret: NamedSecret, key: string): string {
  const text = secretValue(secret, key);
  if (notInHeader.test(text)) {
    throw new LeaseRefused(
      "SecretValueUnusable",
      `${secret.where}: the value of key ${key} holds a line break or another character that a header cannot carry; often it ends with a newline`,
    );
  }
  return text;
}

/** It is encoded before it is sent, so it may hold any character; control characters are accidents of `echo`. */
export function encodedPart(secret: NamedSecret, key: string): string {
  const text = secretValue(secret, key);
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(text) || !text.isWellFormed())
    throw new LeaseRefused(
      "SecretValueUnusable",
      `${secret.where}: the value of key ${key} holds a line break or another control character; often it ends with a newline`,
    );
  return text;
}

/** PostgreSQL sends both as C strings, so a NUL would cut them short; line breaks are almost always an accident of `echo`. */
export function passwordPart(secret: NamedSecret, key: string): string {
  const text = secretValue(secret, key);
  if (/[\0\r\n]/.test(text)) {
    throw new LeaseRefused(
      "SecretValueUnusable",
      `${secret.where}: the value of key ${key} holds a line break or NUL; often it ends with a newline`,
    );
  }
  return text;
}

export function secretValue(secret: NamedSecret, key: string): string {
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
