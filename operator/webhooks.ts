// The HTTPS server that the API server calls for admission; apart from the one for proxies, so that neither can crowd the other out.
import fastify, {
  LogController,
  type FastifyBaseLogger,
  type FastifyPluginCallback,
} from "fastify";
import { limitPerPeer } from "../contract/per-peer.ts";
import { boundBodies } from "./injection/body-budget.ts";
import type { Serving } from "./pki/authority.ts";

/** The API server keeps a few dozen connections and sends many reviews over each; other pods may knock here, too. */
const maxConnections = 1_024;
/** Of one address: more than one API server opens when a hundred pods are created at once. */
const maxPerPeer = 256;

/** Who connects and does not speak TLS is gone soon. */
const handshakeTimeoutMs = 3_000;
/** It waits 5 s for an answer. */
const requestTimeoutMs = 6_000;

/** Reviews in flight at shutdown. */
const closeGraceMs = 2_000;

export interface Webhooks {
  /** For new connections. */
  replaceCertificate(serving: Serving): void;
  close(): Promise<void>;
}

export async function startWebhooks(options: {
  readonly host: string;
  readonly port: number;
  readonly tls: Serving;
  readonly logger: FastifyBaseLogger;
  readonly routes: FastifyPluginCallback;
}): Promise<Webhooks> {
  const { host, port, tls, logger, routes } = options;
  const app = fastify({
    https: { ...tls, minVersion: "TLSv1.2", handshakeTimeout: handshakeTimeoutMs },
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    requestTimeout: requestTimeoutMs,
    forceCloseConnections: "idle",
  });
  const { server } = app;
  server.maxConnections = maxConnections;
  limitPerPeer(server, maxPerPeer);
  boundBodies(app);
  await app.register(routes);
  await app.listen({ host, port });
  return {
    replaceCertificate: ({ cert, key }) =>
      server.setSecureContext({ cert, key, minVersion: "TLSv1.2" }),
    async close() {
      const force = setTimeout(() => server.closeAllConnections(), closeGraceMs);
      await app.close().finally(() => clearTimeout(force));
    },
  };
}
