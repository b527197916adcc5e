// The control plane's own events (requests opened and decided, quarantines, refused tokens): one chained stream of this process, in the same store.
import {
  hashBody,
  hashHeader,
  IngestRefused,
  startOf,
  type ChainPosition,
} from "../../contract/chain.ts";
import type { EventAck, EventBatch } from "../../contract/control.ts";
import type { EventBody, EventHeader, EventType, StoredEvent } from "../../contract/event.ts";

export interface OwnStreamOptions {
  /** `operator/<boot id>`: a process never goes on with another's stream, so it need not read where that one ended. */
  readonly stream: string;
  readonly ingest: (batch: EventBatch) => Promise<EventAck>;
  /** Signs the head of a batch: a compact JWS whose payload is the hash. */
  readonly sign: (hash: string) => Promise<string>;
  readonly now: () => number;
  readonly onProblem: (error: unknown) => void;
}

/** Events waiting for the store. People and refusals are slow; this many means that the store is away, and the loss is counted. */
const maxWaiting = 10_000;
const batchEvents = 200;
const retryMs = 1_000;

export class OwnStream {
  readonly #options: OwnStreamOptions;
  #position: ChainPosition;
  #waiting: StoredEvent[] = [];
  #lost = 0;
  #shipping: Promise<void> | undefined;
  #closed = false;

  constructor(options: OwnStreamOptions) {
    this.#options = options;
    this.#position = startOf(options.stream);
  }

  /** Never throws: what cannot be kept is counted, and the count becomes a `gap` event as soon as there is room. */
  readonly record = (type: EventType, body: EventBody): void => {
    if (this.#closed) return;
    if (this.#waiting.length >= maxWaiting) {
      this.#lost += 1;
      return;
    }
    if (this.#lost > 0) {
      const lost = this.#lost;
      this.#lost = 0;
      this.#append("gap", {
        gap: {
          from: this.#position.seq + 1,
          to: this.#position.seq + 1,
          reason: `${lost} events of the control plane were lost while the store was away`,
        },
      });
    }
    this.#append(type, body);
    this.#kick();
  };

  /** Ships what waits, for at most `deadlineMs`. Returns how many events stay behind. */
  async close(deadlineMs: number): Promise<number> {
    const deadline = new Promise<void>((resolve) => setTimeout(resolve, deadlineMs).unref());
    await Promise.race([this.#shipping ?? Promise.resolve(), deadline]);
    this.#closed = true;
    return this.#waiting.length;
  }

  #kick(): void {
    if (this.#shipping !== undefined || this.#waiting.length === 0 || this.#closed) return;
    this.#shipping = this.#ship().then((mayGoOn) => {
      this.#shipping = undefined;
      // What was recorded between the last look at the queue and now.
      if (mayGoOn) this.#kick();
    });
  }

  #append(type: EventType, body: EventBody): void {
    const header: EventHeader = {
      stream: this.#position.stream,
      seq: this.#position.seq + 1,
      time: new Date(this.#options.now()).toISOString(),
      type,
      prev: this.#position.hash,
      bodyHash: hashBody(body),
    };
    const hash = hashHeader(header);
    this.#position = { stream: header.stream, seq: header.seq, hash };
    this.#waiting.push({ header, hash, body });
  }

  /** False after a refusal, which is a fault in this program: trying the same again at once cannot help. */
  async #ship(): Promise<boolean> {
    const { ingest, sign, onProblem, stream } = this.#options;
    while (this.#waiting.length > 0 && !this.#closed) {
      const events = this.#waiting.slice(0, batchEvents);
      const last = events.at(-1);
      if (last === undefined) return true;
      try {
        const { acknowledged } = await ingest({
          stream,
          events,
          contents: [],
          head: await sign(last.hash),
        });
        this.#waiting = this.#waiting.filter(({ header }) => header.seq > acknowledged);
      } catch (error) {
        onProblem(error);
        if (error instanceof IngestRefused) return false;
        await new Promise((resolve) => setTimeout(resolve, retryMs).unref());
      }
    }
    return true;
  }
}
