// A connection of the proxy's own beside a session's, for one look-up: it sees the database as it is now, whatever the session's transaction sees.
import { collectRows } from "./capture.ts";
import { readFields } from "./decode.ts";
import { Framer, tooLong, WireError } from "./framer.ts";
import type { FrameSink } from "./framer.ts";
import { ownMark } from "./exchange.ts";
import type { Rows } from "./mask-source.ts";
import { backend, query, terminate } from "./messages.ts";
import type { Capture } from "./requests.ts";
import { connectHost } from "./upstream.ts";
import type { UpstreamLeg, UpstreamRequest } from "./upstream.ts";

/** A row of the catalog is one relation with its columns and, of a view, its text. */
const maxRowBytes = 8 * 1024 * 1024;

export interface Aside {
  /** @throws Error with the server's words */
  ask(text: string): Promise<Rows>;
  close(): void;
}

/** @throws ProxyError when no session can be had; or the signal's reason */
export async function openAside(request: UpstreamRequest): Promise<Aside> {
  const leg = await connectHost(request);
  return new AsideConnection(leg);
}

class AsideConnection implements Aside, FrameSink {
  readonly blocked = false;
  readonly #framer = new Framer(this);
  readonly #leg: UpstreamLeg;
  #capture: Capture | undefined;

  constructor(leg: UpstreamLeg) {
    this.#leg = leg;
    const { socket } = leg;
    const over = (): void => this.#end("the server closed the connection");
    socket.on("error", over);
    socket.on("close", over);
    socket.on("data", (chunk: Buffer) => {
      try {
        this.#framer.push(chunk);
      } catch (error) {
        this.#end(error instanceof Error ? error.message : "unknown failure");
        socket.destroy();
      }
    });
    socket.resume();
  }

  ask(text: string): Promise<Rows> {
    const { capture, rows } = collectRows();
    this.#capture = capture;
    this.#leg.socket.write(query(`${ownMark}${text}`));
    return rows;
  }

  close(): void {
    const { socket } = this.#leg;
    socket.end(terminate());
    socket.destroySoon();
  }

  #end(why: string | undefined): void {
    const capture = this.#capture;
    this.#capture = undefined;
    capture?.done(why);
  }

  limit(): number {
    return maxRowBytes;
  }

  admits(): boolean {
    return true;
  }

  oversize(_type: number, total: number, limit: number): void {
    throw tooLong(total, limit);
  }

  piece(): void {
    throw new WireError("a message that is to be read whole came in pieces");
  }

  message(type: number, buffer: Buffer, start: number, end: number): void {
    if (type === backend.dataRow) this.#capture?.row(buffer, start, end);
    else if (type === backend.readyForQuery) this.#end(undefined);
    else if (type === backend.error) {
      const fields = readFields(buffer, start, end);
      this.#capture?.done(`${fields.get("C") ?? ""} ${fields.get("M") ?? ""}`);
    }
  }
}
