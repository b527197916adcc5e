// Bounds how many connections one address holds at a server: whoever wants to crowd others out needs as many addresses, not one pod.
import { isIPv4, type Server, type Socket } from "node:net";

/**
 * What exceeds `most` is closed at once, before TLS. This machine's own callers (port-forward, probes of local mode) and unix
 * sockets are not counted: many share that address, and none of them is another pod.
 *
 * @param isExempt addresses that are not counted
 */
export function limitPerPeer(
  server: Server,
  most: number,
  isExempt: (address: string) => boolean = isLoopback,
): void {
  const open = new Map<string, number>();
  server.on("connection", (socket: Socket) => {
    const peer = socket.remoteAddress;
    if (peer === undefined || isExempt(peer)) return;
    const count = (open.get(peer) ?? 0) + 1;
    if (count > most) {
      socket.destroy();
      return;
    }
    open.set(peer, count);
    socket.once("close", () => {
      const left = (open.get(peer) ?? 1) - 1;
      if (left > 0) open.set(peer, left);
      else open.delete(peer);
    });
  });
}

function isLoopback(address: string): boolean {
  const plain = address.replace(/^::ffff:/i, "");
  return address === "::1" || (isIPv4(plain) && plain.startsWith("127."));
}
