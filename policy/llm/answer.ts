// What a language model answered, for recording and metering: text, tool calls and token usage, from a JSON body or an event stream.
import { isObject } from "./json.ts";
import type { JsonObject } from "./json.ts";
import { eventStream } from "./sse.ts";

/** Characters of text and arguments kept of one answer; recordings are read by people. */
export const maxAnswerLength = 1024 * 1024;
/** Largest JSON body kept to be read; larger ones, embeddings mostly, are counted as truncated. */
export const maxBodyLength = 4 * 1024 * 1024;
/** Choices and tool calls kept of one answer. */
const maxParts = 256;

export interface ToolCall {
  readonly name: string;
  readonly arguments: string;
}

export interface Answer {
  /** The text of all choices or output items, in their order, parted by an empty line. */
  readonly text: string;
  readonly toolCalls: readonly ToolCall[];
  readonly usage?: { readonly input: number; readonly output: number };
  /** The provider's own error message. */
  readonly error?: string;
  /** Some of the answer is not in here: too long, or not understood. */
  readonly truncated: boolean;
}

export interface AnswerReader {
  /** A piece of the body, content-encoding removed. Never throws. */
  push(chunk: Uint8Array): void;
  finish(): Answer;
}

/** @param contentType of the response: `text/event-stream` is read as it comes, everything else as one JSON body */
export function answerReader(contentType: string): AnswerReader {
  const gathered = new Gathering();
  if (/^\s*text\/event-stream\b/i.test(contentType)) return streamReader(gathered);
  return bodyReader(gathered);
}

function streamReader(gathered: Gathering): AnswerReader {
  const stream = eventStream(
    (data) => {
      if (data.trim() !== "[DONE]") readJson(gathered, data, readEvent);
    },
    () => gathered.truncate(),
  );
  return {
    push: (chunk) => stream.push(chunk),
    finish: () => {
      stream.finish();
      return gathered.answer();
    },
  };
}

function bodyReader(gathered: Gathering): AnswerReader {
  const chunks: Uint8Array[] = [];
  let length = 0;
  return {
    push: (chunk) => {
      length += chunk.length;
      if (length <= maxBodyLength) chunks.push(chunk);
      else chunks.length = 0;
    },
    finish: () => {
      if (length > maxBodyLength) gathered.truncate();
      else if (length > 0) readJson(gathered, join(chunks, length), readBody);
      return gathered.answer();
    },
  };
}

function join(chunks: readonly Uint8Array[], length: number): string {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return new TextDecoder().decode(whole);
}

function readJson(
  gathered: Gathering,
  text: string,
  read: (gathered: Gathering, value: JsonObject) => void,
): void {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    gathered.truncate();
    return;
  }
  if (isObject(value)) read(gathered, value);
}

/** A whole chat completion or response. */
function readBody(gathered: Gathering, body: JsonObject): void {
  readUsage(gathered, body["usage"]);
  readError(gathered, body["error"]);
  for (const [index, choice] of objects(body["choices"]).entries()) {
    readMessage(gathered, numberOf(choice["index"], index), choice["message"]);
  }
  for (const [index, item] of objects(body["output"]).entries()) readItem(gathered, index, item);
}

/** One event of a chat completion (`choices[].delta`) or of a response (`type`). */
function readEvent(gathered: Gathering, event: JsonObject): void {
  readError(gathered, event["error"]);
  readUsage(gathered, event["usage"]);
  for (const [index, choice] of objects(event["choices"]).entries()) {
    readMessage(gathered, numberOf(choice["index"], index), choice["delta"]);
  }
  if (typeof event["type"] === "string") readResponseEvent(gathered, event["type"], event);
}

function readMessage(gathered: Gathering, choice: number, message: unknown): void {
  if (!isObject(message)) return;
  gathered.addText(choice, message["content"]);
  gathered.addText(choice, message["refusal"]);
  for (const [index, call] of objects(message["tool_calls"]).entries()) {
    const key = `${choice}.${numberOf(call["index"], index)}`;
    for (const part of [call["function"], call["custom"]]) {
      if (!isObject(part)) continue;
      gathered.nameCall(key, part["name"]);
      gathered.addArguments(key, part["arguments"]);
      gathered.addArguments(key, part["input"]);
    }
  }
}

function readResponseEvent(gathered: Gathering, type: string, event: JsonObject): void {
  const index = numberOf(event["output_index"], 0);
  switch (type) {
    case "response.output_text.delta":
    case "response.refusal.delta":
      return gathered.addText(index, event["delta"]);
    case "response.function_call_arguments.delta":
    case "response.custom_tool_call_input.delta":
      return gathered.addArguments(String(index), event["delta"]);
    case "response.output_item.added":
      return isObject(event["item"]) ? readCall(gathered, index, event["item"]) : undefined;
    case "response.completed":
    case "response.incomplete":
    case "response.failed":
      if (!isObject(event["response"])) return undefined;
      readUsage(gathered, event["response"]["usage"]);
      return readError(gathered, event["response"]["error"]);
    case "error":
      return readError(gathered, event);
    default:
      return undefined;
  }
}

function readItem(gathered: Gathering, index: number, item: JsonObject): void {
  readCall(gathered, index, item);
  for (const part of objects(item["content"])) {
    gathered.addText(index, part["text"]);
    gathered.addText(index, part["refusal"]);
  }
}

/** A call of the agent's tool by its name, of the provider's own by its type. */
function readCall(gathered: Gathering, index: number, item: JsonObject): void {
  const type = typeof item["type"] === "string" ? item["type"] : "";
  if (!type.endsWith("_call")) return;
  const name = typeof item["name"] === "string" ? item["name"] : type.slice(0, -"_call".length);
  gathered.nameCall(String(index), name);
  gathered.addArguments(String(index), item["arguments"]);
  gathered.addArguments(String(index), item["input"]);
}

/** chat and embeddings say prompt and completion, responses say input and output. */
function readUsage(gathered: Gathering, usage: unknown): void {
  if (!isObject(usage)) return;
  const input = usage["input_tokens"] ?? usage["prompt_tokens"];
  const output = usage["output_tokens"] ?? usage["completion_tokens"];
  if (typeof input === "number") gathered.usage = { input, output: numberOf(output, 0) };
}

function readError(gathered: Gathering, error: unknown): void {
  const message = isObject(error) ? error["message"] : error;
  if (typeof message === "string") gathered.fail(message);
}

function objects(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function numberOf(value: unknown, otherwise: number): number {
  return typeof value === "number" ? value : otherwise;
}

/** The answer so far, within its bounds. */
class Gathering {
  usage: { readonly input: number; readonly output: number } | undefined;
  #error: string | undefined;
  #truncated = false;
  #left = maxAnswerLength;
  readonly #texts = new Map<number, string[]>();
  readonly #calls = new Map<string, { name: string; readonly pieces: string[] }>();

  truncate(): void {
    this.#truncated = true;
  }

  fail(message: string): void {
    this.#error = this.#take(message);
  }

  addText(part: number, text: unknown): void {
    if (typeof text !== "string" || text === "") return;
    const pieces = this.#entry(this.#texts, part, () => []);
    pieces?.push(this.#take(text));
  }

  nameCall(key: string, name: unknown): void {
    if (typeof name !== "string" || name === "") return;
    const call = this.#call(key);
    if (call) call.name = this.#take(name);
  }

  addArguments(key: string, text: unknown): void {
    if (typeof text !== "string" || text === "") return;
    this.#call(key)?.pieces.push(this.#take(text));
  }

  answer(): Answer {
    const texts = [...this.#texts].sort(([a], [b]) => a - b).map(([, pieces]) => pieces.join(""));
    return {
      text: texts.join("\n\n"),
      toolCalls: [...this.#calls.values()].map(({ name, pieces }) => ({
        name,
        arguments: pieces.join(""),
      })),
      ...(this.usage && { usage: this.usage }),
      ...(this.#error !== undefined && { error: this.#error }),
      truncated: this.#truncated,
    };
  }

  #call(key: string): { name: string; readonly pieces: string[] } | undefined {
    return this.#entry(this.#calls, key, () => ({ name: "", pieces: [] }));
  }

  #entry<K, V>(map: Map<K, V>, key: K, make: () => V): V | undefined {
    const known = map.get(key);
    if (known !== undefined) return known;
    if (map.size >= maxParts) {
      this.#truncated = true;
      return undefined;
    }
    const made = make();
    map.set(key, made);
    return made;
  }

  #take(text: string): string {
    if (text.length <= this.#left) {
      this.#left -= text.length;
      return text;
    }
    this.#truncated = true;
    const kept = text.slice(0, this.#left);
    this.#left = 0;
    return kept;
  }
}
