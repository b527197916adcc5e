// Port 15020: health, readiness and metrics. It answers GET only and holds no secret and no host name.
import type { ProxyMetrics } from "./metrics.ts";
import { createServer } from "./net/node-http.ts";
import { limitPerPeer } from "../contract/per-peer.ts";

export interface AdminOptions {
  readonly host: string;
  readonly port: number;
  readonly metrics: ProxyMetrics;
  /** Listeners stand, trust is written: the agent may start. Needs no operator. */
  readonly isReady: () => boolean;
  /** Only a restart can help: the spool's disk failed. */
  readonly hasFailed: () => boolean;
}

export interface AdminServer {
  readonly port: number;
  close(): Promise<void>;
}

/** A scrape and a probe at a time are all there should be, of each address that may come; another pod that holds them open must not starve the kubelet's. */
const maxConnections = 128;
const maxPerPeer = 4;
const requestTimeoutMs = 5_000;

export async function startAdmin({
  host,
  port,
  metrics,
  isReady,
  hasFailed,
}: AdminOptions): Promise<AdminServer> {
  const server = createServer(
    { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs, maxHeaderSize: 4096 },
    (request, response) => {
      if (request.method !== "GET") return void response.writeHead(405, { allow: "GET" }).end();
      switch (request.url) {
        case "/healthz":
          return void response
            .writeHead(hasFailed() ? 503 : 200)
            .end(hasFailed() ? "the spool cannot be written\n" : "ok\n");
        case "/readyz":
          return void response
            .writeHead(isReady() ? 200 : 503)
            .end(isReady() ? "ready\n" : "not ready\n");
        case "/metrics":
          metrics.text().then(
            (text) => response.writeHead(200, { "content-type": metrics.contentType }).end(text),
            () => response.writeHead(500).end(),
          );
          return undefined;
        default:
          return void response.writeHead(404).end();
      }
    },
  );
  server.maxConnections = maxConnections;
  limitPerPeer(server, maxPerPeer);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => resolve());
  });
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
