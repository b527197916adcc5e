// The connections to upstreams: one bounded pool for each connection's endpoint, replaced when the endpoint changes.
import { isIP } from "node:net";
import { connect as plain } from "node:net";
import type { OnReadOpts, Socket, TcpNetConnectOpts } from "node:net";
import { TLSSocket, checkServerIdentity, connect as secure, createSecureContext } from "node:tls";
import type { SecureContext } from "node:tls";

import { isDeepStrictEqual } from "node:util";

import type { Endpoint } from "../../contract/control.ts";
import { unpinned } from "../../contract/pins.ts";
import { ProxyError } from "../errors.ts";
import type { Dial } from "../net/dial.ts";
import { endDeadlineMs } from "../pipeline.ts";
import type { Gate } from "../pipeline.ts";
import { ReadBuffer } from "./read-buffer.ts";
import { headersTimeoutMs } from "./upstream-connection.ts";
import { UpstreamPool } from "./upstream-pool.ts";

export interface UpstreamsOptions {
  readonly dial: Dial;
  /** PEM of what is trusted where an endpoint names no CA; absent: what Node brings. */
  readonly roots?: readonly string[];
}

/** Connections of one pool, where each carries one request: as many as an agent may have open (exchange.ts). */
const maxConnections = 1_024;
const handshakeTimeoutMs = 10_000;
/** RFC 7301. An upstream that knows neither speaks HTTP/1.1. */
const offered: readonly string[] = ["h2", "http/1.1"];
/** For connections whose one use is HTTP/1.1's alone. */
const offeredAlone: readonly string[] = ["http/1.1"];

export interface Upstream {
  readonly endpoint: Endpoint;
  readonly pool: UpstreamPool;
  /** Requests dispatched and not ended; the room bounds it. */
  inFlight: number;
}

export class Upstreams {
  readonly #options: UpstreamsOptions;
  readonly #byGate = new Map<Gate, Upstream>();
  readonly #closing = new Set<Promise<void>>();
  #defaultContext: SecureContext | undefined;

  constructor(options: UpstreamsOptions) {
    this.#options = options;
  }

  for(gate: Gate, endpoint: Endpoint): Upstream {
    const known = this.#byGate.get(gate);
    if (known !== undefined) {
      if (known.endpoint === endpoint || sameTarget(known.endpoint, endpoint)) return known;
      this.#retire(known);
    }
    const connect = this.#connector(endpoint, offered);
    const isSecure = endpoint.tls.mode !== "Disable";
    const pool = new UpstreamPool({
      connect: async () => {
        if (isSecure) {
          const socket = await connect();
          return { socket, isH2: socket instanceof TLSSocket && socket.alpnProtocol === "h2" };
        }
        const reads = new ReadBuffer();
        return { socket: await connect(reads.onread), reads };
      },
      mayBeH2: isSecure,
      host: authorityOf(endpoint),
      maxConnections,
      now: () => performance.now(),
    });
    const upstream: Upstream = { endpoint, pool, inFlight: 0 };
    this.#byGate.set(gate, upstream);
    return upstream;
  }

  /** A connection for one use, that speaks HTTP/1.1. Throws ProxyError. */
  alone(endpoint: Endpoint): Promise<Socket | TLSSocket> {
    return this.#connector(endpoint, offeredAlone)();
  }

  async close(): Promise<void> {
    for (const upstream of this.#byGate.values()) this.#retire(upstream);
    this.#byGate.clear();
    await Promise.all(this.#closing);
  }

  /** Lets what is under way end, within the deadline. */
  #retire({ pool }: Upstream): void {
    const timer = setTimeout(
      () =>
        pool.destroy(
          new ProxyError(
            "GrantEnded",
            "the endpoint of the connection changed; send the request again",
          ),
        ),
      endDeadlineMs,
    );
    const closing = pool.close().finally(() => {
      clearTimeout(timer);
      this.#closing.delete(closing);
    });
    this.#closing.add(closing);
  }

  #connector(
    endpoint: Endpoint,
    protocols: readonly string[],
  ): (onread?: OnReadOpts) => Promise<Socket | TLSSocket> {
    const { dial } = this.#options;
    const context = endpoint.tls.mode === "Disable" ? undefined : this.#contextFor(endpoint);
    // A resumed session shows no certificate, and so no key to hold against a pin.
    const resumes = endpoint.tls.pins === undefined;
    let session: Buffer | undefined;
    return async (onread) => {
      const signal = AbortSignal.timeout(headersTimeoutMs);
      const { host, port } = endpoint;
      if (context === undefined)
        return onread === undefined
          ? dial(host, port, signal)
          : dial(host, port, signal, (to) => plain({ ...to, onread }));
      const wrapped = await dial(host, port, signal, (to) =>
        encrypted(to, endpoint, protocols, context, session),
      );
      return handshake(wrapped, endpoint, (ticket) => {
        if (resumes) session = ticket;
      });
    };
  }

  /** A context is costly to make (it parses every root), so all endpoints without a CA of their own share one. */
  #contextFor({ tls: { ca, clientCertificate } }: Endpoint): SecureContext {
    const { roots } = this.#options;
    const trusted = ca ?? (roots === undefined ? undefined : [...roots]);
    const context = (): SecureContext =>
      createSecureContext({
        ...(trusted !== undefined && { ca: trusted }),
        ...(clientCertificate !== undefined && {
          cert: clientCertificate.certificate,
          key: clientCertificate.key,
        }),
        minVersion: "TLSv1.2",
      });
    if (ca !== undefined || clientCertificate !== undefined) return context();
    this.#defaultContext ??= context();
    return this.#defaultContext;
  }
}

/**
 * Connects and speaks TLS at once; `handshake` says when it is done. VerifyFull: chain and name, for every endpoint with TLS. A socket that connected
 * before and was given to TLS would stay beside it, with 8 KiB.
 */
function encrypted(
  to: TcpNetConnectOpts,
  { host }: Endpoint,
  protocols: readonly string[],
  context: SecureContext,
  session: Buffer | undefined,
): TLSSocket {
  return secure({
    ...to,
    servername: isIP(host) === 0 ? host : "",
    // `to` has an address.
    checkServerIdentity: (_name, certificate) => checkServerIdentity(host, certificate),
    secureContext: context,
    ALPNProtocols: [...protocols],
    rejectUnauthorized: true,
    ...(session !== undefined && { session }),
  });
}

function handshake(
  wrapped: TLSSocket,
  endpoint: Endpoint,
  keep: (ticket: Buffer) => void,
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => wrapped.destroy(new Error("no TLS handshake in time")),
      handshakeTimeoutMs,
    );
    const fail = (error: Error): void => {
      clearTimeout(timer);
      wrapped.destroy();
      reject(tlsError(error, endpoint));
    };
    wrapped.once("error", fail);
    wrapped.once("secureConnect", () => {
      const why = unpinned(wrapped, endpoint.tls.pins);
      if (why !== undefined) {
        fail(pinError(why, endpoint));
        return;
      }
      clearTimeout(timer);
      wrapped.off("error", fail);
      resolve(wrapped);
    });
    wrapped.on("session", keep);
  });
}

function pinError(why: string, { host, port }: Endpoint): ProxyError {
  return new ProxyError(
    "UpstreamTls",
    `The endpoint ${host}:${port} ${why}: check endpoint.tls.pins of the Connection.`,
  );
}

function tlsError(error: Error, endpoint: Endpoint): ProxyError {
  if (error instanceof ProxyError) return error;
  const code = "code" in error ? String(error.code) : "";
  const where = `${endpoint.host}:${endpoint.port}`;
  if (code === "ECONNRESET" || code === "EPIPE" || code === "") {
    return new ProxyError(
      "UpstreamUnreachable",
      `The endpoint ${where} ended the TLS handshake: ${error.message}.`,
      { cause: error },
    );
  }
  return new ProxyError(
    "UpstreamTls",
    `The certificate or TLS of the endpoint ${where} cannot be accepted (${code}): check endpoint.tls of the Connection.`,
    { cause: error },
  );
}

/** RFC 9110 section 7.2: without the port where it is the scheme's own. */
export function authorityOf({ host, port, tls }: Endpoint): string {
  const name = isIP(host) === 6 ? `[${host}]` : host;
  return port === (tls.mode === "Disable" ? 80 : 443) ? name : `${name}:${port}`;
}

function sameTarget(a: Endpoint, b: Endpoint): boolean {
  return a.host === b.host && a.port === b.port && isDeepStrictEqual(a.tls, b.tls);
}
