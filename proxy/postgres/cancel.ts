// Cancel keys: the client gets keys of ours, and a CancelRequest with one of them becomes one with the server's key on a connection of its own.
import { randomInt } from "node:crypto";
import { cancelRequest } from "./messages.ts";
import { openSocket } from "./upstream-socket.ts";
import type { SocketRequest } from "./upstream-socket.ts";

/** The server acts on a cancel within milliseconds and closes; a network that swallows it must not hold the session. */
const cancelTimeoutMs = 5_000;

export interface CancelKey {
  readonly processId: number;
  readonly secret: number;
}

/** Whoever can be cancelled. Resolves when the request has been dealt with, so that the client's next statement is not hit. */
export type Cancellable = () => Promise<void>;

export class CancelKeys {
  readonly #known = new Map<string, Cancellable>();

  issue(cancel: Cancellable): CancelKey {
    for (;;) {
      const processId = randomInt(1, 2 ** 31 - 1);
      const secret = randomInt(-(2 ** 31), 2 ** 31 - 1);
      const name = `${processId}:${secret}`;
      if (this.#known.has(name)) continue;
      this.#known.set(name, cancel);
      return { processId, secret };
    }
  }

  forget(key: CancelKey): void {
    this.#known.delete(`${key.processId}:${key.secret}`);
  }

  /** Cancels whom the key names; a key that names nobody is ignored, as the server does. */
  async cancel(key: Buffer): Promise<void> {
    if (key.length !== 8) return;
    await this.#known.get(`${key.readInt32BE(0)}:${key.readInt32BE(4)}`)?.();
  }
}

/** Sends the server's own key over a connection of its own, TLS as the main one; resolves once the server has taken it. */
export async function cancelUpstream(
  request: Omit<SocketRequest, "signal">,
  key: Buffer,
): Promise<void> {
  const signal = AbortSignal.timeout(cancelTimeoutMs);
  const socket = await openSocket({ ...request, signal });
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => socket.destroy(), cancelTimeoutMs);
    socket.on("error", () => undefined);
    socket.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
    socket.resume();
    socket.write(cancelRequest(key));
    // The server answers nothing and closes; ours stays open for reading until then.
    socket.once("end", () => socket.end());
  });
}
