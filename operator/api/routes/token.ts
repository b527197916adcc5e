// POST /v1/token and GET /v1/jwks.
import type { FastifyInstance } from "fastify";
import { noStore, pathOf, peerAddress, type ApiContext } from "../context.ts";
import { ExchangeRefused } from "../../grants/exchange-form.ts";

/** A token and a few short parameters. */
const maxFormBytes = 32 * 1024;

/** How long verifiers may keep the key set: far shorter than the overlap of two keys. */
const jwksMaxAgeSeconds = 300;

export function tokenRoutes(app: FastifyInstance, context: ApiContext): void {
  const { exchange, authentication } = context;

  app.addContentTypeParser(
    "application/x-www-form-urlencoded",
    { parseAs: "string", bodyLimit: maxFormBytes },
    (_request, body, done) => done(null, body),
  );

  app.post("/v1/token", { bodyLimit: maxFormBytes }, async (request, reply) => {
    void noStore(reply);
    try {
      if (typeof request.body !== "string")
        throw new ExchangeRefused(
          "invalid_request",
          "ContentType",
          "send the parameters as application/x-www-form-urlencoded",
        );
      return await exchange.exchange(
        {
          body: request.body,
          proof: request.headers["dpop"],
          method: request.method,
          path: pathOf(request),
          peerAddress: peerAddress(request),
        },
        context.signalOf(request),
      );
    } catch (error) {
      if (!(error instanceof ExchangeRefused)) throw error;
      if (error.reason === "InternalError")
        request.log.error({ event: "exchange-failed", err: error.cause });
      return reply.code(error.status).send(error.body());
    }
  });

  app.get("/v1/jwks", async (_request, reply) => {
    void reply.header("cache-control", `max-age=${jwksMaxAgeSeconds}`);
    return authentication.keys.jwks();
  });
}
