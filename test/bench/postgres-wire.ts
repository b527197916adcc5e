// A client that logs in as `pg` does and then counts bytes: it costs next to nothing, so what is measured is what it talks to.
import type { Socket } from "node:net";
import pg from "pg";
import { backend, frontend, message, query } from "../../proxy/postgres/messages.ts";

export interface WireLogin {
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
}

/** A ReadyForQuery outside a transaction, as it ends an answer. */
const ready = Buffer.from([0x5a, 0, 0, 0, 5, 0x49]);
const copyChunkBytes = 64 * 1024;

export class Wire {
  readonly #client: pg.Client;
  readonly #socket: Socket;

  private constructor(client: pg.Client, socket: Socket) {
    this.#client = client;
    this.#socket = socket;
  }

  static async open(login: WireLogin): Promise<Wire> {
    const client = new pg.Client({ ...login, host: "127.0.0.1", ssl: false });
    // What goes wrong on the taken-over socket is told to whoever waits there.
    client.on("error", () => undefined);
    await client.connect();
    const { connection } = client as unknown as {
      readonly connection: { readonly stream: Socket };
    };
    const { stream } = connection;
    stream.removeAllListeners("data");
    stream.removeAllListeners("readable");
    stream.setNoDelay(true);
    return new Wire(client, stream);
  }

  /** Bytes of the whole answer to one text. `onFirst` is called with its first bytes. */
  ask(text: string, onFirst?: () => void): Promise<number> {
    return this.#answer(() => this.#socket.write(query(text)), onFirst);
  }

  /** The answer to messages that end with Sync. */
  exchange(bytes: Buffer): Promise<number> {
    return this.#answer(() => this.#socket.write(bytes));
  }

  /** `text` is a COPY FROM STDIN; `line` is sent until `bytes` are there. */
  async copyIn(text: string, line: string, bytes: number): Promise<void> {
    const data = Buffer.from(line.repeat(Math.ceil(copyChunkBytes / line.length)));
    const chunk = message(frontend.copyData, data);
    const done = this.#answer(() => this.#socket.write(query(text)));
    for (let sent = 0; sent < bytes; sent += data.length)
      if (!this.#socket.write(chunk))
        await new Promise((resolve) => this.#socket.once("drain", resolve));
    this.#socket.write(message(frontend.copyDone, Buffer.alloc(0)));
    await done;
  }

  async close(): Promise<void> {
    this.#socket.destroy();
    await this.#client.end().catch(() => undefined);
  }

  #answer(send: () => void, onFirst?: () => void): Promise<number> {
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      let bytes = 0;
      let tail: Buffer = Buffer.alloc(0);
      const settle = (): void => {
        socket.off("data", onData);
        socket.off("close", onClose);
      };
      const onClose = (): void => {
        settle();
        reject(new Error("the connection was closed in the middle of an answer"));
      };
      const onData = (chunk: Buffer): void => {
        if (bytes === 0 && chunk[0] === backend.error) {
          settle();
          reject(new Error(`the server refused: ${chunk.toString("latin1").slice(0, 300)}`));
          return;
        }
        if (bytes === 0) onFirst?.();
        bytes += chunk.length;
        tail =
          chunk.length >= ready.length
            ? chunk.subarray(-ready.length)
            : Buffer.concat([tail, chunk]).subarray(-ready.length);
        if (!tail.equals(ready)) return;
        settle();
        resolve(bytes);
      };
      socket.on("data", onData);
      socket.on("close", onClose);
      socket.resume();
      send();
    });
  }
}
