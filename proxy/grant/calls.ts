// What this proxy asks of the operator under its pod grant: approvals, events, the view.
import type { BudgetAnswer, BudgetCall } from "../../contract/budget.ts";
import type {
  EventAck,
  EventDelivery,
  OpenRequest,
  ProxyView,
  RequestState,
  SeenTools,
  SpendAnswer,
  ToolPin,
} from "../../contract/control.ts";
import {
  asIngestRefusal,
  asProxyError,
  parseBudgetAnswer,
  parseEventAck,
  parseRequestState,
  parsePinnedTools,
  parseSpendAnswer,
} from "./answers.ts";
import type { OperatorClient } from "./client.ts";
import { orAbort, sleep, type Clock } from "./clock.ts";
import { isAboutGrant, type PodGrant } from "./pod-grant.ts";

/** A decision comes by the stream; should that be away, asking finds it too. */
const decisionPollMs = 5_000;

/** Calls that wait for the pod grant give up with the agent's patience. */
const podGrantWaitMs = 5_000;

/** A batch is answered after its commit, behind those of every other proxy. */
const eventsTimeoutMs = 10_000;

/** Held operations of one pod that wait at one time; the operator keeps five requests open, and several operations may wait for one. */
const maxWaiting = 1_000;

export interface OperatorCallsOptions {
  readonly client: OperatorClient;
  readonly podGrant: PodGrant;
  readonly clock: Clock;
  readonly onProblem: (what: string, error: unknown) => void;
}

type Decided = (state: RequestState) => void;

/** An EventDelivery whose records are JSON lines already, each with its newline: they were written when they were recorded. */
export interface DeliveryLines extends Omit<EventDelivery, "records"> {
  readonly lines: readonly Buffer[];
}

export class OperatorCalls {
  readonly #options: OperatorCallsOptions;
  readonly #waiting = new Map<string, Set<Decided>>();
  #waitingCount = 0;

  constructor(options: OperatorCallsOptions) {
    this.#options = options;
  }

  /** Throws ProxyError. */
  async openRequest(request: OpenRequest, signal: AbortSignal): Promise<RequestState> {
    const what = `connection ${request.connection}: the operation needs a person's approval`;
    const { client } = this.#options;
    return await this.#asked(what, signal, (grant) =>
      client.post("/v1/requests", request, grant, signal).then(parseRequestState),
    );
  }

  /** The pins that stand once these were seen. Throws ProxyError. */
  async pinTools(tools: SeenTools, signal: AbortSignal): Promise<readonly ToolPin[]> {
    const { client } = this.#options;
    return await this.#asked(`the tools of connection ${tools.connection}`, signal, (grant) =>
      client.post("/v1/tools", tools, grant, signal).then(parsePinnedTools),
    );
  }

  /** True at most once for an approval, whatever happens to the answer. Throws ProxyError. */
  async spend(name: string, digest: string, signal: AbortSignal): Promise<SpendAnswer> {
    const { client } = this.#options;
    return await this.#asked(`access request ${name}`, signal, (grant) =>
      client
        .post(`/v1/requests/${encodeURIComponent(name)}/spend`, { digest }, grant, signal)
        .then(parseSpendAnswer),
    );
  }

  /** Throws ProxyError. */
  async askBudgets(call: BudgetCall, signal: AbortSignal): Promise<BudgetAnswer> {
    const { client } = this.#options;
    return await this.#asked(`connection ${call.connection}: its budgets`, signal, (grant) =>
      client.post("/v1/budgets", call, grant, signal).then(parseBudgetAnswer),
    );
  }

  /** Resolves when the request is no longer Pending; rejects with the signal's reason. */
  async awaitDecision(name: string, signal: AbortSignal): Promise<RequestState> {
    if (this.#waitingCount >= maxWaiting)
      throw new Error(`more than ${maxWaiting} operations of this pod wait for a person`);
    const { promise, resolve } = Promise.withResolvers<RequestState>();
    const waiters = this.#waiting.get(name) ?? new Set();
    this.#waiting.set(name, waiters.add(resolve));
    this.#waitingCount += 1;
    const done = new AbortController();
    try {
      const polled = this.#poll(name, AbortSignal.any([signal, done.signal]));
      return await orAbort(Promise.race([promise, polled]), signal);
    } finally {
      done.abort();
      this.#waitingCount -= 1;
      waiters.delete(resolve);
      if (waiters.size === 0) this.#waiting.delete(name);
    }
  }

  /** The stream brought a decision. */
  decided(state: RequestState): void {
    for (const resolve of this.#waiting.get(state.name) ?? []) resolve(state);
  }

  /** Throws IngestRefused when the store does not take the batch, otherwise OperatorRefused or OperatorUnavailable. */
  async shipEvents(delivery: DeliveryLines, signal: AbortSignal): Promise<EventAck> {
    const { client } = this.#options;
    const { stream, head, lines } = delivery;
    const body = [Buffer.from(`${JSON.stringify({ stream, head })}\n`), ...lines];
    try {
      return await this.withPodGrant(
        (grant) =>
          client.postLines("/v1/events", body, grant, signal, eventsTimeoutMs).then(parseEventAck),
        signal,
      );
    } catch (error) {
      throw asIngestRefusal(error);
    }
  }

  async reportView(view: ProxyView, signal: AbortSignal): Promise<void> {
    const { client } = this.#options;
    await this.withPodGrant((grant) => client.send("/v1/view", view, grant, signal), signal);
  }

  /** Once more with another grant when the operator does not know this one any more. */
  async withPodGrant<T>(work: (grant: string) => Promise<T>, signal: AbortSignal): Promise<T> {
    const { podGrant } = this.#options;
    const patience = AbortSignal.any([signal, AbortSignal.timeout(podGrantWaitMs)]);
    const grant = await podGrant.get(patience);
    try {
      return await work(grant);
    } catch (error) {
      if (!isAboutGrant(error)) throw error;
      podGrant.reject(grant);
      return await work(await podGrant.get(patience));
    }
  }

  async #poll(name: string, signal: AbortSignal): Promise<RequestState> {
    const { client, clock, onProblem } = this.#options;
    const path = `/v1/requests/${encodeURIComponent(name)}`;
    for (;;) {
      await sleep(clock, decisionPollMs, signal);
      try {
        const state = await this.withPodGrant(
          (grant) => client.get(path, grant, signal).then(parseRequestState),
          signal,
        );
        if (state.phase !== "Pending") return state;
      } catch (error) {
        signal.throwIfAborted();
        onProblem("request state", error);
      }
    }
  }

  async #asked<T>(
    what: string,
    signal: AbortSignal,
    work: (grant: string) => Promise<T>,
  ): Promise<T> {
    try {
      return await this.withPodGrant(work, signal);
    } catch (error) {
      signal.throwIfAborted();
      throw asProxyError(error, what);
    }
  }
}
