// Keeps this proxy's grants: the pod grant and its stream always, one grant a connection while it is used; ends them when the operator says so.
import type { SeenTools, ToolPin } from "../../contract/control.ts";
import {
  connectionAudience,
  controlVersion,
  type EventAck,
  type OpenRequest,
  type ProxyView,
  type RequestState,
  type SpendAnswer,
  type StreamMessage,
} from "../../contract/control.ts";
import type { BudgetAnswer, BudgetCall } from "../../contract/budget.ts";
import { supportedFeatures } from "../../policy/features.ts";
import { ProxyError } from "../errors.ts";
import type { LiveGrant } from "../pipeline.ts";
import { OperatorCalls, type DeliveryLines } from "./calls.ts";
import type { OperatorClient } from "./client.ts";
import { backoffMs, type Clock } from "./clock.ts";
import { HeldGrant } from "./held.ts";
import type { ProofKey } from "./keys.ts";
import { Orders, reaches } from "./orders.ts";
import { PodGrant } from "./pod-grant.ts";
import { OperatorStream } from "./stream.ts";

/** Connections of one pod; the injector admits no more. */
const maxConnections = 128;

/** After the stream was away everything held is renewed, spread over this, because a message may have been missed. */
const catchUpMs = 2_000;

/** What this proxy enforces is reported when it changes (not more often than this) and from time to time. */
const viewDelayMs = 200;
const viewIntervalMs = 30_000;
/** While sessions are still ending under a quarantine, so that it is confirmed soon. */
const viewWhileEndingMs = 1_000;

/** Of `unusable`, which the operator takes up to 1,024 characters. */
const maxUnusableLength = 1_000;

export interface GrantKeeperOptions {
  readonly client: OperatorClient;
  readonly key: ProofKey;
  readonly clock: Clock;
  readonly random: () => number;
  readonly proxyVersion: string;
  /** `namespace/name` of the pod's connections. */
  readonly connections: readonly string[];
  /** Open sessions, for the view. */
  readonly sessionsOn: (connection: string) => number;
  /** Problems that pass by themselves, for the log: what was tried, and the error. */
  readonly onProblem: (what: string, error: unknown) => void;
}

/** `live` undefined: the grant is over because of `cause`, and so are its sessions. */
export type GrantListener = (
  connection: string,
  live: LiveGrant | undefined,
  cause: ProxyError | undefined,
) => void;

export class GrantKeeper {
  readonly #options: GrantKeeperOptions;
  readonly #held = new Map<string, HeldGrant>();
  readonly #podGrant: PodGrant;
  readonly #calls: OperatorCalls;
  readonly #stream: OperatorStream;
  readonly #orders = new Orders();
  readonly #listeners = new Set<GrantListener>();
  readonly #closing = new AbortController();
  #tooOld: ProxyError | undefined;
  #generation = 0;
  #hasConnected = false;
  #viewAt: number | undefined;
  #cancelView: () => void = () => undefined;
  #cancelCatchUp: () => void = () => undefined;
  #reporting: Promise<void> = Promise.resolve();

  constructor(options: GrantKeeperOptions) {
    const { client, clock, random, onProblem } = options;
    this.#options = options;
    this.#podGrant = new PodGrant({
      exchange: (signal) => client.exchange(undefined, signal),
      clock,
      random,
      onProblem: (error) => onProblem("pod grant", error),
    });
    this.#calls = new OperatorCalls({ client, podGrant: this.#podGrant, clock, onProblem });
    this.#stream = new OperatorStream({
      open: (signal) =>
        this.#calls.withPodGrant((grant) => client.open("/v1/stream", grant, signal), signal),
      onMessage: (message) => this.#onMessage(message),
      onProblem: (error) => onProblem("stream", error),
      clock,
      random,
    });
  }

  start(): void {
    this.#podGrant.start();
    this.#stream.start();
    this.#scheduleView(viewDelayMs);
  }

  /** Returns the function that stops it. */
  onChange(listener: GrantListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The grant in force, or undefined; never blocks. Asking counts as use. */
  current(connection: string): LiveGrant | undefined {
    return this.#held.get(connection)?.current();
  }

  /** The grant in force, or undefined, for whoever only looks. */
  peek(connection: string): LiveGrant | undefined {
    return this.#held.get(connection)?.peek();
  }

  /** Throws ProxyError. */
  async acquire(connection: string, signal: AbortSignal): Promise<LiveGrant> {
    return await this.#holderOf(connection).acquire(signal);
  }

  /** Keeps the grant renewed until the returned function is called: for an operation that takes longer than a grant lives. */
  keepInUse(connection: string): () => void {
    return this.#holderOf(connection).keepInUse();
  }

  /** Resolves once the operator has accepted this proxy. */
  async ready(signal: AbortSignal): Promise<void> {
    await this.#podGrant.get(signal);
  }

  /** How old this proxy's picture of what governs it is; undefined before the first message. */
  get viewAgeMs(): number | undefined {
    return this.#stream.silentForMs;
  }

  /** Throws ProxyError. */
  pinTools(tools: SeenTools, signal: AbortSignal): Promise<readonly ToolPin[]> {
    return this.#calls.pinTools(tools, signal);
  }

  openRequest(request: OpenRequest, signal: AbortSignal): Promise<RequestState> {
    return this.#calls.openRequest(request, signal);
  }

  /** Resolves when the request is no longer Pending; rejects with the signal's reason. */
  awaitDecision(name: string, signal: AbortSignal): Promise<RequestState> {
    return this.#calls.awaitDecision(name, AbortSignal.any([signal, this.#closing.signal]));
  }

  /** True at most once for an approval, whatever happens to the answer. Throws ProxyError. */
  spend(name: string, digest: string, signal: AbortSignal): Promise<SpendAnswer> {
    return this.#calls.spend(name, digest, signal);
  }

  /** Throws ProxyError. */
  askBudgets(call: BudgetCall, signal: AbortSignal): Promise<BudgetAnswer> {
    return this.#calls.askBudgets(call, signal);
  }

  /** Throws IngestRefused when the store does not take the batch. */
  shipEvents(delivery: DeliveryLines, signal: AbortSignal): Promise<EventAck> {
    return this.#calls.shipEvents(delivery, signal);
  }

  /** For `EventBatch.head`. */
  signHead(hash: string): Promise<string> {
    return this.#options.key.signHead(hash);
  }

  /** What this proxy enforces now. */
  view(): ProxyView {
    const names = new Set([...this.#options.connections, ...this.#held.keys()]);
    return {
      generation: this.#generation,
      proxyVersion: this.#options.proxyVersion,
      features: supportedFeatures,
      connections: [...names].map((connection) => {
        const held = this.#held.get(connection);
        const problem = this.#barred(connection) ?? held?.refusal;
        const unusable =
          problem && `${problem.code}: ${problem.message}`.slice(0, maxUnusableLength);
        return {
          connection,
          bundle: held?.peek()?.bundle.generation ?? "",
          activeSessions: this.#options.sessionsOn(connection),
          ...(unusable === undefined ? {} : { unusable }),
        };
      }),
    };
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the proxy is shutting down"));
    this.#cancelView();
    this.#cancelCatchUp();
    await Promise.all([
      this.#stream.close(),
      this.#podGrant.close(),
      this.#reporting,
      ...[...this.#held.values()].map((held) => held.close()),
    ]);
    await this.#options.client.close();
  }

  #holderOf(connection: string): HeldGrant {
    const known = this.#held.get(connection);
    if (known !== undefined) return known;
    const [namespace, name] = connection.split("/");
    if (namespace === undefined || name === undefined || this.#held.size >= maxConnections) {
      throw new ProxyError("ConnectionUnknown", `this pod has no connection ${connection}`);
    }
    const { client, clock, random } = this.#options;
    const held = new HeldGrant({
      connection,
      exchange: (signal) => client.exchange(connectionAudience(namespace, name), signal),
      clock,
      random,
      barred: () => this.#barred(connection),
      onChange: (live, cause) => this.#emit(connection, live, cause),
    });
    this.#held.set(connection, held);
    return held;
  }

  #barred(connection: string): ProxyError | undefined {
    if (this.#tooOld !== undefined) return this.#tooOld;
    const order = this.#orders.on(connection);
    return order && new ProxyError("Quarantined", order.message);
  }

  #emit(connection: string, live: LiveGrant | undefined, cause: ProxyError | undefined): void {
    for (const listener of this.#listeners) listener(connection, live, cause);
    this.#scheduleView(viewDelayMs);
  }

  #onMessage(message: StreamMessage): void {
    this.#generation = message.generation;
    switch (message.type) {
      case "hello":
        return this.#onHello(message.version, message.requires);
      case "ping":
        return this.#orders.complete();
      case "changed":
        return this.#held.get(message.connection)?.changed();
      case "revoked":
        return this.#end(
          (connection) => message.connection === "*" || message.connection === connection,
          new ProxyError("GrantEnded", message.message),
        );
      case "quarantined":
        this.#orders.add(message.name, message);
        this.#scheduleView(viewDelayMs);
        return this.#end(
          (connection) => reaches(message, connection),
          new ProxyError("Quarantined", message.message),
        );
      case "lifted":
        return this.#onLifted(message.name);
      case "request-decided":
        return this.#calls.decided(message.request);
      default:
        return message satisfies never;
    }
  }

  #end(selects: (connection: string) => boolean, cause: ProxyError): void {
    for (const [connection, held] of this.#held) if (selects(connection)) held.end(cause);
  }

  #onHello(version: number, requires: readonly string[]): void {
    this.#orders.begin();
    const understands = version === controlVersion || version === controlVersion - 1;
    this.#tooOld = understands && requires.length === 0 ? undefined : tooOldFor(version, requires);
    if (this.#tooOld !== undefined) this.#end(() => true, this.#tooOld);
    if (this.#hasConnected) this.#catchUp();
    this.#hasConnected = true;
    this.#scheduleView(viewDelayMs);
  }

  /** Messages may have been lost while the stream was away. */
  #catchUp(): void {
    this.#cancelCatchUp();
    this.#cancelCatchUp = this.#options.clock.after(catchUpMs * this.#options.random(), () => {
      for (const held of this.#held.values()) held.changed();
    });
  }

  #onLifted(name: string): void {
    const order = this.#orders.lift(name);
    // Their last refusal may still be remembered.
    for (const [connection, held] of this.#held)
      if (order !== undefined && reaches(order, connection)) held.changed();
    this.#scheduleView(viewDelayMs);
  }

  /** The sooner of what is planned and what is asked for. */
  #scheduleView(delayMs: number): void {
    const { clock } = this.#options;
    const at = clock.now() + delayMs;
    if (this.#closing.signal.aborted || (this.#viewAt !== undefined && this.#viewAt <= at)) return;
    this.#cancelView();
    this.#viewAt = at;
    this.#cancelView = clock.after(delayMs, () => {
      this.#viewAt = undefined;
      this.#reporting = this.#reporting.then(() => this.#reportView());
    });
  }

  async #reportView(): Promise<void> {
    const { signal } = this.#closing;
    if (signal.aborted) return;
    const view = this.view();
    try {
      await this.#calls.reportView(view, signal);
    } catch (error) {
      if (!signal.aborted) this.#options.onProblem("view", error);
    }
    const isEnding = view.connections.some(
      ({ activeSessions, unusable }) => activeSessions > 0 && unusable !== undefined,
    );
    const { random } = this.#options;
    this.#scheduleView(
      isEnding ? viewWhileEndingMs : backoffMs(0, random, viewIntervalMs, viewIntervalMs),
    );
  }
}

function tooOldFor(version: number, requires: readonly string[]): ProxyError {
  const needs = requires.length === 0 ? "" : ` and needs ${requires.join(", ")} of its proxies`;
  return new ProxyError(
    "ProxyTooOld",
    `the operator speaks version ${version}${needs}, which this proxy does not know; restart the pod to get the current proxy`,
  );
}
