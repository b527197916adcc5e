// A listener for the agent's connections: bounded in number, and closed by letting those in flight end first.
import { createServer } from "node:net";
import type { Socket } from "node:net";

import { endDeadlineMs } from "../pipeline.ts";

export interface ListenOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  readonly onConnection: (socket: Socket) => void;
  readonly maxConnections?: number;
}

export interface Listener {
  readonly host: string;
  readonly port: number;
  /** Stops accepting, waits for the open connections, and cuts those that outlast the deadline. */
  close(deadlineMs?: number): Promise<void>;
}

/** Of one listener. One pod's agent needs dozens; the proxy's memory is sized for this many. */
const defaultMaxConnections = 1_024;

export async function listen(options: ListenOptions): Promise<Listener> {
  const open = new Set<Socket>();
  // Half-open as HTTP and PostgreSQL servers do it: a client may end its side and still read the answer.
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
    // An error without a listener would end the process; whoever takes the socket hears of it too.
    socket.on("error", () => socket.destroy());
    options.onConnection(socket);
  });
  server.maxConnections = options.maxConnections ?? defaultMaxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: options.host, port: options.port }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const address = server.address();
  if (address === null || typeof address === "string")
    throw new Error(`no TCP address for ${options.host}:${options.port}`);
  return {
    host: address.address,
    port: address.port,
    close: (deadlineMs = endDeadlineMs) =>
      new Promise((resolve) => {
        const cut = setTimeout(() => open.forEach((socket) => socket.destroy()), deadlineMs);
        server.close(() => {
          clearTimeout(cut);
          resolve();
        });
      }),
  };
}
