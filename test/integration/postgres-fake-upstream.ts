// A server that is no PostgreSQL: it lets anyone in and does what a test says, at the very byte the test says.
import { once } from "node:events";
import { createServer } from "node:net";
import type { Socket } from "node:net";
import { ownMark } from "../../proxy/postgres/exchange.ts";
import {
  authenticationOk,
  backendKeyData,
  message,
  parameterStatus,
  readyForQuery,
} from "../../proxy/postgres/messages.ts";

export interface FakeUpstream {
  readonly host: string;
  readonly port: number;
  /** Sessions that are open now. */
  open(): number;
  /** Ends every session. */
  cut(): void;
  close(): Promise<void>;
}

/** What the fake does once a client has sent its startup message, or its first bytes after the welcome. */
export interface Script {
  /** Instead of the welcome. */
  readonly onStartup?: (socket: Socket) => void;
  /** Everything the session sends behind its startup message, as it comes. */
  readonly onBytes?: (socket: Socket, chunk: Buffer) => void;
}

export const welcome: Buffer = Buffer.concat([
  authenticationOk(),
  parameterStatus("server_version", "18.0"),
  backendKeyData(1, Buffer.from([0, 0, 0, 2])),
  readyForQuery("I"),
]);

const nothing = Buffer.concat([message(0x43, Buffer.from("SELECT 0\0")), readyForQuery("I")]);

export async function startFakeUpstream(script: () => Script): Promise<FakeUpstream> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: false, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    const { onStartup, onBytes } = script();
    socket.once("data", () => {
      if (onStartup === undefined) socket.write(welcome);
      else onStartup(socket);
      socket.on("data", (chunk: Buffer) => {
        // What the proxy itself asks is no part of a script: there is nothing of that kind here.
        if (chunk.includes(ownMark)) socket.write(nothing);
        else onBytes?.(socket, chunk);
      });
    });
  });
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    host: "127.0.0.1",
    port: typeof address === "object" && address !== null ? address.port : 0,
    open: () => sockets.size,
    cut,
    close: async () => {
      cut();
      server.close();
      await once(server, "close");
    },
  };
}
