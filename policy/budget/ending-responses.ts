// The end of a stream of the responses API: what is open is closed, then `response.incomplete` for `max_output_tokens`.
import { isObject } from "../llm/json.ts";
import type { JsonObject } from "../llm/json.ts";
import type { Tokens } from "./price.ts";
import type { LastEvent } from "./stream-blocks.ts";

/** Output items of one answer that are ended one by one. */
const maxItems = 256;
/** Characters of open texts, which the events that close them repeat; beyond it they are said to be empty. */
const maxTextLength = 4 * 1024 * 1024;

interface OpenPart {
  readonly part: JsonObject;
  text: string;
}

interface OpenItem {
  readonly item: JsonObject;
  readonly parts: Map<number, OpenPart>;
  arguments: string;
}

export class ResponsesEnding {
  #response: JsonObject = {};
  #sequence = -1;
  #length = 0;
  readonly #open = new Map<number, OpenItem>();
  readonly #done = new Map<number, JsonObject>();

  weigh({ type, delta }: JsonObject): number {
    return typeof type === "string" && type.endsWith(".delta") && typeof delta === "string"
      ? Buffer.byteLength(delta)
      : 0;
  }

  sent(event: JsonObject): void {
    const { type, response, sequence_number: sequence } = event;
    if (typeof sequence === "number") this.#sequence = sequence;
    if (isObject(response)) this.#response = response;
    const index = event["output_index"];
    if (typeof index !== "number" || typeof type !== "string") return;
    if (type === "response.output_item.added") this.#opened(index, event["item"]);
    else if (type === "response.output_item.done") this.#closed(index, event["item"]);
    else this.#went(type, event, this.#open.get(index));
  }

  end({ input, output }: Tokens): readonly LastEvent[] {
    const events: LastEvent[] = [];
    const say = (type: string, fields: JsonObject): void => {
      this.#sequence += 1;
      events.push({ name: type, data: { type, sequence_number: this.#sequence, ...fields } });
    };
    const items = new Map(this.#done);
    for (const [index, open] of this.#open) {
      for (const [at, part] of open.parts) closePart(say, index, open, at, part);
      const item = unfinished(open);
      say("response.output_item.done", { output_index: index, item });
      items.set(index, item);
    }
    const ordered = [...items].sort(([one], [other]) => one - other).map(([, item]) => item);
    say("response.incomplete", {
      response: {
        ...this.#response,
        status: "incomplete",
        incomplete_details: { reason: "max_output_tokens" },
        output: ordered,
        usage: {
          input_tokens: input,
          input_tokens_details: { cached_tokens: 0 },
          output_tokens: output,
          output_tokens_details: { reasoning_tokens: 0 },
          total_tokens: input + output,
        },
      },
    });
    return events;
  }

  #opened(index: number, item: unknown): void {
    if (isObject(item) && this.#open.size + this.#done.size < maxItems)
      this.#open.set(index, { item, parts: new Map(), arguments: "" });
  }

  #closed(index: number, item: unknown): void {
    if (!this.#open.delete(index) || !isObject(item)) return;
    this.#done.set(index, item);
  }

  #went(type: string, event: JsonObject, open: OpenItem | undefined): void {
    if (open === undefined) return;
    const at = event["content_index"];
    if (type === "response.content_part.added") {
      if (typeof at === "number" && isObject(event["part"]) && open.parts.size < maxItems)
        open.parts.set(at, { part: event["part"], text: "" });
      return;
    }
    const delta = event["delta"];
    if (typeof delta !== "string") return;
    this.#length += delta.length;
    const kept = this.#length > maxTextLength ? "" : delta;
    const part = typeof at === "number" ? open.parts.get(at) : undefined;
    if (part !== undefined) part.text += kept;
    else if (type === "response.function_call_arguments.delta") open.arguments += kept;
  }
}

function closePart(
  say: (type: string, fields: JsonObject) => void,
  index: number,
  { item }: OpenItem,
  at: number,
  part: OpenPart,
): void {
  const place = { item_id: item["id"], output_index: index, content_index: at };
  const isRefusal = part.part["type"] === "refusal";
  if (isRefusal) say("response.refusal.done", { ...place, refusal: part.text });
  else say("response.output_text.done", { ...place, text: part.text, logprobs: [] });
  say("response.content_part.done", { ...place, part: finished(part) });
}

function finished({ part, text }: OpenPart): JsonObject {
  return part["type"] === "refusal" ? { ...part, refusal: text } : { ...part, text };
}

/** Arguments that end in their middle are no call: the item says that it is incomplete. */
function unfinished({ item, parts, arguments: text }: OpenItem): JsonObject {
  if (item["type"] === "message")
    return { ...item, status: "incomplete", content: [...parts.values()].map(finished) };
  if (item["type"] === "function_call") return { ...item, status: "incomplete", arguments: text };
  return "status" in item ? { ...item, status: "incomplete" } : item;
}
