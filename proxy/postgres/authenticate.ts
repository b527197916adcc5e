// Proves the leased password to the server by SCRAM-SHA-256, with channel binding where both sides can; weaker methods only where the Connection dangerously allows them.
import { createHash, X509Certificate } from "node:crypto";
import sasl from "pg/lib/crypto/sasl.js";
import type { TLSSocket } from "node:tls";
import { ProxyError } from "../errors.ts";
import { headerBytes, WireError } from "./framer.ts";
import { backend, passwordMessage, saslInitialResponse, saslResponse } from "./messages.ts";
import type { HandshakeMessage } from "./upstream.ts";

export interface Authentication {
  readonly read: () => Promise<HandshakeMessage>;
  readonly write: (bytes: Buffer) => void;
  readonly user: string;
  readonly allowed: readonly ("md5" | "cleartext")[];
  /** Undefined where the Connection has no credential. */
  readonly password: string | undefined;
  readonly tls: TLSSocket | undefined;
  readonly connection: string;
}

const authentication = { ok: 0, cleartext: 3, md5: 5, sasl: 10, saslContinue: 11, saslFinal: 12 };

export async function authenticate(options: Authentication): Promise<void> {
  const { code, data } = await next(options);
  if (code === authentication.ok) return;
  const { password } = options;
  const weak = weakAnswer(options, code, data);
  if (code !== authentication.sasl && weak === undefined) throw unsupported(options, code);
  if (password === undefined)
    throw failed(options, "the server asks for a password, and the Connection has no credential");
  if (weak === undefined) await scram(options, data, password);
  else options.write(passwordMessage(weak(password)));
  await expect(options, authentication.ok);
}

/** How the password is said in a method that the Connection dangerously allows; undefined for any other. */
function weakAnswer(
  { allowed, tls, user }: Authentication,
  code: number,
  salt: Buffer,
): ((password: string) => string) | undefined {
  // Without TLS anybody on the way could read it, which no Connection can ask for.
  if (code === authentication.cleartext && allowed.includes("cleartext") && tls !== undefined)
    return (password) => password;
  if (code === authentication.md5 && allowed.includes("md5") && salt.length === 4)
    return (password) => `md5${md5(md5(password + user), salt)}`;
  return undefined;
}

function md5(text: string, salt: Buffer = Buffer.alloc(0)): string {
  return createHash("md5").update(text).update(salt).digest("hex");
}

async function scram(options: Authentication, data: Buffer, password: string): Promise<void> {
  const mechanisms = data.toString("latin1").split("\0").filter(Boolean);
  const tls = options.tls !== undefined && canBind(options.tls) ? options.tls : undefined;
  try {
    const session = sasl.startSession(mechanisms, tls);
    options.write(saslInitialResponse(session.mechanism, session.response));
    const challenge = await expect(options, authentication.saslContinue);
    await sasl.continueSession(session, password, challenge.toString("utf8"), tls);
    options.write(saslResponse(session.response));
    const final = await expect(options, authentication.saslFinal);
    sasl.finalizeSession(session, final.toString("utf8"));
  } catch (error) {
    // Messages of the SCRAM library name the step that failed, never the password.
    if (error instanceof Error && error.message.startsWith("SASL:"))
      throw failed(options, error.message, error);
    throw error;
  }
}

/** RFC 5929 section 4.1: binding to a certificate is undefined where its signature names no hash; PostgreSQL cannot either. */
const hashless: ReadonlySet<string> = new Set(["1.3.101.112", "1.3.101.113"]);

function canBind(tls: TLSSocket): boolean {
  const { raw } = tls.getPeerCertificate();
  const { signatureAlgorithmOid } = new X509Certificate(raw);
  return signatureAlgorithmOid !== undefined && !hashless.has(signatureAlgorithmOid);
}

async function next(options: Authentication): Promise<{ code: number; data: Buffer }> {
  const { type, bytes } = await options.read();
  if (type !== backend.authentication || bytes.length < headerBytes + 4)
    throw new WireError("the server did not answer with an authentication request");
  return { code: bytes.readInt32BE(headerBytes), data: bytes.subarray(headerBytes + 4) };
}

async function expect(options: Authentication, code: number): Promise<Buffer> {
  const answer = await next(options);
  if (answer.code !== code)
    throw new WireError(`the server sent authentication request ${answer.code}, not ${code}`);
  return answer.data;
}

function unsupported(options: Authentication, code: number): ProxyError {
  const asked =
    code === authentication.cleartext
      ? "the password in clear text"
      : code === authentication.md5
        ? "an MD5 hash of the password"
        : `authentication method ${code}`;
  return failed(
    options,
    `the server asks for ${asked}; only SCRAM-SHA-256 is spoken (postgres.dangerouslyAllowAuthentication of the Connection can add weaker ways)`,
  );
}

function failed(options: Authentication, why: string, cause?: unknown): ProxyError {
  return new ProxyError("UpstreamAuthentication", `connection ${options.connection}: ${why}`, {
    cause,
  });
}
