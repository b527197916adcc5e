// What a proxy counts, in Prometheus' text format. Labels name connections and verdicts, never subjects' data.
import { collectDefaultMetrics, Counter, Gauge, Registry } from "prom-client";
import type { Decision } from "../policy/decision.ts";
import type { Operation } from "../policy/operation.ts";

export interface ProxyMetrics {
  decided(connection: string, decision: Decision, operation: Operation): void;
  /** The text of GET /metrics. */
  text(): Promise<string>;
  readonly contentType: string;
}

export interface MetricSources {
  sessions(): readonly { readonly connection: string; readonly open: number }[];
  unshipped(): number;
  oldestUnshippedMs(): number;
  spoolBytes(): number;
  viewAgeMs(): number;
  grants(): number;
}

export function createMetrics(sources: MetricSources): ProxyMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: "chaperone_proxy_" });
  const operations = new Counter({
    name: "chaperone_operations_total",
    help: "Operations decided, by connection, kind, verdict and reason.",
    labelNames: ["connection", "kind", "verdict", "reason"],
    registers: [registry],
  });
  gauge("chaperone_sessions_open", "Open sessions, by connection.", ["connection"], (metric) => {
    for (const { connection, open } of sources.sessions()) metric.set({ connection }, open);
  });
  gauge("chaperone_events_unshipped", "Events that the operator does not have yet.", [], (metric) =>
    metric.set(sources.unshipped()),
  );
  gauge("chaperone_events_oldest_unshipped_seconds", "Age of the oldest of them.", [], (metric) =>
    metric.set(sources.oldestUnshippedMs() / 1000),
  );
  gauge("chaperone_spool_bytes", "Size of the spool on disk.", [], (metric) =>
    metric.set(sources.spoolBytes()),
  );
  gauge(
    "chaperone_view_age_seconds",
    "Since the operator last spoke on the stream.",
    [],
    (metric) => metric.set(sources.viewAgeMs() / 1000),
  );
  gauge("chaperone_grants_active", "Connection grants held now.", [], (metric) =>
    metric.set(sources.grants()),
  );

  function gauge(
    name: string,
    help: string,
    labelNames: string[],
    read: (metric: Gauge) => void,
  ): void {
    const metric: Gauge = new Gauge({
      name,
      help,
      labelNames,
      registers: [registry],
      collect: () => read(metric),
    });
  }

  return {
    decided(connection, decision, operation) {
      operations.inc({
        connection,
        kind: operation.kind,
        verdict: decision.verdict,
        reason: decision.reason,
      });
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}
