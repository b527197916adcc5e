// Tells a client that waits for a person's approval that it waits: at once, and again so that nothing between takes the connection for dead.
import type { Exchange } from "./exchange.ts";
import { backend, fieldsMessage } from "./messages.ts";

/** Well under the idle timeouts of load balancers and NAT (a minute or more), and soon enough to notice that the client is gone. */
export const holdNoticeMs = 10_000;

export class HoldNotices {
  readonly #x: Exchange;
  #timer: NodeJS.Timeout | undefined;

  constructor(exchange: Exchange) {
    this.#x = exchange;
  }

  /** @param request name of the access request that was opened */
  begin(request: string): void {
    this.end();
    const notice = fieldsMessage(
      backend.notice,
      new Map([
        ["S", "NOTICE"],
        ["V", "NOTICE"],
        ["C", "00000"],
        [
          "M",
          `connection ${this.#x.connection}: waiting for the approval of access request ${request}; cancel to give up`,
        ],
      ]),
    );
    const say = (): void => {
      // Amid a message, and behind what the client does not read, nothing can be said.
      if (this.#x.over || this.#x.inPiece || this.#x.client.full) return;
      this.#x.client.send(notice);
      this.#x.client.flush();
    };
    this.#timer = setInterval(say, this.#x.options.holdNoticeMs);
    say();
  }

  end(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
