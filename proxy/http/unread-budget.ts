// What the bodies of all requests of HTTP/2 may have waiting in this process: a connection brings a thousand of them for the price of one.
import { ProxyError } from "../errors.ts";

/** As many as one connection may open, with their windows full; what an upstream's connections hold of each comes beside it. */
export const maxUnreadBytes = 40 * 1024 * 1024;

/** A connection. */
export interface UnreadHolder {
  /** Bytes of its bodies that wait. */
  readonly unread: number;
  /** Gives up the body that holds most of them, before this returns. */
  refuseLargest(error: ProxyError): void;
}

/**
 * Whoever holds most gives way: a body that finds no room takes it from the connection with the most bytes waiting, so that none can keep
 * the small requests of another from being read.
 */
export class UnreadBudget {
  readonly #most: number;
  readonly #holders = new Set<UnreadHolder>();
  #unread = 0;

  constructor(most: number = maxUnreadBytes) {
    this.#most = most;
  }

  join(holder: UnreadHolder): void {
    this.#holders.add(holder);
  }

  leave(holder: UnreadHolder): void {
    this.#holders.delete(holder);
  }

  /** So many bytes more wait, or fewer: the holder has counted them. */
  add(bytes: number): void {
    this.#unread += bytes;
    while (this.#unread > this.#most) {
      const largest = this.#largest();
      if (largest === undefined) return;
      largest.refuseLargest(tooMuch(this.#most));
    }
  }

  #largest(): UnreadHolder | undefined {
    let largest: UnreadHolder | undefined;
    for (const holder of this.#holders)
      if (holder.unread > (largest?.unread ?? 0)) largest = holder;
    return largest;
  }
}

function tooMuch(most: number): ProxyError {
  return new ProxyError(
    "LimitExceeded",
    `the HTTP/2 requests of this pod have ${most / 1024 / 1024} MiB of bodies waiting to be read, as much as they may together; send fewer at a time`,
  );
}
