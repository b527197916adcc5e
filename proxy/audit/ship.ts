// Carries the spool to the operator: batches in order, one in flight, until each is acknowledged.
import { IngestRefused, maxBatchEvents } from "../../contract/chain.ts";
import type { EventAck } from "../../contract/control.ts";
import { SpoolDamaged } from "./reading.ts";
import type { LostRange, Spool, SpoolBatch } from "./spool.ts";

export interface ShipLimits {
  /** Events wait this long for company, well within the 100 ms in which they are to be on their way. */
  readonly delayMs: number;
  readonly batchEvents: number;
  /** Spooled size of a batch. One event may be larger and then travels alone. */
  readonly batchBytes: number;
  /** The operator's answer, commit included. */
  readonly sendTimeoutMs: number;
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
}

export const defaultShipLimits: ShipLimits = {
  delayMs: 40,
  batchEvents: maxBatchEvents,
  batchBytes: 1024 * 1024,
  sendTimeoutMs: 10_000,
  backoffMs: 200,
  maxBackoffMs: 10_000,
};

/** While flushing at the end, a failure is retried at least this often: what is left of the pod's grace is short. */
const flushBackoffMs = 250;
/** New stream names in a row, without an event that the operator took between them. A refusal that survives this many is a fault in a program, not in the data. */
const maxRestartsInRow = 8;

export interface SignedBatch extends SpoolBatch {
  /** `EventDelivery.head` */
  readonly head: string;
}

export interface ShipperOptions {
  readonly spool: Spool;
  /** Posts one batch. Throws IngestRefused for a refusal, anything else for a failure. */
  readonly send: (batch: SignedBatch, signal: AbortSignal) => Promise<EventAck>;
  /** Signs the hash of a batch's last event with the key of the proxy's grant: a compact JWS whose payload is the hash. */
  readonly sign: (hash: string) => Promise<string>;
  readonly limits?: Partial<ShipLimits>;
  /** 0 to 1, for the jitter. */
  readonly random?: () => number;
}

export interface ShipperStatus {
  readonly unshipped: number;
  readonly oldestUnshippedMs: number;
  readonly shippedEvents: number;
  readonly batches: number;
  readonly failures: number;
  readonly restarts: number;
  /** Why the last attempt failed; absent once one succeeds. */
  readonly failure?: string;
}

export interface Shipper {
  status(): ShipperStatus;
  /** Something changed for the better (a grant was obtained): try again now. */
  nudge(): void;
  /** Ships everything appended so far, for at most `deadlineMs`. Returns how many events stay behind, in the spool. */
  flush(deadlineMs: number): Promise<{ readonly unshipped: number }>;
  close(): Promise<void>;
}

export function createShipper(options: ShipperOptions): Shipper {
  return new SpoolShipper(options);
}

class SpoolShipper implements Shipper {
  readonly #options: ShipperOptions;
  readonly #limits: ShipLimits;
  readonly #closing = new AbortController();
  #next: number;
  #timer: NodeJS.Timeout | undefined;
  #attempt: Promise<boolean> | undefined;
  /** Of the last attempt that came as far as having one. */
  #sent: SpoolBatch | undefined;
  #attemptsFailed = 0;
  #failure: string | undefined;
  #shippedEvents = 0;
  #batches = 0;
  #failures = 0;
  #restarts = 0;
  #restartsInRow = 0;

  constructor(options: ShipperOptions) {
    this.#options = options;
    this.#limits = { ...defaultShipLimits, ...options.limits };
    if (this.#limits.batchEvents > maxBatchEvents)
      throw new RangeError(
        `batchEvents is ${this.#limits.batchEvents}; the operator takes at most ${maxBatchEvents}`,
      );
    this.#next = options.spool.acknowledgedSeq + 1;
    options.spool.onAppend(() => this.#schedule(this.#limits.delayMs));
    if (this.#unshipped() > 0) this.#schedule(0);
  }

  status(): ShipperStatus {
    const { unshipped, oldestUnshippedMs } = this.#options.spool.status();
    return {
      unshipped,
      oldestUnshippedMs,
      shippedEvents: this.#shippedEvents,
      batches: this.#batches,
      failures: this.#failures,
      restarts: this.#restarts,
      ...(this.#failure === undefined ? {} : { failure: this.#failure }),
    };
  }

  nudge(): void {
    this.#attemptsFailed = 0;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#unshipped() > 0) this.#schedule(0);
  }

  async flush(deadlineMs: number): Promise<{ readonly unshipped: number }> {
    const deadline = AbortSignal.any([AbortSignal.timeout(deadlineMs), this.#closing.signal]);
    const last = this.#options.spool.lastSeq;
    while (!deadline.aborted && this.#options.spool.acknowledgedSeq < last) {
      const done = await abortable(this.#once(), deadline).catch(() => false);
      if (!done && !deadline.aborted) await pause(flushBackoffMs, deadline);
    }
    return { unshipped: this.#unshipped() };
  }

  async close(): Promise<void> {
    this.#options.spool.onAppend(undefined);
    this.#closing.abort(new Error("the shipper is closed"));
    clearTimeout(this.#timer);
    await this.#attempt;
  }

  #unshipped(): number {
    return this.#options.spool.lastSeq - this.#options.spool.acknowledgedSeq;
  }

  #schedule(delayMs: number): void {
    if (this.#timer !== undefined || this.#attempt !== undefined || this.#closing.signal.aborted)
      return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#once();
    }, delayMs);
  }

  /** One attempt at a time, whoever asks. True when a batch was acknowledged, or there was none. Never rejects. */
  #once(): Promise<boolean> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#attempt ??= this.#ship()
      .then(
        () => this.#succeeded(),
        (error: unknown) => this.#failed(error),
      )
      .finally(() => {
        this.#attempt = undefined;
        if (this.#unshipped() > 0) this.#schedule(this.#delay());
      });
    return this.#attempt;
  }

  /** A backlog goes without pause; after a failure, exponential backoff with full jitter keeps a fleet from coming back at once. */
  #delay(): number {
    if (this.#attemptsFailed === 0)
      return this.#unshipped() >= this.#limits.batchEvents ? 0 : this.#limits.delayMs;
    const { backoffMs, maxBackoffMs } = this.#limits;
    const ceiling = Math.min(maxBackoffMs, backoffMs * 2 ** Math.min(this.#attemptsFailed - 1, 20));
    return Math.max(this.#limits.delayMs, ceiling * (this.#options.random ?? Math.random)());
  }

  #succeeded(): boolean {
    this.#attemptsFailed = 0;
    this.#failure = undefined;
    return true;
  }

  async #failed(error: unknown): Promise<boolean> {
    this.#failures += 1;
    this.#attemptsFailed += 1;
    this.#failure = error instanceof Error ? error.message : String(error);
    try {
      await this.#mend(error);
    } catch (mending) {
      this.#failure = mending instanceof Error ? mending.message : String(mending);
    }
    return false;
  }

  async #ship(): Promise<void> {
    const { spool } = this.#options;
    this.#sent = undefined;
    const batch = await spool.read(this.#next, {
      events: this.#limits.batchEvents,
      bytes: this.#limits.batchBytes,
    });
    if (batch === undefined) return;
    const { first, last } = batch;
    this.#sent = batch;
    const acknowledged = await this.#send(batch);
    this.#batches += 1;
    // Never believe an acknowledgement of what was not sent.
    const upTo = Math.min(acknowledged, last);
    if (upTo < first)
      throw upTo < first - 1
        ? gap(batch.stream, upTo + 1)
        : new Error(`the operator took none of the events from ${first} on`);
    this.#shippedEvents += upTo - first + 1;
    this.#restartsInRow = 0;
    this.#next = upTo + 1;
    spool.acknowledge(upTo);
    // Only now: bytes of a delivery that was not taken whole may still be on their way.
    if (upTo === last) batch.release();
  }

  async #send(batch: SpoolBatch): Promise<number> {
    const signal = AbortSignal.any([
      AbortSignal.timeout(this.#limits.sendTimeoutMs),
      this.#closing.signal,
    ]);
    const head = await abortable(this.#options.sign(batch.hash), signal);
    const ack = await abortable(this.#options.send({ ...batch, head }, signal), signal);
    if (!Number.isSafeInteger(ack.acknowledged))
      throw new Error("the operator's acknowledgement is no number");
    return ack.acknowledged;
  }

  /** What resending can never cure. */
  async #mend(error: unknown): Promise<void> {
    if (error instanceof SpoolDamaged) return this.#restart(error.message);
    const { spool } = this.#options;
    const sent = this.#sent;
    const damage = sent?.isReadBack === true && (await spool.damage(sent.first, sent.last));
    if (typeof damage === "string") return this.#restart(damage);
    if (!(error instanceof IngestRefused)) return;
    const { code, expected, message, stream } = error.refusal;
    // A refusal that was on its way while the stream was restarted.
    if (stream !== spool.stream) return;
    switch (code) {
      case "SequenceGap":
        if (expected < spool.oldestSeq)
          return this.#restart("the operator lacks events that are no longer in the spool", {
            from: expected,
            to: spool.acknowledgedSeq,
          });
        this.#next = expected;
        return;
      case "StreamConflict":
        return this.#restart("the operator holds other events under this stream", {
          from: expected,
          to: expected,
        });
      case "AlteredEvent":
      case "AlteredContent":
        return this.#restart(`the operator refused what the spool held: ${message}`);
      case "MalformedBatch":
        return;
      default:
        throw new Error(`unknown refusal ${String(code satisfies never)}`, { cause: error });
    }
  }

  async #restart(reason: string, lost?: LostRange): Promise<void> {
    if (this.#restartsInRow >= maxRestartsInRow) return;
    this.#restartsInRow += 1;
    this.#restarts += 1;
    await this.#options.spool.restart(reason, lost);
    this.#next = this.#options.spool.acknowledgedSeq + 1;
  }
}

function gap(stream: string, expected: number): IngestRefused {
  return new IngestRefused({
    code: "SequenceGap",
    stream,
    expected,
    message: `the operator expects event ${expected}`,
  });
}

/** Stops waiting when the signal aborts, also for work that ignores its signal. */
function abortable<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void =>
      reject(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done, { once: true });
  });
}
