// Ends the agent's TLS: the name it asks for picks the certificate, a name that no Connection has is refused, and HTTP/2 or HTTP/1.1 is what is spoken inside.
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { SecureContext, TLSSocketOptions } from "node:tls";

import { ProxyError } from "../errors.ts";
import { serverContext } from "./authority.ts";
import type { PodAuthority } from "./authority.ts";

export interface TlsTerminatorOptions {
  readonly authority: PodAuthority;
  /** A handshake that failed: a ProxyError where the client asked for what is not served, which is for the record; else for a log line. */
  readonly onFailure?: (error: Error) => void;
}

export interface TlsTerminator {
  /**
   * Takes a connection before its first byte; `secured` gets it once the handshake is done, or never.
   *
   * @param dialled what a client that names nobody is shown, where another than the address it reached
   */
  accept(socket: Socket, secured: (socket: TLSSocket) => void, dialled?: string): void;
  /** Cuts the handshakes that are still going on. */
  close(): Promise<void>;
}

/** A client on the same machine needs milliseconds; the rest is patience with a busy one. */
const handshakeTimeoutMs = 10_000;
/** What a client may ask for (RFC 7301). One that offers no ALPN speaks HTTP/1.1 anyway. */
const spoken: ReadonlySet<string> = new Set(["h2", "http/1.1"]);

export function createTlsTerminator(options: TlsTerminatorOptions): TlsTerminator {
  const { authority } = options;
  const handshakes = new Set<TLSSocket>();

  const sni: NonNullable<TLSSocketOptions["SNICallback"]> = (name, answer) => {
    if (authority.knows(name.toLowerCase())) answer(null, authority.secureContextFor(name));
    else
      answer(
        new ProxyError(
          "ConnectionUnknown",
          `no Connection of this pod has the host name ${JSON.stringify(name)} of this TLS handshake`,
        ),
      );
  };
  // The client's own order. Undefined makes OpenSSL send the alert no_application_protocol, which names the cause to the client.
  const alpn: NonNullable<TLSSocketOptions["ALPNCallback"]> = ({ protocols }) =>
    protocols.find((protocol) => spoken.has(protocol));

  /** Shows nothing: for who names nobody at an address that is nobody's. Else each connection would make one of its own. */
  const blank = serverContext({});

  /** A client that names nobody dialled an address: the certificate is for that address. */
  const nameless = (socket: Socket, dialled: string | undefined): SecureContext => {
    const address = dialled ?? socket.localAddress?.replace(/^::ffff:/, "");
    return address !== undefined && authority.knows(address)
      ? authority.secureContextFor(address)
      : blank;
  };

  return {
    accept(socket, secured, dialled) {
      const secure = new TLSSocket(socket, {
        isServer: true,
        secureContext: nameless(socket, dialled),
        SNICallback: sni,
        ALPNCallback: alpn,
      });
      const fail = (error: Error): void => {
        options.onFailure?.(isUnreadable(error) ? unreadable("cannot be read", error) : error);
        secure.destroy();
        socket.destroy();
      };
      const timer = setTimeout(
        () => fail(unreadable(`did not end within ${handshakeTimeoutMs} ms`)),
        handshakeTimeoutMs,
      );
      const left = (): void => fail(new Error("the client left within its handshake"));
      handshakes.add(secure);
      secure.once("error", fail).once("end", left);
      secure.once("close", () => {
        clearTimeout(timer);
        handshakes.delete(secure);
      });
      secure.once("secure", () => {
        clearTimeout(timer);
        handshakes.delete(secure);
        // From here on an error is the room's; without any listener it would end the process.
        secure.on("error", () => secure.destroy());
        secure.off("error", fail).off("end", left);
        secured(secure);
        // node:http2 waits for this where no tls.Server of Node's made the socket.
        secure.emit("secureConnect");
      });
    },
    close: async () => {
      for (const secure of handshakes) secure.destroy();
    },
  };
}

/** OpenSSL could make nothing of the client's bytes, or found nothing that both speak. An alert is what the client said of us, and nothing wrong. */
function isUnreadable({ code = "" }: Error & { readonly code?: string }): boolean {
  return code.startsWith("ERR_SSL_") && !code.includes("_ALERT_");
}

function unreadable(what: string, cause?: Error): ProxyError {
  return new ProxyError(
    "MalformedRequest",
    `the TLS handshake ${what}: TLS 1.2 or 1.3 is spoken here, with HTTP/2 or HTTP/1.1 inside`,
    { cause },
  );
}
