// Reads the operator's stream: one JSON message a line, reconnecting for as long as the proxy lives.
import type { Readable } from "node:stream";
import type { StreamMessage } from "../../contract/control.ts";
import { OperatorUnavailable, parseStreamMessage } from "./answers.ts";
import { backoffMs, sleep, type Clock } from "./clock.ts";

/** The operator pings every 5 s; after this much silence nobody is there. */
export const silenceMs = 15_000;

/** The longest message is a quarantine with its reason and a hundred connection patterns. */
export const maxLineBytes = 256 * 1024;

const firstRetryMs = 100;
const maxRetryMs = 5_000;

export interface OperatorStreamOptions {
  /** Opens the body of GET /v1/stream; aborting the signal cuts it. */
  readonly open: (signal: AbortSignal) => Promise<Readable>;
  readonly onMessage: (message: StreamMessage) => void;
  readonly onProblem: (error: unknown) => void;
  readonly clock: Clock;
  readonly random: () => number;
}

export class OperatorStream {
  readonly #options: OperatorStreamOptions;
  readonly #closing = new AbortController();
  #heardAt: number | undefined;
  #running: Promise<void> | undefined;

  constructor(options: OperatorStreamOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run().catch(() => undefined); // ends only by close
  }

  /** How long ago the operator was last heard; undefined when never. */
  get silentForMs(): number | undefined {
    return this.#heardAt === undefined ? undefined : this.#options.clock.now() - this.#heardAt;
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the proxy is shutting down"));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random, onProblem } = this.#options;
    for (let attempt = 0; !this.#closing.signal.aborted; attempt += 1) {
      try {
        if (await this.#once()) attempt = -1; // it worked: begin again without delay the first time it ends
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        onProblem(error);
      }
      if (attempt >= 0)
        await sleep(
          clock,
          backoffMs(attempt, random, firstRetryMs, maxRetryMs),
          this.#closing.signal,
        );
    }
  }

  /** One connection, to its end. True when it ended in order after it had worked. */
  async #once(): Promise<boolean> {
    const { open, clock, onMessage } = this.#options;
    const dead = new AbortController();
    const signal = AbortSignal.any([this.#closing.signal, dead.signal]);
    const silence = (): void =>
      dead.abort(new OperatorUnavailable(`the operator's stream was silent for ${silenceMs} ms`));
    let cancel = clock.after(silenceMs, silence);
    let hasWorked = false;
    try {
      const body = await open(signal);
      for await (const line of lines(body, () => this.#hear())) {
        cancel();
        cancel = clock.after(silenceMs, silence);
        const message = parseStreamMessage(line);
        hasWorked ||= message?.type === "hello";
        if (message !== undefined) onMessage(message);
      }
      return hasWorked;
    } catch (error) {
      throw dead.signal.aborted ? dead.signal.reason : error;
    } finally {
      cancel();
      dead.abort();
    }
  }

  #hear(): void {
    this.#heardAt = this.#options.clock.now();
  }
}

/** Complete lines; throws when one grows too long. What stands behind the last line break is not a message. */
export async function* lines(
  body: AsyncIterable<Buffer | string>,
  onData: () => void,
): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of body) {
    onData();
    rest = Buffer.concat([rest, Buffer.from(chunk)]);
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      const line = rest.subarray(0, end).toString("utf8");
      rest = rest.subarray(end + 1);
      if (line.trim() !== "") yield line;
    }
    if (rest.length > maxLineBytes)
      throw new OperatorUnavailable(
        `a line of the operator's stream is longer than ${maxLineBytes} bytes`,
      );
  }
}
