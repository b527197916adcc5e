// Turns a Connection's credential, as its Secret holds it, into the lease its proxy is given. Errors name the Secret and its key, never a value.
import type { HeaderField, Lease } from "../../contract/control.ts";
import type {
  AwsSigV4Credential,
  Connection,
  CredentialBasic,
  CredentialHeader,
  StaticCredential,
} from "../../crds/types.gen.ts";
import { LeaseRefused } from "./lease-refused.ts";
import {
  encodedPart,
  headerPart,
  namedSecret,
  notInHeader,
  passwordPart,
  type NamedSecret,
  type SecretReader,
} from "./secret-value.ts";

/** The lease of a connection whose credential is static, `awsSigV4` or none; a `postgresRole` is made by leases/, a token fetched by tokens/. */
export async function buildLease(
  connection: Connection,
  readSecret: SecretReader,
  signal: AbortSignal,
): Promise<Lease> {
  const { static: credential, awsSigV4 } = connection.spec.credential ?? {};
  if (awsSigV4 !== undefined)
    return awsLease(
      awsSigV4,
      await namedSecret(connection, awsSigV4.secretRef.name, readSecret, signal),
    );
  if (credential === undefined) return { kind: "none" };
  const secret = await namedSecret(connection, credential.secretRef.name, readSecret, signal);
  const lease = staticLease(credential, secret);
  if (lease !== undefined) return lease;
  const { namespace, name } = connection.metadata;
  throw new LeaseRefused(
    "CredentialUnusable",
    `connection ${namespace}/${name}: credential.static names none of header, basic, query, and usernameKey with passwordKey`,
  );
}

function awsLease(
  {
    service,
    region,
    payload,
    accessKeyIdKey,
    secretAccessKeyKey,
    sessionTokenKey,
  }: AwsSigV4Credential,
  secret: NamedSecret,
): Lease {
  return {
    kind: "awsSigV4",
    service,
    region,
    payload,
    accessKeyId: headerPart(secret, accessKeyIdKey),
    secretAccessKey: encodedPart(secret, secretAccessKeyKey),
    ...(sessionTokenKey === undefined ? {} : { sessionToken: headerPart(secret, sessionTokenKey) }),
  };
}

function staticLease(
  { header, basic, query, usernameKey, passwordKey }: StaticCredential,
  secret: NamedSecret,
): Lease | undefined {
  if (header !== undefined) return { kind: "headers", headers: [headerField(header, secret)] };
  if (basic !== undefined) return { kind: "headers", headers: [basicField(basic, secret)] };
  if (query !== undefined)
    return { kind: "query", name: query.name, value: filled(query.value, secret, encodedPart) };
  if (usernameKey === undefined || passwordKey === undefined) return undefined;
  return {
    kind: "password",
    username: passwordPart(secret, usernameKey),
    password: passwordPart(secret, passwordKey),
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

const placeholder = /\$\{([-._a-zA-Z0-9]+)\}/g;

function filled(
  template: string,
  secret: NamedSecret,
  part: (secret: NamedSecret, key: string) => string,
): string {
  return template.replace(placeholder, (_whole, key: string) => part(secret, key));
}

function headerField(header: CredentialHeader, secret: NamedSecret): HeaderField {
  const text = filled(header.value, secret, headerPart);
  if (notInHeader.test(text))
    throw new LeaseRefused(
      "CredentialUnusable",
      `credential.static.header.value of ${header.name} holds a control character`,
    );
  return { name: header.name, value: text };
}

/** RFC 7617 section 2: neither may hold control characters, and the user ends at the first colon. */
function basicField(
  { usernameKey, passwordKey }: CredentialBasic,
  secret: NamedSecret,
): HeaderField {
  const username = encodedPart(secret, usernameKey);
  const password = encodedPart(secret, passwordKey);
  if (username.includes(":"))
    throw new LeaseRefused(
      "SecretValueUnusable",
      `${secret.where}: the value of key ${usernameKey} holds a colon, where the user of Basic authentication would end`,
    );
  const value = Buffer.from(`${username}:${password}`).toString("base64");
  return { name: "authorization", value: `Basic ${value}` };
}
