// GET /v1/stream: newline-delimited JSON for as long as the pod grant lives.
import type { ServerResponse } from "node:http";
import type { FastifyInstance } from "fastify";
import type { ApiContext } from "../context.ts";
import { unavailable } from "../errors.ts";
import type { StreamSink } from "../stream.ts";

export function streamRoutes(app: FastifyInstance, context: ApiContext): void {
  const { hub, grantOf, authentication } = context;

  app.get("/v1/stream", { onRequest: context.requireProxy }, async (request, reply) => {
    const { subject, expiresAt } = grantOf(request);
    const { namespace, serviceAccount, pod, podUid } = subject;
    const sink = responseSink(reply.raw, {
      "dpop-nonce": String(reply.getHeader("dpop-nonce") ?? ""),
    });
    const close = hub.open({ namespace, serviceAccount, pod, podUid }, expiresAt, sink);
    if (close === undefined)
      throw unavailable(
        "TooManyStreams",
        "this replica serves as many streams as it can; another one may have room",
      );
    // The pod may have been deleted, or its key replaced, while we were checking.
    if (authentication.isGone(podUid)) hub.forgetPod(podUid);
    request.raw.socket.setNoDelay(true);
    reply.raw.once("close", close);
    return await reply.hijack();
  });
}

/** Sends the head with the first line, so that a refusal before it is still an ordinary answer. */
function responseSink(
  response: ServerResponse,
  headers: Readonly<Record<string, string>>,
): StreamSink {
  return {
    write(line) {
      if (!response.headersSent)
        response.writeHead(200, {
          ...headers,
          "content-type": "application/x-ndjson",
          "cache-control": "no-store",
        });
      response.write(line);
    },
    unread: () => response.writableLength,
    end: () => void response.end(),
    destroy: () => void response.destroy(),
  };
}
