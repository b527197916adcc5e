// Counts an answer that streams against what its operation holds of the budgets, and ends it between two events when that is used up.
import { isObject } from "../../policy/llm/json.ts";
import { tokensOf } from "../../policy/budget/estimate.ts";
import { streamEnding, type StreamEnding } from "../../policy/budget/ending.ts";
import { EventBlocks, EventTooLong } from "../../policy/budget/event-blocks.ts";
import type { LlmProvider } from "../../policy/llm/provider.ts";
import type { LlmOperation, Operation } from "../../policy/operation.ts";
import { ProxyError } from "../errors.ts";
import type { Spending } from "./spending.ts";

type Headers = Readonly<Record<string, string | string[] | undefined>>;

export interface Counted {
  /** What goes to the agent now. */
  readonly bytes: Buffer;
  /** The budget that is used up: nothing follows. */
  readonly over?: string;
  /** There is no way to end it well: break it off. */
  readonly isBroken?: boolean;
}

const nothing = Buffer.alloc(0);

/** Undefined where nothing is counted, which costs nothing then. */
export function answerBudget(
  { spending }: { readonly spending?: Spending | undefined },
  { operation, provider }: { readonly operation: Operation; readonly provider?: LlmProvider },
): AnswerBudget | undefined {
  return spending === undefined || provider === undefined || operation.kind !== "llm"
    ? undefined
    : new AnswerBudget(spending, provider, operation);
}

export class AnswerBudget {
  readonly #spending: Spending;
  readonly #provider: LlmProvider;
  readonly #ending: StreamEnding | undefined;
  #blocks: EventBlocks | undefined;
  #bytes = 0;

  constructor(spending: Spending, provider: LlmProvider, { facts, http }: LlmOperation) {
    this.#spending = spending;
    this.#provider = provider;
    this.#ending = streamEnding(provider.protocol, facts.operation, http.path);
  }

  /** The headers that go out: of a stream, without a length that may not come true. */
  begin(status: number, headers: Headers): Headers {
    const [media = ""] = String(headers["content-type"] ?? "").split(";");
    const framing = this.#provider.framing(media.trim().toLowerCase());
    const isReadable = (headers["content-encoding"] ?? "identity") === "identity";
    if (status >= 300 || !isReadable || (framing !== "events" && framing !== "lines"))
      return headers;
    this.#blocks = new EventBlocks(framing);
    const { "content-length": _length, ...others } = headers;
    return others;
  }

  /** Throws ProxyError for what is no stream of events. */
  take(chunk: Buffer): Counted {
    if (this.#blocks === undefined) return { bytes: chunk };
    let text = "";
    for (const { raw, data } of pushed(this.#blocks, chunk)) {
      const over = this.#count(data);
      if (over !== undefined) return this.#end(text, over);
      text += raw;
    }
    return { bytes: text === "" ? nothing : Buffer.from(text) };
  }

  /** What came behind the last whole event. */
  rest(): Buffer {
    const rest = this.#blocks?.end() ?? "";
    return rest === "" ? nothing : Buffer.from(rest);
  }

  #count(data: string): string | undefined {
    const event = eventOf(data);
    if (event === undefined) return undefined;
    this.#bytes += this.#ending?.weigh(event) ?? Buffer.byteLength(data);
    const over = this.#spending.count(tokensOf(this.#bytes));
    if (over === undefined) this.#ending?.sent(event);
    return over;
  }

  #end(text: string, over: string): Counted {
    if (this.#ending === undefined) return { bytes: Buffer.from(text), over, isBroken: true };
    return { bytes: Buffer.from(text + this.#ending.end(this.#spending.tokens)), over };
  }
}

function pushed(blocks: EventBlocks, chunk: Buffer): ReturnType<EventBlocks["push"]> {
  try {
    return blocks.push(chunk);
  } catch (error) {
    if (error instanceof EventTooLong)
      throw new ProxyError("UpstreamProtocol", error.message, { cause: error });
    throw error;
  }
}

function eventOf(data: string): Readonly<Record<string, unknown>> | undefined {
  if (data === "" || data === "[DONE]") return undefined;
  try {
    const value: unknown = JSON.parse(data);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
