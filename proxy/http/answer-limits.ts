// What a policy lets one answer cost: its bytes as the upstream sends them, and how long nothing of it may come.
import type { Limits } from "../../policy/bundle.ts";
import { ProxyError } from "../errors.ts";

export class AnswerLimits {
  readonly #bytes: number;
  #left: number;
  readonly #timer: NodeJS.Timeout | undefined;

  /**
   * The clock runs from here on.
   *
   * @param silent called once, with the reason, when nothing came for `limits.idleTimeout`
   */
  constructor(
    { bytesPerResult = Number.POSITIVE_INFINITY, idleTimeoutSeconds: seconds }: Limits,
    silent: (reason: ProxyError) => void,
  ) {
    this.#bytes = bytesPerResult;
    this.#left = bytesPerResult;
    if (seconds !== undefined)
      this.#timer = setTimeout(
        () => silent(exceeded(`nothing of the answer came for ${seconds} s (limits.idleTimeout)`)),
        seconds * 1_000,
      );
  }

  /** Something moved. */
  touch(): void {
    this.#timer?.refresh();
  }

  /** Why an answer of this length cannot pass: known before any of it does. */
  refuses(length: number): ProxyError | undefined {
    return length > this.#bytes ? this.#tooLong() : undefined;
  }

  /** Counts bytes of the answer; the reason to break it off when they are too many. */
  take(bytes: number): ProxyError | undefined {
    this.touch();
    this.#left -= bytes;
    return this.#left < 0 ? this.#tooLong() : undefined;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #tooLong(): ProxyError {
    return exceeded(`the answer has more than ${this.#bytes} bytes (limits.bytesPerResult)`);
  }
}

/** Undefined where the policy sets neither, which costs nothing then. */
export function answerLimits(
  limits: Limits,
  silent: (reason: ProxyError) => void,
): AnswerLimits | undefined {
  return limits.bytesPerResult === undefined && limits.idleTimeoutSeconds === undefined
    ? undefined
    : new AnswerLimits(limits, silent);
}

function exceeded(message: string): ProxyError {
  return new ProxyError("LimitExceeded", message);
}
