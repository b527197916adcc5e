// POST /v1/view: what this proxy enforces now.
import type { FastifyInstance } from "fastify";
import type { ProxyView } from "../../../contract/control.ts";
import { subjectOf } from "../../grants/exchange.ts";
import type { ApiContext } from "../context.ts";
import { unavailable } from "../errors.ts";

/** A hundred connections of a few hundred bytes each. */
const maxViewBytes = 128 * 1024;

export function viewRoutes(app: FastifyInstance, context: ApiContext): void {
  app.post(
    "/v1/view",
    { onRequest: context.requireProxy, bodyLimit: maxViewBytes, schema: { body: viewSchema } },
    async (request, reply) => {
      const view = request.body as ProxyView; // as viewSchema admits
      if (!context.views.report(subjectOf(context.grantOf(request).subject), view))
        throw unavailable("TooManyViews", "this replica follows as many proxies as it can");
      return reply.code(204).send();
    },
  );
}

const text = (maxLength: number) => ({ type: "string", maxLength });

const viewSchema = {
  type: "object",
  required: ["generation", "proxyVersion", "features", "connections"],
  properties: {
    generation: { type: "integer" },
    proxyVersion: text(64),
    features: { type: "array", maxItems: 64, items: text(64) },
    connections: {
      type: "array",
      maxItems: 256,
      items: {
        type: "object",
        required: ["connection", "bundle", "activeSessions"],
        properties: {
          connection: text(317),
          bundle: text(128),
          activeSessions: { type: "integer", minimum: 0 },
          unusable: text(1_024),
        },
      },
    },
  },
} as const;
