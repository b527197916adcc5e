// What a language model answered, for recording and metering: text, thinking, tool calls and token usage, from a body of any framing.
import { frameReader } from "./framing/read.ts";
import { Gathering } from "./gathering.ts";
import type { Answer, Usage } from "./gathering.ts";
import type { LlmProvider } from "./provider.ts";

/** What is known while the answer still comes. */
export interface Progress {
  /** Characters of text, thinking and arguments so far. */
  readonly generated: number;
  /** What the provider said of its usage so far. */
  readonly usage: Usage | undefined;
}

export interface AnswerReader {
  /** A piece of the body, content-encoding removed. Never throws. */
  push(chunk: Uint8Array): void;
  progress(): Progress;
  finish(): Answer;
}

/** @param contentType of the response: a stream is read as it comes, everything else as one JSON body */
export function answerReader(provider: LlmProvider, contentType: string): AnswerReader {
  const gathered = new Gathering();
  const media = mediaOf(contentType);
  const framing = provider.framing(media) ?? "json";
  // Transcripts, where they are asked for as such.
  if (framing === "json" && media.startsWith("text/")) return textReader(gathered);
  const reader = frameReader(framing, {
    body: (value) => provider.readBody(gathered, value),
    event: (value, name) => provider.readEvent(gathered, value, name),
    lost: () => gathered.truncate(),
  });
  return {
    push: (chunk) => reader.push(chunk),
    progress: () => ({ generated: gathered.generated, usage: gathered.usage }),
    finish: () => {
      reader.finish();
      return gathered.answer();
    },
  };
}

function textReader(gathered: Gathering): AnswerReader {
  const decoder = new TextDecoder("utf-8");
  return {
    push: (chunk) => gathered.addText(0, decoder.decode(chunk, { stream: true })),
    progress: () => ({ generated: gathered.generated, usage: gathered.usage }),
    finish: () => gathered.answer(),
  };
}

/** Of a content-type without its parameters, lower case. */
export function mediaOf(contentType: string): string {
  return (contentType.toLowerCase().split(";")[0] ?? "").trim();
}
