// The HTTP/1.1 connections of a room, and the one clock that ends what waits for too long on any of them.
import type { Socket } from "node:net";

import { Http1Leg } from "./http1-leg.ts";
import type { LegClock } from "./http1-leg.ts";
import type { InboundLeg, InboundSink } from "./inbound.ts";
import { SharedReads } from "../net/shared-reads.ts";

const everyMs = 1_000;

export class Http1Legs implements LegClock {
  readonly #legs = new Set<Http1Leg>();
  readonly #reads = new SharedReads();
  #timer: NodeJS.Timeout | undefined;
  #second = 0;
  #dateAt = 0;
  #date = "";

  get second(): number {
    return this.#second;
  }

  /** RFC 9110 section 5.6.7: to the second, so that many answers share it. */
  date(): string {
    const now = Math.floor(Date.now() / 1_000);
    if (now !== this.#dateAt) {
      this.#dateAt = now;
      this.#date = new Date(now * 1_000).toUTCString();
    }
    return this.#date;
  }

  accept(socket: Socket, sink: InboundSink): InboundLeg {
    const leg = new Http1Leg(
      socket,
      {
        request: sink.request,
        malformed: sink.malformed,
        closed: () => {
          this.#legs.delete(leg);
          if (this.#legs.size === 0) this.close();
          sink.closed();
        },
      },
      this,
      this.#reads,
    );
    this.#legs.add(leg);
    this.#timer ??= setInterval(this.tick, everyMs).unref();
    return leg;
  }

  /** A second has passed. */
  readonly tick = (): void => {
    this.#second += 1;
    for (const leg of this.#legs) leg.check();
  };

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
