// What an agent says in a session of OpenAI's realtime API, event by event: each that brings instructions, tools or text is decided on like a
// request; one that nobody knows is not understood. https://platform.openai.com/docs/api-reference/realtime-client-events
import type { LlmOperation } from "../../operation.ts";
import { isObject, parseStrict } from "../json.ts";
import type { JsonObject } from "../json.ts";
import { llmOperation } from "../recognise.ts";
import {
  addText,
  listOf,
  nameOf,
  NotUnderstood,
  objectOf,
  readLimit,
  readText,
  startReading,
  wordOf,
} from "../reading.ts";
import type { Reading } from "../reading.ts";
import { readItem, readTool } from "./responses.ts";

export interface SaidEvent {
  readonly type: string;
  /** The agent's own name for the event, which an error about it repeats. */
  readonly id: string | undefined;
  /** All of them have to be allowed; none where the event brings nothing that rules speak about. */
  readonly operations: readonly LlmOperation[];
}

const eventNames: ReadonlySet<string> = new Set([
  "type",
  "event_id",
  "session",
  "response",
  "item",
]);
const sessionNames: ReadonlySet<string> = new Set([
  "model",
  "instructions",
  "tools",
  "prompt",
  "input",
  "audio",
  "input_audio_transcription",
  "max_output_tokens",
  "max_response_output_tokens",
]);
const audioNames: ReadonlySet<string> = new Set(["input", "output"]);
const inputNames: ReadonlySet<string> = new Set(["transcription"]);
const transcriptionNames: ReadonlySet<string> = new Set(["model", "prompt"]);

/** What brings sound, or changes what is there: sound is not looked into, as elsewhere. */
const quiet: ReadonlySet<string> = new Set([
  "input_audio_buffer.append",
  "input_audio_buffer.commit",
  "input_audio_buffer.clear",
  "output_audio_buffer.clear",
  "conversation.item.truncate",
  "conversation.item.delete",
  "conversation.item.retrieve",
  "response.cancel",
]);

export class RealtimeSession {
  readonly #opened: LlmOperation;
  /** Of the last `session.update` that had any: what the model may call from then on. */
  #tools: readonly string[] = [];

  /** @param opened the upgrade, as it was decided on */
  constructor(opened: LlmOperation) {
    this.#opened = opened;
  }

  /** The session as it stands: what the rules are asked about again when they change. */
  get operation(): LlmOperation {
    if (this.#tools.length === 0) return this.#opened;
    const { facts } = this.#opened;
    return {
      ...this.#opened,
      facts: { ...facts, tools: this.#tools, toolsOffered: this.#tools },
      accesses: [
        ...this.#opened.accesses,
        ...this.#tools.map((tool) => ({ kind: "tool", tool }) as const),
      ],
    };
  }

  /** The event behind a text, and what it asks for. */
  read(text: string): SaidEvent {
    const reading = this.#startReading();
    const parsed = parseStrict(text);
    const event = "problem" in parsed ? undefined : parsed.value;
    const type = isObject(event) ? wordOf(event["type"]) : "";
    const id =
      isObject(event) && typeof event["event_id"] === "string" ? event["event_id"] : undefined;
    const named = { type, id: id?.slice(0, maxIdLength) };
    try {
      if ("problem" in parsed) throw new NotUnderstood(parsed.problem);
      const transcription = readEvent(reading, objectOf(event, "an event", eventNames), type);
      if (quiet.has(type)) return { ...named, operations: [] };
      const operations = [this.#said(reading)];
      if (transcription !== "") operations.push(this.#transcribing(transcription));
      return { ...named, operations };
    } catch (error) {
      if (!(error instanceof NotUnderstood)) throw error;
      return { ...named, operations: [this.#said(reading, error.message)] };
    }
  }

  /** It was allowed, and is said. */
  passed({ type, operations }: SaidEvent): void {
    const [said] = operations;
    if (type === "session.update" && said !== undefined && said.facts.toolsOffered.length > 0)
      this.#tools = said.facts.toolsOffered;
  }

  #startReading(): Reading {
    const reading = startReading();
    reading.model = this.#opened.facts.model;
    return reading;
  }

  #said(reading: Reading, problem?: string): LlmOperation {
    reading.modelUnsaid = reading.model === "";
    return llmOperation(this.#opened.http, "realtime", reading, problem);
  }

  /** What the agent says aloud is written down by a model of its own. */
  #transcribing(model: string): LlmOperation {
    const reading = startReading();
    reading.model = model;
    reading.promptsUnreadable = true;
    return llmOperation(this.#opened.http, "transcriptions", reading, undefined);
  }
}

/** Providers' own names are shorter. */
const maxIdLength = 512;

/** Returns the model that writes down what is said aloud, or nothing. */
function readEvent(reading: Reading, event: JsonObject, type: string): string {
  switch (type) {
    case "session.update":
    case "transcription_session.update":
      return readSession(reading, event["session"], "session");
    case "response.create":
      return readSession(reading, event["response"] ?? {}, "response");
    case "conversation.item.create":
      readSpoken(reading, event["item"]);
      return "";
    default:
      if (quiet.has(type)) return "";
      throw new NotUnderstood(
        `${JSON.stringify(type.slice(0, 64))} is no event of a session that rules know`,
      );
  }
}

/** A session and a response have the same terms; a response may bring a conversation of its own. */
function readSession(reading: Reading, value: unknown, what: string): string {
  const session = objectOf(value, what, sessionNames);
  readSessionModel(reading, session["model"]);
  if ((session["prompt"] ?? null) !== null)
    throw new NotUnderstood("prompt is a stored template, whose text and tools no rule sees");
  readText(reading, session["instructions"], "instructions", "system");
  for (const tool of listOf(session["tools"], "tools")) readTool(reading, tool, 0);
  for (const item of listOf(session["input"], "input")) readSpoken(reading, item);
  const { max_output_tokens: most, max_response_output_tokens: older } = session;
  readLimit(reading, { most: numeric(most), older: numeric(older) }, ["most", "older"]);
  const { input } = objectOf(session["audio"] ?? {}, "audio", audioNames);
  const { transcription } = objectOf(input ?? {}, "audio.input", inputNames);
  return readTranscription(reading, transcription ?? session["input_audio_transcription"] ?? {});
}

function readSessionModel(reading: Reading, model: unknown): void {
  if ((model ?? null) === null) return;
  const named = nameOf(model, "model");
  if (reading.model !== "" && named !== reading.model)
    throw new NotUnderstood("the event names another model than the session has");
  reading.model = named;
}

/** No limit can be said in a word. */
function numeric(limit: unknown): unknown {
  return limit === "inf" ? null : limit;
}

function readTranscription(reading: Reading, value: unknown): string {
  const { model, prompt } = objectOf(value, "transcription", transcriptionNames);
  readText(reading, prompt, "transcription", "system");
  return (model ?? null) === null ? "" : nameOf(model, "the model of the transcription");
}

/** An item of a conversation; what was said aloud in it may come with what it says. */
function readSpoken(reading: Reading, value: unknown): void {
  readItem(reading, value, "user");
  if (!isObject(value) || !Array.isArray(value["content"])) return;
  for (const part of value["content"])
    if (isObject(part) && typeof part["transcript"] === "string")
      addText(reading, part["transcript"], wordOf(value["role"]) || "user");
}
