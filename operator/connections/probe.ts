// Tries an upstream the way a proxy will: resolve, connect, prove the server's certificate, and see that it speaks the protocol.
import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { TlsSettings } from "../../contract/control.ts";
import { unpinned } from "../../contract/pins.ts";
import type { ConnectionTarget } from "./endpoint.ts";
import type { ForbiddenAddresses } from "./forbidden.ts";

/** Name, connection and handshake together; an agent would not wait longer either. */
export const probeTimeoutMs = 10_000;

/** A host with more addresses than this is a content network; the first ones stand for all. */
const maxAddresses = 4;

export type ProbeReason =
  | "Reachable"
  | "NameNotResolved"
  | "AddressForbidden"
  | "ConnectFailed"
  | "TlsRefused"
  | "TlsUntrusted"
  | "TlsFailed"
  | "ProtocolMismatch"
  | "Timeout";

export interface ProbeResult {
  readonly reason: ProbeReason;
  /** One sentence; never more of the upstream than its name and address. */
  readonly message: string;
}

export interface ProbeOptions {
  readonly forbidden: ForbiddenAddresses;
  /** Every address of a name. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
  /** `ca` undefined means Node's own roots. */
  readonly tls: Pick<TlsSettings, "ca" | "clientCertificate" | "pins">;
  readonly signal: AbortSignal;
}

class ProbeFailed extends Error {
  readonly reason: ProbeReason;

  constructor(reason: ProbeReason, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "ProbeFailed";
    this.reason = reason;
  }
}

/**
 * Reachable when one of its hosts is; what the others lack is said. Never throws for what the upstream does; throws the
 * signal's reason when it was aborted.
 */
export async function probe(target: ConnectionTarget, options: ProbeOptions): Promise<ProbeResult> {
  const results: ProbeResult[] = [];
  let reachable: ProbeResult | undefined;
  for (const { host, port } of [target, ...target.fallbacks]) {
    const result = await probeHost({ ...target, host, port }, options);
    // What may not be dialled may not stand beside what may: a proxy would try it.
    if (result.reason === "AddressForbidden") return result;
    if (result.reason === "Reachable") reachable ??= result;
    results.push(result);
  }
  const [first] = results;
  return {
    reason: (reachable ?? first)?.reason ?? "NameNotResolved",
    message: results.map(({ message }) => message).join("; "),
  };
}

async function probeHost(target: ConnectionTarget, options: ProbeOptions): Promise<ProbeResult> {
  const deadline = AbortSignal.timeout(probeTimeoutMs);
  const signal = AbortSignal.any([options.signal, deadline]);
  const where = `${target.host}:${target.port}`;
  try {
    const addresses = await allowedAddresses(target, options, signal);
    for (const [index, address] of addresses.entries()) {
      try {
        await dial(target, address, options.tls, signal);
        return {
          reason: "Reachable",
          message: `${where} answered at ${address}${target.tls ? " with a valid certificate" : ""}`,
        };
      } catch (error) {
        if (index === addresses.length - 1) throw error;
      }
    }
    throw new ProbeFailed("NameNotResolved", `${target.host} has no address`);
  } catch (error) {
    options.signal.throwIfAborted();
    if (deadline.aborted)
      return {
        reason: "Timeout",
        message: `${where} did not answer within ${probeTimeoutMs / 1000} s`,
      };
    if (error instanceof ProbeFailed) return { reason: error.reason, message: error.message };
    return {
      reason: "ConnectFailed",
      message: `${where}: ${error instanceof Error ? error.message : "unknown error"}`,
    };
  }
}

/** All of them must be allowed: a name that also points at ourselves is not to be trusted with the choice. */
async function allowedAddresses(
  target: ConnectionTarget,
  { resolve, forbidden }: ProbeOptions,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { host } = target;
  const addresses = isIP(host) > 0 ? [host] : await named(host, resolve, signal);
  for (const address of addresses) {
    const why = forbidden.reason(address);
    if (why !== undefined)
      throw new ProbeFailed(
        "AddressForbidden",
        `${host === address ? host : `${host} (${address})`} is ${why}, which is never dialled`,
      );
  }
  return addresses.slice(0, maxAddresses);
}

async function named(
  host: string,
  resolve: ProbeOptions["resolve"],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(new Error("aborted"));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([resolve(host), aborted.promise]);
  } catch (cause) {
    throw new ProbeFailed("NameNotResolved", `${host} cannot be resolved${codeOf(cause)}`, {
      cause,
    });
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

async function dial(
  target: ConnectionTarget,
  address: string,
  tls: ProbeOptions["tls"],
  signal: AbortSignal,
): Promise<void> {
  const where = `${target.host}:${target.port} (${address})`;
  const socket = connect({ host: address, port: target.port });
  const onAbort = (): void => void socket.destroy(new Error("aborted"));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await settled(
      socket,
      "connect",
      (cause) =>
        new ProbeFailed("ConnectFailed", `${where} cannot be reached${codeOf(cause)}`, { cause }),
    );
    if (target.scheme === "postgres") await askForTls(socket, target.tls, where);
    if (target.tls) await proveCertificate(socket, target, tls, where);
  } finally {
    signal.removeEventListener("abort", onAbort);
    socket.destroy();
  }
}

const sslRequest = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);

/** PostgreSQL answers an SSLRequest with one byte before anything else: S, or N for "not here". Whoever says neither is no PostgreSQL. */
async function askForTls(socket: Socket, needsTls: boolean, where: string): Promise<void> {
  socket.write(sslRequest);
  const failed = (cause: unknown): ProbeFailed =>
    new ProbeFailed("ProtocolMismatch", `${where} does not speak PostgreSQL`, { cause });
  await settled(socket, "readable", failed);
  const answer: unknown = socket.read();
  const said = Buffer.isBuffer(answer) ? answer.toString("latin1") : "";
  if (said === "N" && needsTls)
    throw new ProbeFailed(
      "TlsRefused",
      `${where} offers no TLS; turn it on there, or set endpoint.tls.mode to Disable`,
    );
  // More than the one byte before TLS began would be somebody else's words (CVE-2021-23222).
  if (said !== "S" && said !== "N") throw failed(undefined);
}

async function proveCertificate(
  socket: Socket,
  target: ConnectionTarget,
  { ca, clientCertificate, pins }: ProbeOptions["tls"],
  where: string,
): Promise<void> {
  const secure = connectTls({
    socket,
    host: target.host,
    ...(isIP(target.host) > 0 ? {} : { servername: target.host }),
    ...(ca === undefined ? {} : { ca }),
    ...(clientCertificate === undefined
      ? {}
      : { cert: clientCertificate.certificate, key: clientCertificate.key }),
    ...(target.scheme === "https" ? { ALPNProtocols: ["http/1.1"] } : {}),
  });
  try {
    await settled(secure, "secureConnect", (cause) => tlsFailure(cause, where));
    const why = unpinned(secure, pins);
    if (why !== undefined)
      throw new ProbeFailed("TlsUntrusted", `${where} ${why}; see endpoint.tls.pins`);
    await refusedCertificate(secure, where);
  } finally {
    secure.destroy();
  }
}

/** With TLS 1.3 a server says only after the handshake that it wants another client certificate; one that is content sends a session, or nothing. */
const secondThoughtsMs = 300;

async function refusedCertificate(socket: TLSSocket, where: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve, reject) => {
    timer = setTimeout(resolve, secondThoughtsMs);
    socket.once("session", () => resolve());
    // A server that closes a connection which asks for nothing has not refused it.
    socket.once("close", () => resolve());
    socket.once("error", (cause) => {
      const code = codeOf(cause);
      if (!code.startsWith(" (ERR_SSL_")) resolve();
      else
        reject(
          new ProbeFailed(
            "TlsFailed",
            `${where} ended TLS after the handshake${code}; see endpoint.tls.clientCertificateSecretRef`,
            { cause },
          ),
        );
    });
    socket.resume();
  }).finally(() => clearTimeout(timer));
}

const untrusted = /^(CERT_|ERR_TLS_CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_)/;

function tlsFailure(cause: unknown, where: string): ProbeFailed {
  const code = codeOf(cause);
  return untrusted.test(code.replace(/^ \(|\)$/g, ""))
    ? new ProbeFailed(
        "TlsUntrusted",
        `the certificate of ${where} is not to be trusted${code}; see endpoint.tls.caSecretRef`,
        { cause },
      )
    : new ProbeFailed("TlsFailed", `the TLS handshake with ${where} failed${code}`, { cause });
}

/** Resolves on the event, rejects on error or end. */
async function settled(
  socket: Socket,
  event: string,
  failed: (cause: unknown) => ProbeFailed,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const onError = (cause: unknown): void => reject(failed(cause));
    socket.once("error", onError);
    socket.once("close", () => onError(new Error("closed")));
    socket.once(event, () => resolve());
  });
}

function codeOf(cause: unknown): string {
  return cause instanceof Error && "code" in cause && typeof cause.code === "string"
    ? ` (${cause.code})`
    : "";
}
