// What was refused before it became an operation (malformed bytes, a host no Connection names, a grant that was not given) is an `error` event.
import type { EventBody, RefusedTarget } from "../contract/event.ts";
import type { ConnectionId, Subject } from "../policy/operation.ts";
import type { ProxyError } from "./errors.ts";
import { RateWindow } from "./limits.ts";
import type { Recorder } from "./pipeline.ts";
import { UnknownHosts } from "./unknown-hosts.ts";

/** An agent that sends garbage in a loop must not fill the record: what exceeds this is counted, and the next event says how many. */
const maxPerMinute = 60;

export interface RefusedOptions {
  readonly subject: Subject;
  readonly recorder: Recorder;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly assurance?: "local";
}

type About = { readonly connection?: ConnectionId; readonly target?: RefusedTarget };

export class Refused {
  readonly #options: RefusedOptions;
  readonly #rate = new RateWindow(60_000);
  readonly #unknownHosts: UnknownHosts;
  #counted = 0;

  constructor(options: RefusedOptions) {
    this.#options = options;
    this.#unknownHosts = new UnknownHosts({
      now: options.now,
      tell: (error, target) => this.#note(error, { target }),
    });
  }

  /** @param connection where it is known */
  note(error: ProxyError, connection?: ConnectionId): void {
    const isKept =
      error.target === undefined
        ? this.#note(error, connection === undefined ? {} : { connection })
        : this.#unknownHosts.note(error, error.target);
    if (!isKept) this.#counted += 1;
  }

  /** States what was only counted. */
  close(): void {
    const untold = this.#unknownHosts.close();
    this.#counted += untold;
    if (this.#counted > 0) this.#append("Counted", "refused without an event of their own", {});
  }

  /** False when there were too many of late. */
  #note({ code, message }: ProxyError, about: About): boolean {
    if (!this.#rate.take(this.#options.now(), maxPerMinute)) return false;
    this.#append(code, message, about);
    return true;
  }

  #append(code: string, message: string, about: About): void {
    const { subject, recorder, assurance } = this.#options;
    const more =
      this.#counted === 0 ? "" : ` (and ${this.#counted} more since the last such event)`;
    const body: EventBody = {
      subject,
      ...about,
      error: { code, message: `${message}${more}` },
      ...(assurance === undefined ? {} : { assurance }),
    };
    try {
      recorder.append("error", body);
      this.#counted = 0;
    } catch {
      // The spool counts what it could not take.
    }
  }
}
