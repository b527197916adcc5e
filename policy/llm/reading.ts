// What is gathered while the body of a model request is read: shared by the shapes of all providers.
import type { LlmAttachment, LlmMessage, LlmOperation } from "../operation.ts";
import { isObject } from "./json.ts";
import type { JsonObject } from "./json.ts";

/** Tools of one request; more are refused. Providers stop at 128. */
const maxTools = 1024;
/** Longest model or tool name; providers stop at 64 for tools. */
const maxNameLength = 256;
/** Images and documents of one request; providers stop at 3,000 or before. */
const maxAttachments = 4_096;
/** Of a media type or an end user, as it is kept for conditions and events. */
const maxWordLength = 128;

/** Thrown inside the recogniser only, which turns it into `unrecognised`. */
export class NotUnderstood extends Error {
  constructor(message: string) {
    super(message);
    this.name = "NotUnderstood";
  }
}

export interface Reading {
  model: string;
  stream: boolean;
  maxOutputTokens: number | null;
  /** Offered or called, in the order they were met. */
  readonly tools: Set<string>;
  readonly offered: Set<string>;
  readonly called: Set<string>;
  readonly prompts: string[];
  readonly messages: LlmMessage[];
  readonly toolResults: string[];
  readonly attachments: LlmAttachment[];
  responseFormat: string;
  user: string;
  reasoning: boolean;
  promptsUnreadable: boolean;
  modelUnsaid: boolean;
  toolsUnreadable: boolean;
  /** Answers asked for at once: the limit is of each, what is asked for is all of them. */
  answers: number;
  /** What stands in the path in the place of the body's model. */
  deployment: string;
  /** Members that the body goes on with in the place of its own. */
  readonly members: Record<string, unknown>;
  /** Requests that it brings for later, each to be decided on like one of its own. */
  requests: readonly LlmOperation[];
}

export function startReading(): Reading {
  return {
    model: "",
    stream: false,
    maxOutputTokens: null,
    tools: new Set(),
    offered: new Set(),
    called: new Set(),
    prompts: [],
    messages: [],
    toolResults: [],
    attachments: [],
    responseFormat: "",
    user: "",
    reasoning: false,
    promptsUnreadable: false,
    modelUnsaid: false,
    toolsUnreadable: false,
    answers: 1,
    deployment: "",
    members: {},
    requests: [],
  };
}

/**
 * The value as an object. Some servers match names without regard to case, so one that differs from a name that is read
 * here in case alone is refused.
 */
export function objectOf(value: unknown, what: string, names: ReadonlySet<string>): JsonObject {
  if (!isObject(value)) throw new NotUnderstood(`${what} is no object`);
  for (const name of Object.keys(value)) {
    if (names.has(name)) continue;
    // By way of capitals, because Go also reads U+017F as `s`.
    const folded = name.toUpperCase().toLowerCase();
    if (names.has(folded)) {
      throw new NotUnderstood(
        `${what} has the name ${JSON.stringify(name.slice(0, 64))}, which some servers read as ${folded}`,
      );
    }
  }
  return value;
}

/** An absent or null list is empty. */
export function listOf(value: unknown, what: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new NotUnderstood(`${what} is no list`);
  return value;
}

export function nameOf(value: unknown, what: string): string {
  if (typeof value !== "string" || value === "") throw new NotUnderstood(`${what} is missing`);
  if (value.length > maxNameLength)
    throw new NotUnderstood(`${what} is longer than ${maxNameLength} characters`);
  // Some servers trim a name, or end it at a NUL.
  if (unclear.test(value))
    throw new NotUnderstood(`${what} has blanks at an end, or control characters`);
  return value;
}

const unclear = /^\s|\s$|\p{Cc}/u;

/** What gateways take as further models, or as another server to ask: LiteLLM, OpenRouter. */
const elsewhere: ReadonlySet<string> = new Set([
  "models",
  "fallbacks",
  "context_window_fallbacks",
  "content_policy_fallbacks",
  "default_fallbacks",
  "user_config",
  "model_list",
  "api_base",
  "base_url",
  "custom_llm_provider",
  "preset",
]);

export function readModel(reading: Reading, body: JsonObject): void {
  refuseElsewhere(body);
  if (reading.deployment === "") reading.model = nameOf(body["model"], "model");
  else readDeployed(reading, body["model"]);
}

/** Of an API with a model of its own choice. */
export function readOptionalModel(reading: Reading, body: JsonObject): void {
  const isSaid = (body["model"] ?? null) !== null || reading.deployment !== "";
  if (isSaid) return readModel(reading, body);
  refuseElsewhere(body);
  reading.modelUnsaid = true;
}

function refuseElsewhere(body: JsonObject): void {
  for (const [name, value] of Object.entries(body))
    if (elsewhere.has(name.toUpperCase().toLowerCase()) && value !== null)
      throw new NotUnderstood(`${name} leads to models that no rule sees`);
}

/** The body goes on with the same model as the path, whatever it named. */
function readDeployed(reading: Reading, named: unknown): void {
  reading.model = reading.deployment;
  if (named !== undefined && named !== reading.model) reading.members["model"] = reading.model;
}

export function readStream(reading: Reading, body: JsonObject): void {
  const stream = body["stream"] ?? false;
  if (typeof stream !== "boolean") throw new NotUnderstood("stream is neither true nor false");
  reading.stream = stream;
}

/** Several names may stand for the limit; the largest counts. */
export function readLimit(reading: Reading, body: JsonObject, names: readonly string[]): void {
  for (const name of names) {
    const limit = body[name];
    if (limit === undefined || limit === null) continue;
    if (typeof limit !== "number" || !Number.isSafeInteger(limit) || limit < 0) {
      throw new NotUnderstood(`${name} is no whole number`);
    }
    reading.maxOutputTokens = Math.max(limit, reading.maxOutputTokens ?? 0);
  }
}

export function addTool(reading: Reading, name: unknown, how: "offered" | "called"): void {
  const tool = nameOf(name, "the name of a tool");
  reading.tools.add(tool);
  reading[how].add(tool);
  if (reading.tools.size > maxTools)
    throw new NotUnderstood(`the request names more than ${maxTools} tools`);
}

/** A text that is sent to the model, in this role. */
export function addText(reading: Reading, text: string, role: string): void {
  if (text === "") return;
  reading.prompts.push(text);
  reading.messages.push({ role, text });
  if (role === "tool") reading.toolResults.push(text);
}

/** Of a call that was made earlier: what the model wrote. */
export function addArguments(reading: Reading, input: unknown): void {
  if (isObject(input) && Object.keys(input).length > 0)
    addText(reading, JSON.stringify(input), "assistant");
}

export function addAttachment(
  reading: Reading,
  kind: LlmAttachment["kind"],
  mediaType: unknown,
  source: LlmAttachment["source"],
): void {
  if (reading.attachments.length >= maxAttachments)
    throw new NotUnderstood(`the request has more than ${maxAttachments} attachments`);
  reading.attachments.push({ kind, mediaType: wordOf(mediaType), source });
}

/** A short text that says something about the request; empty for anything else. */
export function wordOf(value: unknown): string {
  return typeof value === "string" ? value.slice(0, maxWordLength) : "";
}

/** Text, or a list of parts of which the text ones count; the parts of one message make one prompt. */
export function readText(reading: Reading, content: unknown, what: string, role: string): void {
  if (content === undefined || content === null) return;
  if (typeof content === "string") return addText(reading, content, role);
  const texts = listOf(content, what).flatMap((part) => textsOfPart(part, what));
  if (texts.length > 0) addText(reading, texts.join("\n"), role);
}

const partNames: ReadonlySet<string> = new Set(["type", "text", "refusal"]);

function textsOfPart(part: unknown, what: string): string[] {
  if (typeof part === "string") return [part];
  const { text, refusal } = objectOf(part, `a part of ${what}`, partNames);
  return [text, refusal].filter((value) => typeof value === "string");
}

/** A count that may be absent: 1 then. */
export function countOf(value: unknown, what: string): number {
  const count = value ?? 1;
  if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 1)
    throw new NotUnderstood(`${what} is no whole number above 0`);
  return count;
}
