// What a proxy counts, in Prometheus' text format. Labels name connections and verdicts, never subjects' data.
import { Counter, Gauge, Registry } from "prom-client";
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
  /** What this pod holds of shared budgets and has not spent. */
  budgets(): readonly {
    readonly connection: string;
    readonly budget: string;
    readonly free: number;
  }[];
  viewAgeMs(): number;
  grants(): number;
}

/** As many as there are connections, kinds, verdicts and reasons: none of them is an agent's to choose. */
interface Decided {
  readonly labels: Readonly<Record<"connection" | "kind" | "verdict" | "reason", string>>;
  count: number;
}

export function createMetrics(sources: MetricSources): ProxyMetrics {
  const registry = new Registry();
  const decided = new Map<string, Decided>();
  const operations: Counter = new Counter({
    name: "chaperone_operations_total",
    help: "Operations decided, by connection, kind, verdict and reason.",
    labelNames: ["connection", "kind", "verdict", "reason"],
    registers: [registry],
    collect: () => {
      operations.reset();
      for (const { labels, count } of decided.values()) operations.inc({ ...labels }, count);
    },
  });
  // The library's own process metrics wake an idle proxy a hundred times a second to see how late it is; these cost nothing.
  const processor: Counter = new Counter({
    name: "chaperone_proxy_process_cpu_seconds_total",
    help: "Processor time of this process, user and system.",
    registers: [registry],
    collect: () => {
      const { user, system } = process.cpuUsage();
      processor.reset();
      processor.inc((user + system) / 1e6);
    },
  });
  gauge("chaperone_proxy_process_resident_memory_bytes", "Resident memory.", [], (metric) =>
    metric.set(process.memoryUsage.rss()),
  );
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
    "chaperone_budget_held",
    "What this pod holds of a shared budget and has not spent, by connection and budget.",
    ["connection", "budget"],
    (metric) => {
      for (const { connection, budget, free } of sources.budgets())
        metric.set({ connection, budget }, free);
    },
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
    decided(connection, { verdict, reason }, { kind }) {
      // Counted here and told when asked: the library makes a key of all labels at every increment.
      const key = `${connection} ${kind} ${verdict} ${reason}`;
      const known = decided.get(key);
      if (known === undefined)
        decided.set(key, { labels: { connection, kind, verdict, reason }, count: 1 });
      else known.count += 1;
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}
