// Where the state commands read and act: the state directory of a laptop, or the operator of a cluster. One interface, two ways.
import type { RequestState } from "../contract/control.ts";
import type { ContentRecord, StoredEvent } from "../contract/event.ts";
import type { BudgetRow } from "../operator/budgets/used.ts";
import type { StreamVerdict } from "../operator/audit/verify.ts";

export interface EventQuery {
  readonly session?: string;
  readonly verdict?: string;
  readonly type?: string;
  readonly connection?: string;
  readonly limit: number;
  /** Only events after this cursor. */
  readonly after?: number;
}

export interface EventPage {
  readonly events: readonly StoredEvent[];
  /** Give it as `after` to go on. */
  readonly cursor: number;
}

export interface SessionRow {
  readonly id: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
  readonly chain?: string;
  readonly connection: string;
  readonly protocol: string;
  readonly started: string;
  readonly last: string;
  readonly ended: boolean;
  readonly operations: number;
  readonly denied: number;
  readonly held: number;
  readonly masked: number;
}

export interface RequestRow extends RequestState {
  readonly namespace: string;
  readonly requester: string;
  readonly summary: string;
  readonly detail?: string;
  readonly openedAt: string;
  readonly expiresAt?: string;
}

export interface QuarantineRow {
  readonly namespace: string;
  readonly name: string;
  readonly selects: string;
  readonly reason: string;
  readonly until?: string;
  readonly createdAt: string;
}

export interface QuarantineInput {
  readonly namespace?: string;
  readonly serviceAccount?: string;
  readonly pod?: string;
  readonly connection?: string;
  readonly all?: boolean;
  readonly reason: string;
}

export interface PodRow {
  readonly namespace: string;
  readonly name: string;
  /** As Kubernetes says it. */
  readonly phase: string;
  /** Of the pod's condition `chaperone.dev/Held`, `Unknown` where it has none. */
  readonly held: "True" | "False" | "Unknown";
  /** `Locked`, `Redirected`, `Cooperative`, or why there is none: `NotInjected`, `NotProven`, `Unknown`. */
  readonly tier: string;
  /** Begins with the first thing that is missing. */
  readonly message: string;
}

export interface Recording {
  readonly events: readonly StoredEvent[];
  readonly contents: readonly ContentRecord[];
}

export interface Backend {
  events(query: EventQuery): Promise<EventPage>;
  sessions(limit: number): Promise<readonly SessionRow[]>;
  /** The events of one session and, with `whole`, of what the same pod did meanwhile on other connections. */
  recording(session: string | undefined, whole: boolean): Promise<Recording>;
  verify(): Promise<readonly StreamVerdict[]>;
  /** What is used of the budgets in this minute and this day. */
  budgets(): Promise<readonly BudgetRow[]>;
  requests(all: boolean): Promise<readonly RequestRow[]>;
  decide(
    namespace: string | undefined,
    name: string,
    verdict: "Approved" | "Denied",
    reason: string | undefined,
  ): Promise<RequestRow>;
  /** Injected pods and how strongly they are held. */
  pods(): Promise<readonly PodRow[]>;
  quarantines(): Promise<readonly QuarantineRow[]>;
  addQuarantine(input: QuarantineInput): Promise<QuarantineRow>;
  liftQuarantine(namespace: string | undefined, name: string): Promise<void>;
  close(): Promise<void>;
}
