// Counts an answer that streams against what its operation holds of the budgets, and ends it between two events when that is used up.
import { isObject } from "../../policy/llm/json.ts";
import { tokensOf } from "../../policy/budget/estimate.ts";
import { streamEnding, type StreamEnding } from "../../policy/budget/ending.ts";
import { ArrayBlocks } from "../../policy/budget/array-blocks.ts";
import { EventBlocks } from "../../policy/budget/event-blocks.ts";
import { FrameBlocks } from "../../policy/budget/frame-blocks.ts";
import { UnreadableStream } from "../../policy/budget/stream-blocks.ts";
import type { StreamBlock, StreamBlocks, Wire } from "../../policy/budget/stream-blocks.ts";
import type { Framing, LlmProvider } from "../../policy/llm/provider.ts";
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
  readonly #streams: boolean;
  #blocks: StreamBlocks | undefined;
  #bytes = 0;

  constructor(spending: Spending, provider: LlmProvider, { facts, http }: LlmOperation) {
    this.#spending = spending;
    this.#provider = provider;
    this.#streams = facts.stream;
    this.#ending = streamEnding(provider.protocol, facts.operation, http.path);
  }

  /** The headers that go out: of a stream, without a length that may not come true. */
  begin(status: number, headers: Headers): Headers {
    const [media = ""] = String(headers["content-type"] ?? "").split(";");
    const framing = this.#provider.framing(media.trim().toLowerCase());
    const isReadable = (headers["content-encoding"] ?? "identity") === "identity";
    const blocks = blocksOf(framing, this.#streams);
    if (status >= 300 || !isReadable || blocks === undefined) return headers;
    this.#blocks = blocks;
    const { "content-length": _length, ...others } = headers;
    return others;
  }

  /** Throws ProxyError for what is no stream of events. */
  take(chunk: Buffer): Counted {
    if (this.#blocks === undefined) return { bytes: chunk };
    try {
      return this.#taken(this.#blocks, chunk);
    } catch (error) {
      if (error instanceof UnreadableStream)
        throw new ProxyError("UpstreamProtocol", error.message, { cause: error });
      throw error;
    }
  }

  /** What came behind the last whole event. */
  rest(): Buffer {
    return bytesOf([this.#blocks?.end() ?? ""]);
  }

  #taken(blocks: StreamBlocks, chunk: Buffer): Counted {
    const shown: Wire[] = [];
    for (const block of blocks.push(chunk)) {
      const over = this.#count(block);
      if (over !== undefined) return this.#end(blocks, shown, over);
      shown.push(block.raw);
    }
    return { bytes: bytesOf(shown) };
  }

  #count({ data, name }: StreamBlock): string | undefined {
    const event = eventOf(data);
    if (event === undefined) return undefined;
    this.#bytes += this.#ending?.weigh(event, name) ?? Buffer.byteLength(data);
    const over = this.#spending.count(tokensOf(this.#bytes));
    if (over === undefined) this.#ending?.sent(event, name);
    return over;
  }

  #end(blocks: StreamBlocks, shown: readonly Wire[], over: string): Counted {
    if (this.#ending === undefined) return { bytes: bytesOf(shown), over, isBroken: true };
    const last = blocks.written(this.#ending.end(this.#spending.tokens));
    return { bytes: bytesOf([...shown, last]), over };
  }
}

/** Undefined for an answer that comes as one. @param streams the request asked for a stream: an array may be one, or one answer */
function blocksOf(framing: Framing | undefined, streams: boolean): StreamBlocks | undefined {
  switch (framing) {
    case "events":
    case "lines":
      return new EventBlocks(framing);
    case "frames":
      return new FrameBlocks();
    case "array":
      return streams ? new ArrayBlocks() : undefined;
    default:
      return undefined;
  }
}

function bytesOf(pieces: readonly Wire[]): Buffer {
  if (pieces.every((piece) => typeof piece === "string"))
    return pieces.length === 0 ? nothing : Buffer.from(pieces.join(""));
  return Buffer.concat(
    pieces.map((piece) => (typeof piece === "string" ? Buffer.from(piece) : piece)),
  );
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
