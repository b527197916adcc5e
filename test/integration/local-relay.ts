// Stands between a client and the proxy and keeps every byte that the client was sent, so that a search needs no decoder.
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface Relay {
  readonly port: number;
  /** Everything sent to clients since the start, or since `forget`. */
  received(): Buffer;
  forget(): void;
  close(): Promise<void>;
}

/** Far more than a test's answers; a loop must not fill the memory. */
const keptBytes = 64 * 1024 * 1024;

export async function startRelay(target: {
  readonly host: string;
  readonly port: number;
}): Promise<Relay> {
  let chunks: Buffer[] = [];
  let bytes = 0;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(target);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      socket.on("error", () => {
        client.destroy();
        upstream.destroy();
      });
    }
    upstream.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > keptBytes) throw new Error(`more than ${keptBytes} bytes were received`);
      chunks.push(chunk);
    });
    client.pipe(upstream);
    upstream.pipe(client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    received: () => Buffer.concat(chunks),
    forget: () => {
      chunks = [];
      bytes = 0;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
