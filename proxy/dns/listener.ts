// The proxy's DNS over UDP and TCP, on loopback: the rules of a redirected pod send everything here that goes to port 53.
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import type { Socket } from "node:net";

import { listen, type Listener } from "../net/listen.ts";
import type { Said } from "./answer.ts";
import { maxQueryBytes } from "./message.ts";

export interface DnsOptions {
  /** Loopback addresses. */
  readonly hosts: readonly string[];
  /** 0 takes a free one, for one host. */
  readonly port: number;
  readonly answer: (message: Buffer) => Said;
  readonly onUnknown: (name: string) => void;
}

export interface DnsListener {
  readonly port: number;
  close(): Promise<void>;
}

/** A client waits for its answer, asks the next and leaves (RFC 7766 section 6.2.3 leaves the time to the server). */
const idleMs = 10_000;
/** Of one host; libraries use TCP for what is too long, which nothing here is. */
const maxConnections = 64;
/** Queries of one connection. */
const maxQueries = 256;
/** Written and not read: a client that only asks is cut. */
const maxUnreadBytes = 64 * 1024;
const lengthBytes = 2;

export async function openDns(options: DnsOptions): Promise<DnsListener> {
  const said = (message: Buffer): Buffer | undefined => {
    const { response, unknown } = options.answer(message);
    if (unknown !== undefined) options.onUnknown(unknown);
    return response;
  };
  const datagrams: UdpSocket[] = [];
  const streams: Listener[] = [];
  let { port } = options;
  try {
    for (const host of options.hosts) {
      const stream = await listen({
        host,
        port,
        maxConnections,
        onConnection: (socket) => serve(socket, said),
      });
      streams.push(stream);
      ({ port } = stream);
      datagrams.push(await bind(host, port, said));
    }
  } catch (error) {
    await closeAll(datagrams, streams);
    throw error;
  }
  return { port, close: () => closeAll(datagrams, streams) };
}

async function closeAll(
  datagrams: readonly UdpSocket[],
  streams: readonly Listener[],
): Promise<void> {
  for (const socket of datagrams) socket.close();
  await Promise.all(streams.map((stream) => stream.close(0)));
}

function bind(
  host: string,
  port: number,
  said: (message: Buffer) => Buffer | undefined,
): Promise<UdpSocket> {
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  socket.on("message", (message, from) => {
    const response = said(message);
    // An answer that cannot be sent is asked for again.
    if (response !== undefined) socket.send(response, from.port, from.address, ignore);
  });
  const { promise, resolve, reject } = Promise.withResolvers<UdpSocket>();
  socket.once("error", reject);
  socket.bind({ address: host, port }, () => {
    socket.off("error", reject);
    socket.on("error", ignore);
    resolve(socket);
  });
  return promise;
}

/** One message after the other, each after its length (RFC 1035 section 4.2.2). */
function serve(socket: Socket, said: (message: Buffer) => Buffer | undefined): void {
  let pending: Buffer = Buffer.alloc(0);
  let queries = 0;
  socket.setTimeout(idleMs, () => socket.destroy());
  socket.on("end", () => socket.end());
  socket.on("data", (chunk) => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    for (let message = next(pending); message !== "more"; message = next(pending)) {
      queries += 1;
      if (message === "too long" || queries > maxQueries) {
        socket.destroy();
        return;
      }
      pending = pending.subarray(lengthBytes + message.length);
      const response = said(message);
      if (response === undefined || socket.writableLength > maxUnreadBytes) {
        socket.destroy();
        return;
      }
      const length = Buffer.alloc(lengthBytes);
      length.writeUInt16BE(response.length);
      socket.write(Buffer.concat([length, response]));
    }
  });
}

function next(pending: Buffer): Buffer | "more" | "too long" {
  if (pending.length < lengthBytes) return "more";
  const length = pending.readUInt16BE(0);
  if (length > maxQueryBytes) return "too long";
  return pending.length < lengthBytes + length
    ? "more"
    : pending.subarray(lengthBytes, lengthBytes + length);
}

function ignore(): void {}
