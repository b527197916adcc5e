// Cancel keys: the client gets keys of ours, and a CancelRequest with one of them becomes one with the server's key on a connection of its own.
import { randomBytes, randomInt } from "node:crypto";
import { cancelRequest } from "./messages.ts";
import { openSocket } from "./upstream-socket.ts";
import type { SocketRequest } from "./upstream-socket.ts";

/** The server acts on a cancel within milliseconds and closes; a network that swallows it must not hold the session. */
const cancelTimeoutMs = 5_000;

/** Of protocol 3.0; 3.2 lets a server choose up to 256, and PostgreSQL 18 takes this many. */
const shortSecretBytes = 4;
const longSecretBytes = 32;

export interface CancelKey {
  readonly processId: number;
  readonly secret: Buffer;
}

/** Whoever can be cancelled. Resolves when the request has been dealt with, so that the client's next statement is not hit. */
export type Cancellable = () => Promise<void>;

export class CancelKeys {
  readonly #known = new Map<string, Cancellable>();

  /** @param long the client speaks protocol 3.2 */
  issue(cancel: Cancellable, long: boolean): CancelKey {
    for (;;) {
      const processId = randomInt(1, 2 ** 31 - 1);
      const secret = randomBytes(long ? longSecretBytes : shortSecretBytes);
      const name = nameOf(processId, secret);
      if (this.#known.has(name)) continue;
      this.#known.set(name, cancel);
      return { processId, secret };
    }
  }

  forget(key: CancelKey): void {
    this.#known.delete(nameOf(key.processId, key.secret));
  }

  /** Cancels whom the key names; a key that names nobody is ignored, as the server does. */
  async cancel(key: Buffer): Promise<void> {
    if (key.length < 4 + shortSecretBytes || key.length > 4 + longSecretBytes) return;
    await this.#known.get(nameOf(key.readInt32BE(0), key.subarray(4)))?.();
  }
}

function nameOf(processId: number, secret: Buffer): string {
  return `${processId}:${secret.toString("hex")}`;
}

/** Sends the server's own key over a connection of its own, TLS as the main one; resolves once the server has taken it. */
export async function cancelUpstream(
  request: Omit<SocketRequest, "signal">,
  key: Buffer,
): Promise<void> {
  const signal = AbortSignal.timeout(cancelTimeoutMs);
  const socket = await openSocket({ ...request, signal });
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => {
      socket.destroy();
      resolve();
    }, cancelTimeoutMs);
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
