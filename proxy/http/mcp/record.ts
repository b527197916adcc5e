// What of an MCP exchange is recorded: with `detail: Full` what was sent and what came of it, after masking; always, whether it failed.
import { maxContentBytes } from "../../pipeline.ts";
import type { Content } from "../../pipeline.ts";
import type { Observer } from "../exchange.ts";

export class McpRecord implements Observer {
  readonly #request: string | undefined;
  readonly #keeps: boolean;
  readonly #closed: () => void;
  #response = "";
  #isCut = false;
  #error: string | undefined;

  /**
   * @param request undefined: texts are not recorded
   * @param closed called once, when the exchange is over, however it ended
   */
  constructor(request: string | undefined, keeps: boolean, closed: () => void) {
    this.#request = request;
    this.#keeps = keeps;
    this.#closed = closed;
  }

  /** A message as the agent gets it. */
  said(text: string): void {
    if (!this.#keeps || this.#isCut) return;
    this.#response += this.#response === "" ? text : `\n${text}`;
    // Characters, of which each is a byte at least.
    if (this.#response.length > maxContentBytes) this.#isCut = true;
  }

  failed(code: string): void {
    this.#error ??= code;
  }

  start(): void {}
  take(): void {}

  finish(): ReturnType<Observer["finish"]> {
    this.#closed();
    const contents = [
      ...bounded("request", this.#request ?? "", false),
      ...bounded("response", this.#response, this.#isCut),
    ];
    return { contents, ...(this.#error !== undefined && { error: this.#error }) };
  }
}

function bounded(part: Content["part"], text: string, isCut: boolean): Content[] {
  if (text === "") return [];
  const bytes = Buffer.from(text);
  const truncated = isCut || bytes.length > maxContentBytes;
  const kept = truncated ? bytes.subarray(0, maxContentBytes).toString("utf8") : text;
  return [{ part, text: kept, ...(truncated && { truncated }) }];
}
