// Proves the leased password to the server by SCRAM-SHA-256, with channel binding where both sides can; weaker methods are refused.
import sasl from "pg/lib/crypto/sasl.js";
import type { TLSSocket } from "node:tls";
import { ProxyError } from "../errors.ts";
import { headerBytes, WireError } from "./framer.ts";
import { backend, saslInitialResponse, saslResponse } from "./messages.ts";
import type { HandshakeMessage } from "./upstream.ts";

export interface Authentication {
  readonly read: () => Promise<HandshakeMessage>;
  readonly write: (bytes: Buffer) => void;
  /** Undefined where the Connection has no credential. */
  readonly password: string | undefined;
  readonly tls: TLSSocket | undefined;
  readonly connection: string;
}

const authentication = { ok: 0, cleartext: 3, md5: 5, sasl: 10, saslContinue: 11, saslFinal: 12 };

export async function authenticate(options: Authentication): Promise<void> {
  const { code, data } = await next(options);
  if (code === authentication.ok) return;
  if (code !== authentication.sasl) throw unsupported(options, code);
  if (options.password === undefined)
    throw failed(options, "the server asks for a password, and the Connection has no credential");
  const mechanisms = data.toString("latin1").split("\0").filter(Boolean);
  try {
    const session = sasl.startSession(mechanisms, options.tls);
    options.write(saslInitialResponse(session.mechanism, session.response));
    const challenge = await expect(options, authentication.saslContinue);
    await sasl.continueSession(session, options.password, challenge.toString("utf8"), options.tls);
    options.write(saslResponse(session.response));
    const final = await expect(options, authentication.saslFinal);
    sasl.finalizeSession(session, final.toString("utf8"));
  } catch (error) {
    // Messages of the SCRAM library name the step that failed, never the password.
    if (error instanceof Error && error.message.startsWith("SASL:"))
      throw failed(options, error.message, error);
    throw error;
  }
  await expect(options, authentication.ok);
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
  return failed(options, `the server asks for ${asked}; only SCRAM-SHA-256 is spoken`);
}

function failed(options: Authentication, why: string, cause?: unknown): ProxyError {
  return new ProxyError("UpstreamAuthentication", `connection ${options.connection}: ${why}`, {
    cause,
  });
}
