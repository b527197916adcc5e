// Clears away what has served its time: sessions of command lines that are over, and access requests that were settled long ago.
import type { AccessRequest, AccessSession } from "../../crds/types.gen.ts";
import { phaseAt } from "../approvals/state.ts";
import type { KubeClient } from "./client.ts";
import { KubeError } from "./kube-error.ts";
import { objectPath, type ResourceType } from "./objects.ts";
import { sessionLifeMs } from "./people.ts";
import { resourceTypes } from "./resource-types.ts";

export const sweepIntervalMs = 60_000;

/** The audit trail keeps what was asked and decided; the resource stays for a day for whoever looks at it with kubectl. */
export const settledRequestMs = 24 * 60 * 60_000;

/** One sweep deletes no more than this, so that it never competes with what people wait for; the next one goes on. */
const maxDeletes = 200;

const sweepTimeoutMs = 30_000;

export interface JanitorOptions {
  readonly client: KubeClient;
  readonly sessions: () => Iterable<AccessSession>;
  readonly requests: () => Iterable<AccessRequest>;
  readonly now: () => number;
  readonly onProblem: (error: unknown) => void;
}

export class Janitor {
  readonly #options: JanitorOptions;
  readonly #stop = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<unknown> = Promise.resolve();

  constructor(options: JanitorOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#sweeping = this.sweep().catch(this.#options.onProblem);
    }, sweepIntervalMs);
    this.#timer.unref();
  }

  /** How many objects were deleted. */
  async sweep(): Promise<number> {
    const { sessions, requests, now } = this.#options;
    const at = now();
    const over: [ResourceType, AccessSession | AccessRequest][] = [];
    for (const session of sessions())
      if (isOver(session, at)) over.push([resourceTypes.AccessSession, session]);
    for (const request of requests())
      if (isSettled(request, at)) over.push([resourceTypes.AccessRequest, request]);
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(sweepTimeoutMs)]);
    for (const [type, object] of over.slice(0, maxDeletes))
      await this.#delete(type, object, signal);
    return Math.min(over.length, maxDeletes);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    await this.#sweeping;
  }

  async #delete(
    type: ResourceType,
    { metadata }: AccessSession | AccessRequest,
    signal: AbortSignal,
  ): Promise<void> {
    const { namespace, name, uid } = metadata;
    try {
      // The uid, so that a new object of the same name stays.
      await this.#options.client.call(
        {
          method: "DELETE",
          path: objectPath(type, namespace, name),
          body: { preconditions: { uid } },
        },
        signal,
      );
    } catch (error) {
      if (
        this.#stop.signal.aborted ||
        (error instanceof KubeError && (error.isNotFound || error.isConflict))
      )
        return;
      throw error;
    }
  }
}

export function isOver({ metadata, spec }: AccessSession, now: number): boolean {
  const created = Date.parse(metadata.creationTimestamp ?? "");
  return now > created + sessionLifeMs || now > Date.parse(spec.expiresAt ?? "");
}

export function isSettled(request: AccessRequest, now: number): boolean {
  const settled = Math.max(
    Date.parse(request.spec.expiresAt),
    Date.parse(request.status?.validUntil ?? request.spec.expiresAt),
  );
  const phase = phaseAt(request, now);
  return phase !== "Pending" && phase !== "Approved" && now > settled + settledRequestMs;
}
