// Bounds the bytes of admission reviews that are being read at one time, in all and for one peer: nobody proves who they are to a
// webhook, and a body is in memory long before it is read to its end.
import type { FastifyInstance } from "fastify";

export interface BodyBudget {
  readonly totalBytes: number;
  /** The API server's own share is as large; it sends a review at a time over each connection. */
  readonly peerBytes: number;
}

export const defaultBodyBudget: BodyBudget = {
  totalBytes: 96 * 1024 * 1024,
  peerBytes: 32 * 1024 * 1024,
};

/** A review whose length is not said beforehand is refused: the API server always says it. What finds no room is told to try again. */
export function boundBodies(app: FastifyInstance, budget: BodyBudget = defaultBodyBudget): void {
  let total = 0;
  const byPeer = new Map<string, number>();
  app.addHook("onRequest", async (request, reply) => {
    if (request.method !== "POST") return;
    const bytes = Number(request.headers["content-length"] ?? Number.NaN);
    if (!Number.isSafeInteger(bytes) || bytes < 0) {
      await reply.code(411).send({ error: "a review needs a Content-Length" });
      return;
    }
    const peer = request.socket.remoteAddress ?? "";
    const used = byPeer.get(peer) ?? 0;
    if (total + bytes > budget.totalBytes || used + bytes > budget.peerBytes) {
      void reply.header("retry-after", "1").header("connection", "close");
      await reply.code(503).send({ error: "too many reviews are being read; try again" });
      return;
    }
    total += bytes;
    byPeer.set(peer, used + bytes);
    reply.raw.once("close", () => {
      total -= bytes;
      const left = (byPeer.get(peer) ?? bytes) - bytes;
      if (left > 0) byPeer.set(peer, left);
      else byPeer.delete(peer);
    });
  });
}
