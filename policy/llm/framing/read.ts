// Bodies in any pieces -> the JSON objects in them, whatever their framing. For readers, which may lose something, never for masks.
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import type { Framing } from "../provider.ts";
import { BadFrame, FrameSplitter, frameName } from "./aws-frames.ts";
import { ArrayElements, NotAnArray } from "./json-array.ts";
import { SimilarJson } from "./similar-json.ts";
import { eventStream, maxEventLength } from "./sse.ts";

/** Largest JSON body kept to be read; larger ones, embeddings mostly, are counted as truncated. */
export const maxBodyLength = 4 * 1024 * 1024;

export interface FrameEvents {
  /** A whole answer. */
  readonly body: (value: JsonObject) => void;
  /** A part of an answer that streams, valid only while this is called. */
  readonly event: (value: JsonObject, name: string | undefined) => void;
  /** Something is too long, or not understood. */
  readonly lost: () => void;
}

export interface FrameReader {
  push(chunk: Uint8Array): void;
  finish(): void;
}

export function frameReader(framing: Framing, events: FrameEvents): FrameReader {
  // Of events that follow each other.
  const similar = new SimilarJson();
  switch (framing) {
    case "events":
      return eventStream(
        (data) => {
          if (data.trim() !== "[DONE]")
            read(data, (value) => events.event(value, undefined), events, similar);
        },
        () => events.lost(),
      );
    case "lines":
      return lineReader(
        (line) => read(line, (value) => events.event(value, undefined), events, similar),
        events,
      );
    case "bodies":
      return lineReader((line) => read(line, events.body, events), events);
    case "array":
      return arrayReader(events);
    case "frames":
      return framesReader(events);
    case "json":
      return bodyReader(events);
    default:
      return framing satisfies never;
  }
}

function bodyReader(events: FrameEvents): FrameReader {
  const chunks: Uint8Array[] = [];
  let length = 0;
  return {
    push: (chunk) => {
      length += chunk.length;
      if (length <= maxBodyLength) chunks.push(chunk);
      else chunks.length = 0;
    },
    finish: () => {
      if (length > maxBodyLength) events.lost();
      else if (length > 0) read(join(chunks, length), events.body, events);
    },
  };
}

function lineReader(take: (line: string) => void, events: FrameEvents): FrameReader {
  const decoder = new TextDecoder("utf-8");
  let held = "";
  let isDropping = false;
  const ended = (line: string): void => {
    if (!isDropping && line.trim() !== "") take(line);
    isDropping = false;
  };
  const push = (text: string): void => {
    const lines = (held + text).split("\n");
    held = lines.pop() ?? "";
    for (const line of lines) ended(line);
    if (held.length <= maxEventLength) return;
    if (!isDropping) events.lost();
    isDropping = true;
    held = "";
  };
  return {
    push: (chunk) => push(decoder.decode(chunk, { stream: true })),
    finish: () => ended(held + decoder.decode()),
  };
}

function arrayReader(events: FrameEvents): FrameReader {
  const decoder = new TextDecoder("utf-8");
  const elements = new ArrayElements();
  const body = bodyReader(events);
  let isLost = false;
  return {
    push: (chunk) => {
      if (elements.state === "unknown" || elements.state === "other") body.push(chunk);
      if (isLost || elements.state === "other") return;
      try {
        for (const element of elements.push(decoder.decode(chunk, { stream: true })))
          read(element, (value) => events.event(value, undefined), events);
      } catch (error) {
        if (!(error instanceof NotAnArray)) throw error;
        isLost = true;
        events.lost();
      }
    },
    finish: () => {
      if (elements.state === "other") body.finish();
      else if (elements.state === "open") events.lost();
    },
  };
}

function framesReader(events: FrameEvents): FrameReader {
  const splitter = new FrameSplitter();
  let isLost = false;
  const tried = (run: () => void): void => {
    if (isLost) return;
    try {
      run();
    } catch (error) {
      if (!(error instanceof BadFrame)) throw error;
      isLost = true;
      events.lost();
    }
  };
  return {
    push: (chunk) =>
      tried(() => {
        for (const frame of splitter.push(chunk)) {
          const name = frameName(frame);
          const text = new TextDecoder().decode(frame.payload);
          if (text !== "") read(text, (value) => events.event(value, name), events);
        }
      }),
    finish: () => tried(() => splitter.finish()),
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

function read(
  text: string,
  take: (value: JsonObject) => void,
  events: FrameEvents,
  json: Pick<JSON, "parse"> | SimilarJson = JSON,
): void {
  let value: unknown;
  try {
    value = json.parse(text);
  } catch {
    events.lost();
    return;
  }
  if (isObject(value)) take(value);
}
