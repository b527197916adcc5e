// Answers an MCP server in the place of the agent: what it asked was refused, and it should not wait for an answer that never comes.
import { errorMessage } from "../../../policy/mcp/refusal.ts";
import type { Refused } from "../../../policy/mcp/refusal.ts";
import type { MessageId } from "../../../policy/mcp/message.ts";
import type { Sendable } from "../credential/sign-request.ts";
import type { AnswerHandler } from "../upstream-connection.ts";
import type { Upstream } from "../upstreams.ts";

/** Of the request whose answer brought the question: they speak of that one. */
const ofRequest: ReadonlySet<string> = new Set([
  "accept",
  "content-type",
  "last-event-id",
  "mcp-method",
  "mcp-name",
]);

/** Answers of one exchange that are under way; a server that asks more than that waits in vain. */
const maxReplies = 16;

export class Replies {
  readonly #upstream: Upstream;
  readonly #sent: Sendable;
  #underWay = 0;

  /** @param sent the request whose answer brought the question: what goes back travels with the same credential */
  constructor(upstream: Upstream, sent: Sendable) {
    this.#upstream = upstream;
    this.#sent = sent;
  }

  /** @param target where the older transport takes messages; else where the request itself went */
  refuse(id: MessageId, refused: Refused, target: string = this.#sent.path): void {
    if (this.#underWay >= maxReplies) return;
    this.#underWay += 1;
    const headers = this.#sent.headers.flatMap((name, at, all) =>
      at % 2 === 1 || ofRequest.has(name) || name.startsWith("mcp-param-")
        ? []
        : [name, all[at + 1] ?? ""],
    );
    this.#upstream.pool.dispatch(
      {
        method: "POST",
        path: target,
        headers: [
          ...headers,
          "content-type",
          "application/json",
          "accept",
          "application/json, text/event-stream",
        ],
        body: Buffer.from(JSON.stringify(errorMessage(id, refused))),
      },
      new Unheard(() => (this.#underWay -= 1)),
    );
  }
}

/** Whatever the server says to it: there is nobody who would want to know. */
class Unheard implements AnswerHandler {
  readonly #over: () => void;

  constructor(over: () => void) {
    this.#over = over;
  }

  onRequestStart(): void {}
  onResponseStart(): void {}
  onResponseData(): void {}

  onResponseEnd(): void {
    this.#over();
  }

  onResponseError(): void {
    this.#over();
  }
}
