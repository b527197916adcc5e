// Stands between the proxy and the server and counts what was forwarded: what the server was made to run, whatever the proxy says of it.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { ownMark } from "../../proxy/postgres/exchange.ts";

export interface Tap {
  readonly port: number;
  /** Queries and Executes forwarded since the last call of `forget`, without those that fail for sure and the proxy's own. */
  forwarded(): number;
  /** Texts of the Query messages among them, but for EXECUTE: that is recorded as what it runs. */
  texts(): readonly string[];
  forget(): void;
  /** Resolves when no session is open any more. */
  idle(): Promise<void>;
  close(): Promise<void>;
}

/** Name that the proxy gives to a portal that does not exist. */
const poison = "chaperone:";
const query = 0x51;
const execute = 0x45;
const executesPrepared = /^\s*EXECUTE\b/i;

export async function startTap(target: {
  readonly host: string;
  readonly port: number;
}): Promise<Tap> {
  let forwarded = 0;
  let texts: string[] = [];
  const sockets = new Set<Socket>();
  let wake: () => void = () => undefined;
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const upstream = connect({ ...target, allowHalfOpen: true, noDelay: true });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.once("close", () => {
        sockets.delete(socket);
        wake();
      });
      socket.on("error", () => {
        client.destroy();
        upstream.destroy();
      });
    }
    const read = messages((type, body) => {
      if (type === query) {
        const text = body.toString("utf8", 0, body.length - 1);
        if (text.startsWith(ownMark)) return;
        forwarded += 1;
        if (!executesPrepared.test(text)) texts.push(text);
      } else if (type === execute && !body.toString("latin1").startsWith(poison)) forwarded += 1;
    });
    client.on("data", read);
    client.pipe(upstream);
    upstream.pipe(client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    forwarded: () => forwarded,
    texts: () => texts,
    forget: () => {
      forwarded = 0;
      texts = [];
    },
    idle: async () => {
      while (sockets.size > 0)
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Cuts what a client of the server sends; the first packet has no type. */
function messages(seen: (type: number, body: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  let started = false;
  return (chunk) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (;;) {
      const head = started ? 1 : 0;
      if (rest.length < head + 4) return;
      const end = head + rest.readInt32BE(head);
      if (rest.length < end) return;
      if (started) seen(rest[0] ?? 0, rest.subarray(5, end));
      started = true;
      rest = rest.subarray(end);
    }
  };
}
