// Tells a TLS connection that its peer ended from one that just stopped: Node says `end` of both, and RFC 9112 section 9.8 takes what ends with the connection
// for whole only where the peer said so.
import { TLSSocket } from "node:tls";
import type { Socket } from "node:net";

/**
 * Watches from here on. Says true once the connection ended without the peer's close_notify: whoever sits on the way, or a peer that died, can
 * end it like that at any byte. False on connections without TLS, and where the runtime does not tell.
 */
export function watchTlsEnd(socket: Socket): () => boolean {
  if (!(socket instanceof TLSSocket)) return () => false;
  let isCut: boolean | undefined;
  const push = socket.push.bind(socket);
  socket.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (chunk === null) isCut ??= hasStopped(socket);
    return push(chunk, encoding);
  };
  return () => isCut === true;
}

/**
 * Whether the TCP connection under it has ended, at the moment when TLS says that it did: after a close_notify it still reads. Reading that
 * is begun twice is an error (libuv's UV_EALREADY); that Node held it back itself was noted by it beforehand. Not documented, so its shape
 * is looked at.
 */
function hasStopped(socket: TLSSocket): boolean {
  const holder: { _handle?: unknown } = socket as { _handle?: unknown };
  const { _handle: handle } = holder;
  if (typeof handle !== "object" || handle === null || !("_parent" in handle)) return false;
  if (!("reading" in handle) || handle.reading !== true) return false;
  const { _parent: tcp } = handle;
  if (typeof tcp !== "object" || tcp === null || !("readStart" in tcp)) return false;
  return typeof tcp.readStart === "function" && tcp.readStart() === 0;
}
