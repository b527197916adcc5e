// What a proxy counts, in Prometheus' text format. Labels name connections and verdicts, never subjects' data.
import type { Decision } from "../policy/decision.ts";
import type { Operation } from "../policy/operation.ts";
import { contentType, exposition, type Family, type Sample } from "./exposition.ts";

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
  const decided = new Map<string, Decided>();
  /** A rule answers with the same decision again and again: then its count is known without making a key. */
  let last: { readonly decision: Decision; readonly counted: Decided } | undefined;
  const families: readonly Family[] = [
    {
      name: "chaperone_operations_total",
      help: "Operations decided, by connection, kind, verdict and reason.",
      type: "counter",
      samples: () =>
        Array.from(decided.values(), ({ labels, count }) => ({ labels, value: count })),
    },
    {
      name: "chaperone_proxy_process_cpu_seconds_total",
      help: "Processor time of this process, user and system.",
      type: "counter",
      samples: () => {
        const { user, system } = process.cpuUsage();
        return [{ value: (user + system) / 1e6 }];
      },
    },
    gauge("chaperone_proxy_process_resident_memory_bytes", "Resident memory.", () =>
      process.memoryUsage.rss(),
    ),
    {
      name: "chaperone_sessions_open",
      help: "Open sessions, by connection.",
      type: "gauge",
      samples: () =>
        sources
          .sessions()
          .map(({ connection, open }): Sample => ({ labels: { connection }, value: open })),
    },
    gauge("chaperone_events_unshipped", "Events that the operator does not have yet.", () =>
      sources.unshipped(),
    ),
    gauge(
      "chaperone_events_oldest_unshipped_seconds",
      "Age of the oldest of them.",
      () => sources.oldestUnshippedMs() / 1000,
    ),
    gauge("chaperone_spool_bytes", "Size of the spool on disk.", () => sources.spoolBytes()),
    {
      name: "chaperone_budget_held",
      help: "What this pod holds of a shared budget and has not spent, by connection and budget.",
      type: "gauge",
      samples: () =>
        sources.budgets().map(({ connection, budget, free }): Sample => ({
          labels: { connection, budget },
          value: free,
        })),
    },
    gauge(
      "chaperone_view_age_seconds",
      "Since the operator last spoke on the stream.",
      () => sources.viewAgeMs() / 1000,
    ),
    gauge("chaperone_grants_active", "Connection grants held now.", () => sources.grants()),
  ];

  return {
    decided(connection, decision, { kind }) {
      const labels = last?.decision === decision ? last.counted.labels : undefined;
      if (last !== undefined && labels?.connection === connection && labels.kind === kind) {
        last.counted.count += 1;
        return;
      }
      const { verdict, reason } = decision;
      const key = `${connection} ${kind} ${verdict} ${reason}`;
      const counted = decided.get(key) ?? {
        labels: { connection, kind, verdict, reason },
        count: 0,
      };
      counted.count += 1;
      decided.set(key, counted);
      last = { decision, counted };
    },
    text: async () => exposition(families),
    contentType,
  };
}

function gauge(name: string, help: string, read: () => number): Family {
  return { name, help, type: "gauge", samples: () => [{ value: read() }] };
}
