// A stream of a provider, event by event, each as it was written, so that it can be counted and ended between two of them.
import type { JsonObject } from "../llm/json.ts";

/** What stands on the wire: text, or bytes where the framing is made of bytes. */
export type Wire = string | Uint8Array;

export interface StreamBlock {
  /** As it goes on, with what parts it from the one before or behind it. */
  readonly raw: Wire;
  /** The JSON in it; empty where there is none. */
  readonly data: string;
  /** Of the event, where the framing names it and the JSON does not. */
  readonly name?: string;
}

/** One of the events that end a stream before its time. */
export interface LastEvent {
  readonly name?: string;
  /** Server-sent events of OpenAI's end with a word that is no JSON. */
  readonly data: JsonObject | "[DONE]";
}

export interface StreamBlocks {
  /** Throws UnreadableStream: what follows cannot be counted any more. */
  push(chunk: Uint8Array): Iterable<StreamBlock>;
  /** What came behind the last whole event. */
  end(): Wire;
  /** These, and the end of the framing, behind the blocks that were taken and passed on. */
  written(events: readonly LastEvent[]): Wire;
}

export class UnreadableStream extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "UnreadableStream";
  }
}
