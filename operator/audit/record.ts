// The operator's own stream: grants, revocations, decisions, quarantines and who read what, numbered and chained like any proxy's.
import { NotCanonical } from "../../contract/canonical.ts";
import {
  type ChainPosition,
  hashBody,
  hashHeader,
  maxBatchEvents,
  startOf,
} from "../../contract/chain.ts";
import type { EventAck, EventBatch } from "../../contract/control.ts";
import type { EventBody, EventHeader, EventType, StoredEvent } from "../../contract/event.ts";

/** Events waiting for the store, some 10 MB. What does not fit is counted and stated by a `gap` event. */
const maxQueuedEvents = 10_000;
/** The store failed (a lock, a lost connection): try again after this. */
const retryMs = 500;
/** How long `close` goes on trying. */
const closeMs = 5_000;

export interface RecorderOptions {
  readonly store: { ingest(batch: EventBatch): Promise<EventAck> };
  /** New for every start of the operator, e.g. `chaperone-system/<pod>/<start id>`. */
  readonly stream: string;
  /** Milliseconds since the epoch. */
  readonly clock?: () => number;
  /** Signs the hash of each batch's last event, as proxies do. */
  readonly sign?: (hash: string) => Promise<string>;
  readonly onFailure?: (error: unknown) => void;
}

export interface Recorder {
  /** Numbers, chains and queues an event. Never throws and never waits. */
  record(type: EventType, body: EventBody): void;
  /** The same, resolved once it is committed; rejects when it cannot be within the signal's time. */
  recordDurably(type: EventType, body: EventBody, signal: AbortSignal): Promise<void>;
  /** Commits what is queued, for a bounded time. */
  close(): Promise<void>;
}

export function createRecorder(options: RecorderOptions): Recorder {
  return new StreamRecorder(options);
}

interface Waiter {
  readonly seq: number;
  readonly resolve: () => void;
}

class StreamRecorder implements Recorder {
  readonly #options: RecorderOptions;
  #head: ChainPosition;
  #queue: StoredEvent[] = [];
  #committed = 0;
  #dropped = 0;
  #waiters: Waiter[] = [];
  #running: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: RecorderOptions) {
    this.#options = options;
    this.#head = startOf(options.stream);
  }

  record(type: EventType, body: EventBody): void {
    if (this.#closed || this.#queue.length >= maxQueuedEvents) {
      this.#dropped += 1;
      return;
    }
    if (this.#dropped > 0) this.#stateDropped();
    this.#add(type, body);
  }

  recordDurably(type: EventType, body: EventBody, signal: AbortSignal): Promise<void> {
    const dropped = this.#dropped;
    this.record(type, body);
    if (this.#dropped > dropped)
      return Promise.reject(
        new Error("the operator's own recording has no room; the store does not take events"),
      );
    const { seq } = this.#head;
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        seq,
        resolve: () => {
          signal.removeEventListener("abort", abort);
          resolve();
        },
      };
      const abort = (): void => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        reject(
          new Error(`event ${seq} of ${this.#options.stream} was not committed in time`, {
            cause: signal.reason,
          }),
        );
      };
      this.#waiters.push(waiter);
      signal.addEventListener("abort", abort, { once: true });
      if (signal.aborted) abort();
    });
  }

  async close(): Promise<void> {
    if (this.#dropped > 0 && !this.#closed) this.#stateDropped();
    this.#closed = true;
    const deadline = Date.now() + closeMs;
    while (this.#queue.length > 0 && Date.now() < deadline) {
      this.#start();
      await this.#running;
      if (this.#queue.length > 0) await new Promise((resolve) => setTimeout(resolve, retryMs / 5));
    }
    clearTimeout(this.#timer);
  }

  #stateDropped(): void {
    const own = this.#head.seq + 1;
    const reason = `${this.#dropped} events of the operator found no room and were not recorded`;
    this.#dropped = 0;
    this.#add("gap", { gap: { from: own, to: own, reason } });
  }

  #add(type: EventType, given: EventBody): void {
    const { body, bodyHash } = hashed(given);
    const time = new Date((this.#options.clock ?? Date.now)()).toISOString();
    const header: EventHeader = {
      stream: this.#head.stream,
      seq: this.#head.seq + 1,
      time,
      type,
      prev: this.#head.hash,
      bodyHash,
    };
    const hash = hashHeader(header);
    this.#head = { stream: header.stream, seq: header.seq, hash };
    this.#queue.push({ header, hash, body });
    // Not at once: the events of one turn share a batch.
    this.#timer ??= setTimeout(() => this.#start(), 0);
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#running ??= this.#drain()
      .catch((error: unknown) => {
        this.#options.onFailure?.(error);
        if (!this.#closed) this.#timer ??= setTimeout(() => this.#start(), retryMs);
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const events = this.#queue.slice(0, maxBatchEvents);
      const head = (await this.#options.sign?.(events.at(-1)?.hash ?? "")) ?? "";
      const { acknowledged } = await this.#options.store.ingest({
        stream: this.#options.stream,
        events,
        contents: [],
        head,
      });
      this.#committed = acknowledged;
      this.#queue = this.#queue.filter((event) => event.header.seq > acknowledged);
      const served = this.#waiters.filter((waiter) => waiter.seq <= this.#committed);
      this.#waiters = this.#waiters.filter((waiter) => waiter.seq > this.#committed);
      for (const waiter of served) waiter.resolve();
    }
  }
}

/** Names and reasons come from people; half a surrogate pair in one must not keep an event from being recorded. */
function hashed(body: EventBody): { readonly body: EventBody; readonly bodyHash: string } {
  try {
    return { body, bodyHash: hashBody(body) };
  } catch (error) {
    if (!(error instanceof NotCanonical)) throw error;
    const mended = JSON.parse(
      JSON.stringify(body, (_key, value: unknown) =>
        typeof value === "string" ? value.toWellFormed() : value,
      ),
    ) as EventBody;
    return { body: mended, bodyHash: hashBody(mended) };
  }
}
