// Masks the body of an answer as it comes: JSON, server-sent events or text, of a model's provider or of any server.
import { JsonStream, maskJson, NotMaskable, type Shape } from "../mask/stream-json.ts";
import type { Counts, StreamMasker } from "../mask/stream.ts";
import { isObject } from "./json.ts";
import { maxEventLength } from "./sse.ts";
import { OpenAiEvents } from "./mask-event.ts";
import { openAiShape } from "./mask-shape.ts";
import { EventsMasker, type DataMasker, type Sent } from "./mask-sse.ts";

export interface BodyMasker {
  /** What may be sent once this has come, too. Throws NotMaskable. */
  push(chunk: Uint8Array): string;
  /** Nothing follows: the rest. Throws NotMaskable. */
  end(): string;
}

/** Whose answer it is: that of a provider has identifiers and texts that go on from event to event. */
export type Speaker = "openai" | "any";

/** A masker of such a body, or why there is none. Media without text are `nothing to mask`. */
export function bodyMasker(
  contentType: string,
  speaker: Speaker,
  masker: StreamMasker,
  counts: Counts,
): BodyMasker | { readonly problem: string } | "nothing to mask" {
  const [type = "", ...parameters] = contentType.toLowerCase().split(";");
  const media = type.trim();
  if (/^(?:image|audio|video|font)\//.test(media) && media !== "image/svg+xml")
    return "nothing to mask";
  const charset = parameters
    .map((one) => /^\s*charset\s*=\s*"?([^"\s]*)/.exec(one)?.[1])
    .find(Boolean);
  if (charset !== undefined && charset !== "utf-8" && charset !== "utf8" && charset !== "us-ascii")
    return { problem: `it is written in ${printableName(charset)}, and only UTF-8 is read` };
  const masked = textMasker(media, speaker, masker, counts);
  if (masked === undefined)
    return {
      problem: `${media === "" ? "it names no content-type" : `${printableName(media)} is no text`}, so nobody can look into it`,
    };
  const decoder = new TextDecoder("utf-8");
  return {
    push: (chunk) => masked.push(decoder.decode(chunk, { stream: true })),
    end: () => masked.push(decoder.decode()) + masked.end(),
  };
}

interface Masked {
  push(piece: string): string;
  end(): string;
}

function textMasker(
  media: string,
  speaker: Speaker,
  masker: StreamMasker,
  counts: Counts,
): Masked | undefined {
  const shape = speaker === "openai" ? openAiShape : everything;
  if (media === "text/event-stream")
    return new EventsMasker(
      masker,
      counts,
      speaker === "openai"
        ? openAiData(masker, counts)
        : { event: (data) => [{ data: maskedData(data, shape, masker, counts) }], end: () => [] },
    );
  if (/^application\/(?:[a-z0-9.+-]+\+)?json$/.test(media))
    return new JsonStream({ masker, counts, shape, otherwise: "refuse" });
  if (/^application\/(?:x-ndjson|jsonl|json-lines|jsonlines|x-jsonlines)$/.test(media))
    return linesOf((line) => maskedData(line, shape, masker, counts));
  return isText(media) ? masker.open(counts) : undefined;
}

/** Of one line, as of one event. */
const maxLine = maxEventLength;

const everything: Shape = () => "text";

function isText(media: string): boolean {
  return /^(?:text\/|image\/svg\+xml$|application\/(?:xml|yaml|x-yaml|graphql|javascript|x-www-form-urlencoded|[a-z0-9.+-]+\+xml)$)/.test(
    media,
  );
}

/** JSON, or the text that it is. */
function maskedData(data: string, shape: Shape, masker: StreamMasker, counts: Counts): string {
  return maskJson({ masker, counts, shape, otherwise: "text" }, data);
}

function openAiData(masker: StreamMasker, counts: Counts): DataMasker {
  const events = new OpenAiEvents(masker, counts);
  const sent = (event: Readonly<Record<string, unknown>>): Sent => ({
    ...(typeof event["type"] === "string" && { name: event["type"] }),
    data: JSON.stringify(event),
  });
  return {
    event: (data) => {
      if (data.trim() === "[DONE]") return [...events.end().map(sent), { data }];
      const value = parsed(data);
      if (!isObject(value)) return [{ data: maskedData(data, openAiShape, masker, counts) }];
      const shown = events.event(value);
      // The event itself keeps the name it came with.
      return shown.map((event, index) =>
        index === shown.length - 1 ? { data: JSON.stringify(event) } : sent(event),
      );
    },
    end: () => events.end().map(sent),
  };
}

function parsed(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}

/** Lines that are masked one by one. */
function linesOf(mask: (line: string) => string): Masked {
  let held: string[] = [];
  let length = 0;
  return {
    push: (piece) => {
      const end = piece.lastIndexOf("\n");
      if (end < 0) {
        held.push(piece);
        length += piece.length;
        if (length > maxLine) throw new NotMaskable(`a line is longer than ${maxLine} characters`);
        return "";
      }
      const lines = [...held, piece.slice(0, end)].join("").split("\n");
      held = [piece.slice(end + 1)];
      length = piece.length - end - 1;
      return lines.map((line) => `${mask(line)}\n`).join("");
    },
    end: () => mask(held.join("")),
  };
}

/** Of a name that a server sent, for a sentence. */
function printableName(name: string): string {
  return name.replaceAll(/[^a-z0-9/+.-]/g, "").slice(0, 64);
}
