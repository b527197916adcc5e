// Back-pressure: operations wait here, a bounded time and in bounded number, until the spool has room again.

/** How long an operation may wait for room before it is refused. */
export const roomWaitMs = 5_000;
/** Operations waiting for room at a time. */
const maxRoomWaiters = 1_000;

export class RoomQueue {
  readonly #waiting = new Set<{ readonly enter: () => void; readonly refuse: () => void }>();

  /** @param refusal makes the error for one who is not let in */
  wait(signal: AbortSignal | undefined, refusal: () => Error): Promise<void> {
    if (this.#waiting.size >= maxRoomWaiters || signal?.aborted === true)
      return Promise.reject(refusal());
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", waiter.refuse);
        this.#waiting.delete(waiter);
      };
      const waiter = {
        enter: () => {
          leave();
          resolve();
        },
        refuse: () => {
          leave();
          reject(refusal());
        },
      };
      const timer = setTimeout(waiter.refuse, roomWaitMs);
      signal?.addEventListener("abort", waiter.refuse, { once: true });
      this.#waiting.add(waiter);
    });
  }

  /** Lets everyone in, in order, for as long as there is room. */
  admit(hasRoom: () => boolean): void {
    for (const waiter of this.#waiting) {
      if (!hasRoom()) return;
      waiter.enter();
    }
  }

  refuseAll(): void {
    for (const waiter of this.#waiting) waiter.refuse();
  }
}
