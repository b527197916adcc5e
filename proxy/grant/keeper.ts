// Keeps this proxy's grants: the pod grant and its stream always, one grant a connection while it is used; ends them when the operator says so.
import {
  connectionAudience,
  controlVersion,
  type EventAck,
  type EventBatch,
  type OpenRequest,
  type ProxyView,
  type RequestState,
  type SpendAnswer,
  type StreamMessage,
} from "../../contract/control.ts";
import { supportedFeatures } from "../../policy/features.ts";
import { compilePattern, matches } from "../../policy/pattern.ts";
import { ProxyError } from "../errors.ts";
import type { LiveGrant } from "../pipeline.ts";
import { asProxyError, parseEventAck, parseRequestState, parseSpendAnswer } from "./answers.ts";
import type { OperatorClient } from "./client.ts";
import { backoffMs, orAbort, sleep, type Clock } from "./clock.ts";
import { HeldGrant } from "./held.ts";
import type { ProofKey } from "./keys.ts";
import { isAboutGrant, PodGrant } from "./pod-grant.ts";
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

/** A decision comes by the stream; should that be away, asking finds it too. */
const decisionPollMs = 5_000;

/** Calls that wait for the pod grant give up with the agent's patience. */
const podGrantWaitMs = 5_000;

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

interface Order {
  readonly connections: readonly string[] | "*";
  readonly message: string;
}

export class GrantKeeper {
  readonly #options: GrantKeeperOptions;
  readonly #held = new Map<string, HeldGrant>();
  readonly #podGrant: PodGrant;
  readonly #stream: OperatorStream;
  readonly #listeners = new Set<GrantListener>();
  readonly #decisions = new Map<string, Set<(state: RequestState) => void>>();
  readonly #closing = new AbortController();
  #orders = new Map<string, Order>();
  /** Quarantines named since the last hello; at the first ping they are all there are. */
  #named: Map<string, Order> | undefined;
  #tooOld: ProxyError | undefined;
  #generation = 0;
  #hasConnected = false;
  #cancelView: (() => void) | undefined;
  #cancelCatchUp: () => void = () => undefined;

  constructor(options: GrantKeeperOptions) {
    const { client, clock, random, onProblem } = options;
    this.#options = options;
    this.#podGrant = new PodGrant({
      exchange: (signal) => client.exchange(undefined, signal),
      clock,
      random,
      onProblem: (error) => onProblem("pod grant", error),
    });
    this.#stream = new OperatorStream({
      open: (signal) =>
        this.#withPodGrant((grant) => client.open("/v1/stream", grant, signal), signal),
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

  /** The same without counting as use: for metrics. */
  peek(connection: string): LiveGrant | undefined {
    return this.#held.get(connection)?.peek();
  }

  /** Throws ProxyError. */
  async acquire(connection: string, signal: AbortSignal): Promise<LiveGrant> {
    return await this.#holderOf(connection).acquire(signal);
  }

  /** Keeps the grant renewed until the returned function is called. */
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

  async openRequest(request: OpenRequest, signal: AbortSignal): Promise<RequestState> {
    return await this.#call(
      `connection ${request.connection}: the operation needs a person's approval`,
      signal,
      async (grant, client) =>
        parseRequestState(await client.post("/v1/requests", request, grant, signal)),
    );
  }

  /** Resolves when the request is no longer Pending; rejects with the signal's reason. */
  async awaitDecision(name: string, signal: AbortSignal): Promise<RequestState> {
    const decided = Promise.withResolvers<RequestState>();
    const waiters = this.#decisions.get(name) ?? new Set();
    this.#decisions.set(name, waiters.add(decided.resolve));
    const done = new AbortController();
    try {
      const until = AbortSignal.any([signal, this.#closing.signal]);
      const polled = this.#poll(name, AbortSignal.any([until, done.signal]));
      return await orAbort(Promise.race([decided.promise, polled]), until);
    } finally {
      done.abort();
      waiters.delete(decided.resolve);
      if (waiters.size === 0) this.#decisions.delete(name);
    }
  }

  /** True at most once for an approval, whatever happens to the answer. */
  async spend(name: string, digest: string, signal: AbortSignal): Promise<SpendAnswer> {
    return await this.#call(`access request ${name}`, signal, async (grant, client) =>
      parseSpendAnswer(
        await client.post(
          `/v1/requests/${encodeURIComponent(name)}/spend`,
          { digest },
          grant,
          signal,
        ),
      ),
    );
  }

  /** Throws OperatorRefused or OperatorUnavailable, which the spool tells apart. */
  async shipEvents(batch: EventBatch, signal: AbortSignal): Promise<EventAck> {
    return parseEventAck(
      await this.#withPodGrant(
        (grant) => this.#options.client.post("/v1/events", batch, grant, signal),
        signal,
      ),
    );
  }

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
        const holder = this.#held.get(connection);
        const barred = this.#barred(connection) ?? holder?.refusal;
        return {
          connection,
          bundle: holder?.peek()?.bundle.generation ?? "",
          activeSessions: this.#options.sessionsOn(connection),
          ...(barred === undefined
            ? {}
            : { unusable: `${barred.code}: ${barred.message}`.slice(0, 1_000) }),
        };
      }),
    };
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the proxy is shutting down"));
    this.#cancelView?.();
    this.#cancelCatchUp();
    await Promise.all([
      this.#stream.close(),
      this.#podGrant.close(),
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
    for (const order of this.#orders.values())
      if (reaches(order, connection)) return new ProxyError("Quarantined", order.message);
    return undefined;
  }

  #emit(connection: string, live: LiveGrant | undefined, cause: ProxyError | undefined): void {
    for (const listener of this.#listeners) listener(connection, live, cause);
    this.#scheduleView(viewDelayMs);
  }

  #onMessage(message: StreamMessage): void {
    this.#generation = message.generation;
    switch (message.type) {
      case "hello":
        this.#onHello(message.version, message.requires);
        break;
      case "ping":
        this.#onPing();
        break;
      case "changed":
        this.#held.get(message.connection)?.changed();
        break;
      case "revoked":
        for (const [connection, held] of this.#held) {
          if (message.connection === "*" || message.connection === connection)
            held.end(new ProxyError("GrantEnded", message.message));
        }
        break;
      case "quarantined":
        this.#onQuarantined(message.name, {
          connections: message.connections,
          message: message.message,
        });
        break;
      case "lifted":
        this.#onLifted(message.name);
        break;
      case "request-decided":
        for (const decided of this.#decisions.get(message.request.name) ?? [])
          decided(message.request);
        break;
      default:
        message satisfies never;
    }
  }

  #onHello(version: number, requires: readonly string[]): void {
    this.#named = new Map();
    const understands = version === controlVersion || version === controlVersion - 1;
    this.#tooOld =
      understands && requires.length === 0
        ? undefined
        : new ProxyError(
            "ProxyTooOld",
            `the operator speaks version ${version} and needs ${requires.join(", ") || "nothing else"} of its proxies, which this one does not know; restart the pod to get the current proxy`,
          );
    if (this.#tooOld !== undefined) for (const held of this.#held.values()) held.end(this.#tooOld);
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

  #onPing(): void {
    if (this.#named === undefined) return;
    this.#orders = this.#named;
    this.#named = undefined;
  }

  #onQuarantined(name: string, order: Order): void {
    this.#orders.set(name, order);
    this.#named?.set(name, order);
    const cause = new ProxyError("Quarantined", order.message);
    for (const [connection, held] of this.#held) if (reaches(order, connection)) held.end(cause);
    this.#scheduleView(viewDelayMs);
  }

  #onLifted(name: string): void {
    const order = this.#orders.get(name);
    this.#named?.delete(name);
    this.#orders.delete(name);
    // Their last refusal may still be remembered.
    for (const [connection, held] of this.#held) if (order !== undefined && reaches(order, connection)) held.changed();
    this.#scheduleView(viewDelayMs);
  }

  async #poll(name: string, signal: AbortSignal): Promise<RequestState> {
    for (;;) {
      await sleep(this.#options.clock, decisionPollMs, signal);
      const state = await this.#withPodGrant(
        (grant) =>
          this.#options.client.get(`/v1/requests/${encodeURIComponent(name)}`, grant, signal),
        signal,
      )
        .then(parseRequestState)
        .catch((error: unknown) => {
          signal.throwIfAborted();
          this.#options.onProblem("request state", error);
        });
      if (state !== undefined && state.phase !== "Pending") return state;
    }
  }

  async #call<T>(
    what: string,
    signal: AbortSignal,
    work: (grant: string, client: OperatorClient) => Promise<T>,
  ): Promise<T> {
    try {
      return await this.#withPodGrant((grant) => work(grant, this.#options.client), signal);
    } catch (error) {
      signal.throwIfAborted();
      throw asProxyError(error, what);
    }
  }

  /** Once more with another grant when the operator does not know this one any more. */
  async #withPodGrant<T>(work: (grant: string) => Promise<T>, signal: AbortSignal): Promise<T> {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(podGrantWaitMs)]);
    const grant = await this.#podGrant.get(patience);
    try {
      return await work(grant);
    } catch (error) {
      if (!isAboutGrant(error)) throw error;
      this.#podGrant.reject(grant);
      return await work(await this.#podGrant.get(patience));
    }
  }

  #scheduleView(delayMs: number): void {
    if (this.#closing.signal.aborted) return;
    this.#cancelView?.();
    this.#cancelView = this.#options.clock.after(delayMs, () => void this.#reportView());
  }

  async #reportView(): Promise<void> {
    const { client, onProblem, random } = this.#options;
    const view = this.view();
    try {
      await this.#withPodGrant(
        (grant) => client.send("/v1/view", view, grant, this.#closing.signal),
        this.#closing.signal,
      );
    } catch (error) {
      if (!this.#closing.signal.aborted) onProblem("view", error);
    }
    const isEnding = view.connections.some(
      ({ activeSessions, unusable }) => activeSessions > 0 && unusable !== undefined,
    );
    this.#scheduleView(
      isEnding ? viewWhileEndingMs : backoffMs(0, random, viewIntervalMs, viewIntervalMs),
    );
  }
}

function reaches({ connections }: Order, connection: string): boolean {
  return (
    connections === "*" ||
    connections.some((pattern) => matches(compilePattern(pattern), connection))
  );
}
