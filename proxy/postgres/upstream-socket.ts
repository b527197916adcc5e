// A TCP or TLS stream to a PostgreSQL server, for sessions and for cancel requests alike.
import { isIP } from "node:net";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { TLSSocket } from "node:tls";
import type { Endpoint } from "../../contract/control.ts";
import { unpinned } from "../../contract/pins.ts";
import { ProxyError } from "../errors.ts";
import { ByteReader } from "./byte-reader.ts";
import { sslRequest } from "./messages.ts";

export type DialUpstream = (host: string, port: number, signal: AbortSignal) => Promise<Socket>;

export interface SocketRequest {
  readonly connection: string;
  readonly endpoint: Endpoint;
  readonly dial: DialUpstream;
  readonly signal: AbortSignal;
}

export async function openSocket(request: SocketRequest): Promise<Socket> {
  const { endpoint, signal, connection } = request;
  const socket = await dial(request);
  socket.setNoDelay(true);
  if (endpoint.tls.mode === "Disable") return socket;
  try {
    await askForTls(socket, signal, connection);
    const secured = await secure(socket, endpoint, signal);
    const why = unpinned(secured, endpoint.tls.pins);
    if (why !== undefined)
      throw new ProxyError(
        "UpstreamTls",
        `connection ${connection}: ${endpoint.host} ${why}; check endpoint.tls.pins of the Connection`,
      );
    return secured;
  } catch (error) {
    socket.destroy();
    if (error instanceof ProxyError) throw error;
    if (signal.aborted) throw signal.reason;
    throw new ProxyError(
      "UpstreamTls",
      `connection ${connection}: TLS to ${endpoint.host} failed (${reasonOf(error)}); check endpoint.tls of the Connection, and the server's certificate`,
      { cause: error },
    );
  }
}

async function dial({ endpoint, connection, dial: open, signal }: SocketRequest): Promise<Socket> {
  try {
    return await open(endpoint.host, endpoint.port, signal);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    const why = error instanceof ProxyError ? error.message : reasonOf(error);
    throw new ProxyError("UpstreamUnreachable", `connection ${connection}: ${why}`, {
      cause: error,
    });
  }
}

async function askForTls(socket: Socket, signal: AbortSignal, connection: string): Promise<void> {
  const reader = new ByteReader(socket, signal);
  try {
    socket.write(sslRequest());
    const answer = await reader.read(1);
    if (answer[0] !== 0x53)
      throw new ProxyError(
        "UpstreamTls",
        `connection ${connection}: the server does not speak TLS; set tls.mode to Disable only on a network you trust`,
      );
  } finally {
    // What came before TLS was not encrypted, whatever it claims to be (CVE-2021-23222).
    if (reader.detach().length > 0) socket.destroy(new Error("bytes came before TLS"));
  }
}

function secure(socket: Socket, endpoint: Endpoint, signal: AbortSignal): Promise<TLSSocket> {
  const { host, tls } = endpoint;
  return new Promise((resolve, reject) => {
    const secured = connectTls({
      socket,
      host,
      // RFC 6066 section 3: an address is no server name; it is still verified against the certificate.
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(tls.ca === undefined ? {} : { ca: tls.ca }),
      ...(tls.clientCertificate === undefined
        ? {}
        : { cert: tls.clientCertificate.certificate, key: tls.clientCertificate.key }),
      minVersion: "TLSv1.2",
    });
    const settle = (error: unknown): void => {
      secured.off("secureConnect", done);
      secured.off("close", closed);
      secured.off("error", settle);
      signal.removeEventListener("abort", aborted);
      if (error === undefined) {
        resolve(secured);
        return;
      }
      // A late error without a listener would end the process.
      secured.on("error", () => undefined);
      secured.destroy();
      reject(error);
    };
    const done = (): void => settle(undefined);
    const closed = (): void => settle(new Error("the server closed the connection"));
    const aborted = (): void => settle(signal.reason);
    secured.on("secureConnect", done);
    secured.on("close", closed);
    secured.on("error", settle);
    signal.addEventListener("abort", aborted);
    if (signal.aborted) aborted();
  });
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown failure";
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
