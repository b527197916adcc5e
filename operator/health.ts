// The operator's plain HTTP port: alive, ready, and numbers for Prometheus. It answers GET and holds no secret.
import { createServer, type Server } from "node:http";
import { collectDefaultMetrics, Counter, Gauge, Registry } from "prom-client";
import { limitPerPeer } from "../contract/per-peer.ts";

/** Kubelet and Prometheus; anybody else has no business here. */
const maxConnections = 64;
/** Of one address: the kubelet probes from the node's, monitoring scrapes from a pod's. */
const maxPerPeer = 8;

const requestTimeoutMs = 10_000;

export interface OperatorMetrics {
  readonly registry: Registry;
  /** Events of the operator's own stream. */
  readonly events: Counter<"type">;
  /** Grants refused, by our reason. */
  readonly refusals: Counter<"reason">;
  /** What became of pods at admission. */
  readonly admissions: Counter<"result" | "reason">;
  readonly watchAge: Gauge<"kind">;
  readonly streams: Gauge;
  readonly queueDepth: Gauge<"controller">;
}

/** `collect` is called before each reading, to set the gauges. */
export function operatorMetrics(collect: (metrics: OperatorMetrics) => void): OperatorMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const metrics: OperatorMetrics = {
    registry,
    events: new Counter({
      name: "chaperone_operator_events_total",
      help: "Audit events of the operator's own stream",
      labelNames: ["type"],
      registers,
    }),
    refusals: new Counter({
      name: "chaperone_operator_grant_refusals_total",
      help: "Refused token exchanges, as recorded",
      labelNames: ["reason"],
      registers,
    }),
    admissions: new Counter({
      name: "chaperone_operator_admissions_total",
      help: "Labelled pods at admission: patch, skip or refuse, with the reason",
      labelNames: ["result", "reason"],
      registers,
    }),
    watchAge: new Gauge({
      name: "chaperone_operator_watch_age_seconds",
      help: "Time since the API server last confirmed what is known",
      labelNames: ["kind"],
      registers,
      // The first gauge of all: it sets the others too before they are read.
      collect: () => collect(metrics),
    }),
    streams: new Gauge({
      name: "chaperone_operator_streams",
      help: "Proxies that are connected",
      registers,
    }),
    queueDepth: new Gauge({
      name: "chaperone_operator_queue_depth",
      help: "Objects waiting for their controller",
      labelNames: ["controller"],
      registers,
    }),
  };
  return metrics;
}

export interface Health {
  close(): Promise<void>;
}

/** `notReady`: what is missing, in words; empty when the operator is ready. */
export async function startHealth(options: {
  readonly host: string;
  readonly port: number;
  readonly registry: Registry;
  readonly notReady: () => readonly string[];
}): Promise<Health> {
  const { registry, notReady } = options;
  const pages: Readonly<
    Record<string, () => Promise<{ readonly status: number; readonly text: string }>>
  > = {
    "/healthz": async () => ({ status: 200, text: "ok\n" }),
    "/readyz": async () => {
      const missing = notReady();
      return missing.length === 0
        ? { status: 200, text: "ok\n" }
        : { status: 503, text: `${missing.join("\n")}\n` };
    },
    "/metrics": async () => ({ status: 200, text: await registry.metrics() }),
  };
  const server = createServer(
    { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs },
    (request, response) => {
      const page =
        request.method === "GET" ? pages[request.url?.split("?", 1)[0] ?? ""] : undefined;
      if (page === undefined) {
        response.writeHead(request.method === "GET" ? 404 : 405).end();
        return;
      }
      page().then(
        ({ status, text }) =>
          response
            .writeHead(status, {
              "content-type":
                request.url === "/metrics" ? registry.contentType : "text/plain; charset=utf-8",
            })
            .end(text),
        () => response.writeHead(500).end(),
      );
    },
  );
  server.maxConnections = maxConnections;
  limitPerPeer(server, maxPerPeer);
  await listening(server, options.host, options.port);
  return {
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function listening(server: Server, host: string, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port }, () => {
      server.off("error", reject);
      resolve();
    });
  });
}
