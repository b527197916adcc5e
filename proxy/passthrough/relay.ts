// Carries bytes between an agent and an upstream as they are, counted and bounded: nothing is read, nothing waits in memory.
import type { Socket } from "node:net";

import { ProxyError } from "../errors.ts";

export interface RelayOptions {
  readonly agent: Socket;
  readonly upstream: Socket;
  /** What was read of the agent already. */
  readonly first: Buffer;
  /** No byte in either direction for this long ends it. */
  readonly idleMs: number;
  /** Towards the agent. */
  readonly maxBytesOut: number;
  /** Asked when bytes arrive; an error cuts it. */
  readonly check: () => ProxyError | undefined;
}

export interface RelayEnd {
  /** From the agent, to the agent. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** What cut it; undefined when the agent or both sides ended it. */
  readonly cause: ProxyError | undefined;
}

export interface Relay {
  readonly ended: Promise<RelayEnd>;
  /** Both sides are reset, so that neither takes it for an end. */
  cut(cause: ProxyError): void;
}

export function relay(options: RelayOptions): Relay {
  const { agent, upstream, check } = options;
  const { promise, resolve } = Promise.withResolvers<RelayEnd>();
  let bytesIn = 0;
  let bytesOut = 0;
  let isOver = false;

  const finish = (cause: ProxyError | undefined): void => {
    if (isOver) return;
    isOver = true;
    resolve({ bytesIn, bytesOut, cause });
  };
  const cut = (cause: ProxyError): void => {
    finish(cause);
    agent.resetAndDestroy();
    upstream.resetAndDestroy();
  };
  const carry = (
    from: Socket,
    to: Socket,
    count: (bytes: number) => ProxyError | undefined,
  ): void => {
    from.on("data", (chunk: Buffer) => {
      const refused = count(chunk.length) ?? check();
      if (refused !== undefined) cut(refused);
      else if (!to.write(chunk)) {
        from.pause();
        to.once("drain", () => from.resume());
      }
    });
    // Each direction ends by itself: a client may end its side and still read.
    from.once("end", () => to.end());
    from.resume();
  };

  // Otherwise the upstream's end would end the agent's direction too.
  upstream.allowHalfOpen = true;
  agent.allowHalfOpen = true;
  agent.setTimeout(options.idleMs);
  agent.once("timeout", () =>
    cut(
      new ProxyError(
        "LimitExceeded",
        `no byte passed for ${Math.round(options.idleMs / 1000)} s (limits.idleTimeout)`,
      ),
    ),
  );
  for (const [socket, other] of [
    [agent, upstream],
    [upstream, agent],
  ] as const) {
    socket.once("error", () => undefined);
    socket.once("close", (hadError) => {
      // Torn down on one side, it is torn down on the other.
      if (hadError || !socket.readableEnded) {
        finish(broken(socket === agent));
        other.resetAndDestroy();
      } else if (other.closed || other.destroyed) finish(undefined);
    });
  }
  bytesIn += options.first.length;
  upstream.write(options.first);
  carry(agent, upstream, (bytes) => {
    bytesIn += bytes;
    return undefined;
  });
  carry(upstream, agent, (bytes) => {
    bytesOut += bytes;
    return bytesOut <= options.maxBytesOut
      ? undefined
      : new ProxyError(
          "LimitExceeded",
          `the upstream sent more than ${options.maxBytesOut} bytes (limits.bytesPerResult)`,
        );
  });
  return { ended: promise, cut };
}

/** However the agent leaves, that is its way of ending: clients reset what they have read enough of. */
function broken(byAgent: boolean): ProxyError | undefined {
  return byAgent
    ? undefined
    : new ProxyError("UpstreamProtocol", "the endpoint broke the connection off");
}
