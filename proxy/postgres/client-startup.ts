// The client's side of setting up a connection: TLS or not, which protocol version, which parameters; or a request to cancel.
import { TLSSocket } from "node:tls";
import type { SecureContext } from "node:tls";
import type { Socket } from "node:net";
import { once } from "node:events";
import { ByteReader } from "./byte-reader.ts";
import { readString, stringEnd } from "./decode.ts";
import { WireError } from "./framer.ts";
import { cancelRequestCode, gssEncRequestCode, sslRequestCode } from "./messages.ts";

/** The server's own bound (MAX_STARTUP_PACKET_LENGTH). */
const maxStartupBytes = 10_000;
/** SSLRequest, GSSENCRequest, startup; more rounds are no client. */
const maxRounds = 4;
/** First byte of a TLS ClientHello: PostgreSQL 17 clients may begin with TLS at once (sslnegotiation=direct). */
const tlsHandshakeByte = 0x16;
const alpn = "postgresql";

export type ClientStart =
  | {
      readonly kind: "session";
      readonly socket: Socket;
      readonly parameters: ReadonlyMap<string, string>;
      /** As asked for; what is spoken is the session's to say. */
      readonly minor: number;
      readonly rest: Buffer;
    }
  | { readonly kind: "cancel"; readonly socket: Socket; readonly key: Buffer };

/**
 * @param tlsContext undefined: TLS is answered with `N`
 * @param onSocket told of the socket to speak on from now, so that errors reach the client in its own terms
 */
export async function startClient(
  first: Socket,
  tlsContext: () => SecureContext | undefined,
  signal: AbortSignal,
  onSocket: (socket: Socket) => void,
): Promise<ClientStart> {
  let socket = first;
  let reader = new ByteReader(socket, signal);
  try {
    const beginning = await reader.peek(1);
    if (beginning[0] === tlsHandshakeByte) {
      socket = await secure(socket, reader.detach(), tlsContext(), signal, true);
      onSocket(socket);
      reader = new ByteReader(socket, signal);
    }
    for (let round = 0; round < maxRounds; round++) {
      const { code, body } = await readPacket(reader);
      switch (code) {
        case sslRequestCode: {
          const context = socket instanceof TLSSocket ? undefined : tlsContext();
          const ahead = reader.detach();
          // Bytes sent before our answer were not encrypted, whatever they claim to be (CVE-2021-23214).
          if (ahead.length > 0)
            throw new WireError("bytes came behind SSLRequest before its answer");
          if (context === undefined) socket.write("N");
          else {
            socket.write("S");
            socket = await secure(socket, ahead, context, signal, false);
            onSocket(socket);
          }
          reader = new ByteReader(socket, signal);
          break;
        }
        case gssEncRequestCode:
          socket.write("N");
          break;
        case cancelRequestCode:
          reader.detach();
          return { kind: "cancel", socket, key: body };
        default: {
          if (code >>> 16 !== 3)
            throw new WireError(`protocol ${code >>> 16}.${code & 0xffff} is not spoken here`);
          const parameters = readParameters(body);
          return {
            kind: "session",
            socket,
            parameters,
            minor: code & 0xffff,
            rest: reader.detach(),
          };
        }
      }
    }
    throw new WireError("too many requests before a startup message");
  } finally {
    reader.detach();
  }
}

async function readPacket(reader: ByteReader): Promise<{ code: number; body: Buffer }> {
  const length = (await reader.read(4)).readInt32BE(0);
  if (length < 8 || length > maxStartupBytes)
    throw new WireError(`a startup packet of ${length} bytes cannot be`);
  const packet = await reader.read(length - 4);
  return { code: packet.readInt32BE(0), body: packet.subarray(4) };
}

function readParameters(body: Buffer): ReadonlyMap<string, string> {
  const parameters = new Map<string, string>();
  let at = 0;
  while (at < body.length && body[at] !== 0) {
    const nameEnd = stringEnd(body, at, body.length);
    const valueEnd = stringEnd(body, nameEnd + 1, body.length);
    parameters.set(body.toString("utf8", at, nameEnd), readString(body, nameEnd + 1, body.length));
    at = valueEnd + 1;
  }
  if (at !== body.length - 1) throw new WireError("a startup message has no end");
  return parameters;
}

async function secure(
  socket: Socket,
  ahead: Buffer,
  context: SecureContext | undefined,
  signal: AbortSignal,
  direct: boolean,
): Promise<Socket> {
  if (context === undefined) throw new WireError("TLS is not offered here");
  if (ahead.length > 0) socket.unshift(ahead);
  const secured = new TLSSocket(socket, {
    isServer: true,
    secureContext: context,
    ALPNProtocols: [alpn],
  });
  // An error without a listener would end the process; the handshake's own wait hears of it too.
  secured.on("error", () => undefined);
  await once(secured, "secure", { signal });
  if (direct && secured.alpnProtocol !== alpn)
    throw new WireError("direct TLS needs the ALPN protocol postgresql");
  return secured;
}
