// The end of a stream of Bedrock's: of ConverseStream as its own events, of InvokeModelWithResponseStream as the model's own in `chunk` frames.
import { isObject } from "../llm/json.ts";
import type { JsonObject } from "../llm/json.ts";
import { textBytes } from "./ending-chat.ts";
import { MessagesEnding } from "./ending-messages.ts";
import type { Tokens } from "./price.ts";
import type { LastEvent } from "./stream-blocks.ts";

/** Of one way to stream. */
interface Events {
  weigh(event: JsonObject, name: string | undefined): number;
  sent(event: JsonObject, name: string | undefined): void;
  end(tokens: Tokens): readonly LastEvent[];
}

export class BedrockEnding {
  #events: Events | undefined;

  weigh(event: JsonObject, name: string | undefined): number {
    const { events, own } = this.#of(event, name);
    return events.weigh(own, name);
  }

  sent(event: JsonObject, name: string | undefined): void {
    const { events, own } = this.#of(event, name);
    events.sent(own, name);
  }

  end(tokens: Tokens): readonly LastEvent[] {
    return (this.#events ?? new ConverseEnding()).end(tokens);
  }

  #of(event: JsonObject, name: string | undefined): { events: Events; own: JsonObject } {
    const inner = name === "chunk" ? innerOf(event) : undefined;
    this.#events ??= inner === undefined ? new ConverseEnding() : modelEnding(inner);
    return { events: this.#events, own: inner ?? event };
  }
}

function innerOf({ bytes }: JsonObject): JsonObject {
  if (typeof bytes !== "string") return {};
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes, "base64").toString("utf8"));
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

function modelEnding(first: JsonObject): Events {
  if (typeof first["type"] === "string") return new ClaudeEnding();
  // Amazon's own models wrap an event of Converse in its name.
  return Object.keys(first).some((name) => converseEvents.has(name))
    ? new NovaEnding()
    : new TextEnding();
}

const converseEvents: ReadonlySet<string> = new Set([
  "messageStart",
  "contentBlockStart",
  "contentBlockDelta",
  "contentBlockStop",
  "messageStop",
  "metadata",
]);
/** Blocks of one answer that are open at one time; it opens them one after the other. */
const maxOpen = 256;

class ConverseEnding implements Events {
  readonly #open = new Set<number>();
  #hasStarted = false;
  #hasStopped = false;

  weigh(event: JsonObject, name: string | undefined): number {
    if (name !== "contentBlockDelta" && name !== "contentBlockStart") return 0;
    return wordsOf(event["delta"]) + wordsOf(event["start"]);
  }

  sent(event: JsonObject, name: string | undefined): void {
    const index = event["contentBlockIndex"];
    if (name === "messageStart") this.#hasStarted = true;
    else if (name === "messageStop") this.#hasStopped = true;
    else if (typeof index !== "number") return;
    else if (name === "contentBlockStop") this.#open.delete(index);
    // A block of text has no start.
    else if (this.#open.size < maxOpen) this.#open.add(index);
  }

  end({ input, output }: Tokens): readonly LastEvent[] {
    const start = { name: "messageStart", data: { role: "assistant" } };
    const stop = { name: "messageStop", data: { stopReason: "max_tokens" } };
    return [
      ...(this.#hasStarted ? [] : [start]),
      ...[...this.#open].map((index) => ({
        name: "contentBlockStop",
        data: { contentBlockIndex: index },
      })),
      ...(this.#hasStopped ? [] : [stop]),
      {
        name: "metadata",
        data: {
          usage: { inputTokens: input, outputTokens: output, totalTokens: input + output },
          metrics: { latencyMs: 0 },
        },
      },
    ];
  }
}

/** Of a delta or a start: text, thinking, the name and arguments of a tool; a signature is none of the model's words. */
function wordsOf(part: unknown): number {
  if (!isObject(part)) return 0;
  const { text, toolUse, reasoningContent } = part;
  const reasoning = isObject(reasoningContent) ? reasoningContent["text"] : undefined;
  const call = isObject(toolUse) ? [toolUse["name"], toolUse["input"]] : [];
  return textBytes([text, reasoning, ...call], 0);
}

/** An event of the model's own, as Bedrock carries it. */
function carried(data: JsonObject): LastEvent {
  return {
    name: "chunk",
    data: { bytes: Buffer.from(JSON.stringify(data)).toString("base64") },
  };
}

class NovaEnding implements Events {
  readonly #converse = new ConverseEnding();

  weigh(event: JsonObject): number {
    return named(event).reduce((sum, [name, inner]) => sum + this.#converse.weigh(inner, name), 0);
  }

  sent(event: JsonObject): void {
    for (const [name, inner] of named(event)) this.#converse.sent(inner, name);
  }

  end(tokens: Tokens): readonly LastEvent[] {
    return this.#converse.end(tokens).map(({ name = "", data }) => carried({ [name]: data }));
  }
}

function named(event: JsonObject): readonly (readonly [string, JsonObject])[] {
  return Object.entries(event).flatMap(([name, inner]) =>
    isObject(inner) ? [[name, inner] as const] : [],
  );
}

class ClaudeEnding implements Events {
  readonly #messages = new MessagesEnding();

  weigh(event: JsonObject): number {
    return this.#messages.weigh(event);
  }

  sent(event: JsonObject): void {
    this.#messages.sent(event);
  }

  end({ input, output }: Tokens): readonly LastEvent[] {
    const metrics = {
      "amazon-bedrock-invocationMetrics": { inputTokenCount: input, outputTokenCount: output },
    };
    return this.#messages
      .end({ input, output })
      .map(({ name, data }) =>
        carried(
          name === "message_stop" && data !== "[DONE]" ? { ...data, ...metrics } : objectOf(data),
        ),
      );
  }
}

function objectOf(data: LastEvent["data"]): JsonObject {
  return data === "[DONE]" ? {} : data;
}

/** Titan, Llama and Mistral: the last event has no text, and why it is the last. */
class TextEnding implements Events {
  #last: JsonObject = {};

  weigh(event: JsonObject): number {
    return (
      textBytes([event["outputText"], event["generation"], event["completion"]], 0) +
      textBytes(textsOf(event["outputs"]), 0) +
      textBytes(textsOf(event["choices"]), 0)
    );
  }

  sent(event: JsonObject): void {
    this.#last = event;
  }

  end(tokens: Tokens): readonly LastEvent[] {
    return [carried(lastOf(this.#last, tokens))];
  }
}

function textsOf(list: unknown): readonly unknown[] {
  return Array.isArray(list)
    ? list
        .filter(isObject)
        .map(({ text, message }) => text ?? (isObject(message) ? message["content"] : undefined))
    : [];
}

function lastOf(event: JsonObject, { input, output }: Tokens): JsonObject {
  if ("outputText" in event)
    return {
      outputText: "",
      index: 0,
      totalOutputTextTokenCount: output,
      completionReason: "LENGTH",
      inputTextTokenCount: input,
    };
  if ("outputs" in event) return { outputs: [{ text: "", stop_reason: "length" }] };
  if ("choices" in event)
    return {
      choices: [{ index: 0, message: { role: "assistant", content: "" }, stop_reason: "length" }],
    };
  return {
    generation: "",
    prompt_token_count: input,
    generation_token_count: output,
    stop_reason: "length",
  };
}
