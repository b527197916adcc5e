// Masks the body of an answer or a request as it comes: JSON, server-sent events, forms or text, of a model's provider or of any server.
import { FormMasker } from "../mask/mask-form.ts";
import { everything, JsonStream, maskJson, NotMaskable, type Shape } from "../mask/stream-json.ts";
import type { Counts, StreamMasker } from "../mask/stream.ts";
import type { KeptThinking } from "./anthropic/kept-thinking.ts";
import { MarkedBody } from "./anthropic/marked-body.ts";
import { mediaOf } from "./answer.ts";
import { ArrayMasker } from "./framing/mask-array.ts";
import { FramesMasker } from "./framing/mask-frames.ts";
import { EventsMasker, type DataMasker, type Sent } from "./framing/mask-sse.ts";
import { SimilarJson } from "./framing/similar-json.ts";
import { maxEventLength } from "./framing/sse.ts";
import { isObject } from "./json.ts";
import type { EventMasker, Framing, LlmProvider, NamedEvent } from "./provider.ts";

export interface BodyMasker {
  /** What may be sent once this has come, too. Throws NotMaskable. */
  push(chunk: Uint8Array): string | Uint8Array;
  /** Nothing follows: the rest. Throws NotMaskable. */
  end(): string | Uint8Array;
}

/** What hides values, in what a server says or an agent; or what puts them back for the agent: that hides nothing, so it refuses little. */
type Whose = "answer" | "request" | "restored";

/**
 * A masker of such a body, or why there is none. Media without text are `nothing to mask` in an answer, whose server says what it is; what an agent
 * sends is looked into or refused, and has to be UTF-8.
 */
export function bodyMasker(
  contentType: string,
  /** Whose answer it is; undefined for any server's, which has no identifiers, and no texts that go on from event to event. */
  provider: LlmProvider | undefined,
  masker: StreamMasker,
  counts: Counts,
  of: Whose = "answer",
  /** Keeps thinking that is masked, where its provider signs it. */
  kept?: KeptThinking,
): BodyMasker | { readonly problem: string } | "nothing to mask" {
  const media = mediaOf(contentType);
  const found = provider?.framing(media) ?? framingOf(media);
  if (found === "nothing to mask" && of !== "request") return found;
  const framing = found === "nothing to mask" ? undefined : found;
  const charset = charsetOf(contentType);
  if (charset !== undefined && charset !== "utf-8" && charset !== "utf8" && charset !== "us-ascii")
    return { problem: `it is written in ${printableName(charset)}, and only UTF-8 is read` };
  const otherwise = of === "restored" ? "lenient" : "refuse";
  const keeping = provider?.signsThinking === true ? kept : undefined;
  const eventsOf = (): EventMasker | undefined => provider?.maskEvents(masker, counts, keeping);
  if (framing === "frames") {
    const events = eventsOf();
    if (events !== undefined) return new FramesMasker(events, masker, counts);
  }
  const masked = framing && textMasker(framing, { provider, masker, counts, otherwise, eventsOf });
  if (masked === undefined)
    return {
      problem: `${media === "" ? "it names no content-type" : `${printableName(media)} is no text`}, so nobody can look into it`,
    };
  const isStrict = of === "request";
  const decoder = new TextDecoder("utf-8", { fatal: isStrict, ignoreBOM: isStrict });
  const decode = (chunk?: Uint8Array): string => {
    try {
      return chunk === undefined ? decoder.decode() : decoder.decode(chunk, { stream: true });
    } catch {
      throw new NotMaskable("it is no UTF-8");
    }
  };
  const shown =
    keeping !== undefined && framing === "json" ? new MarkedBody(masked, keeping) : masked;
  return {
    push: (chunk) => shown.push(decode(chunk)),
    end: () => shown.push(decode()) + shown.end(),
  };
}

function charsetOf(contentType: string): string | undefined {
  return contentType
    .toLowerCase()
    .split(";")
    .slice(1)
    .map((one) => /^\s*charset\s*=\s*"?([^"\s]*)/.exec(one)?.[1])
    .find(Boolean);
}

/** Of any server's. */
function framingOf(media: string): Framing | "form" | "text" | "nothing to mask" | undefined {
  if (/^(?:image|audio|video|font)\//.test(media) && media !== "image/svg+xml")
    return "nothing to mask";
  if (media === "text/event-stream") return "events";
  if (/^application\/(?:[a-z0-9.+-]+\+)?json$/.test(media)) return "json";
  if (/^application\/(?:x-ndjson|jsonl|x-jsonl|json-lines|jsonlines|x-jsonlines)$/.test(media))
    return "bodies";
  if (media === "application/x-www-form-urlencoded") return "form";
  return isText(media) ? "text" : undefined;
}

interface Masked {
  push(piece: string): string;
  end(): string;
}

interface TextMasking {
  readonly provider: LlmProvider | undefined;
  readonly masker: StreamMasker;
  readonly counts: Counts;
  readonly otherwise: "refuse" | "lenient";
  readonly eventsOf: () => EventMasker | undefined;
}

function textMasker(
  framing: Framing | "form" | "text",
  { provider, masker, counts, otherwise, eventsOf }: TextMasking,
): Masked | undefined {
  const shape = provider?.shape ?? everything;
  const whole = (text: string): string => maskedData(text, shape, masker, counts);
  switch (framing) {
    case "events": {
      const events = eventsOf();
      return new EventsMasker(masker, counts, events ? eventData(events, whole) : alone(whole));
    }
    case "json":
      return new JsonStream({ masker, counts, shape, otherwise });
    case "lines": {
      const events = eventsOf();
      return linesOf(events ? eventLines(events, whole) : bodyLines(whole));
    }
    case "bodies":
      return linesOf(bodyLines(whole));
    case "form":
      return new FormMasker(masker, counts);
    case "text":
      return masker.open(counts);
    case "array": {
      const masking = { masker, counts, shape, otherwise };
      const events = eventsOf();
      return events ? new ArrayMasker(events, whole, masking) : new JsonStream(masking);
    }
    case "frames":
      return undefined;
    default:
      return framing satisfies never;
  }
}

/** Of one line, as of one event. */
const maxLine = maxEventLength;

function isText(media: string): boolean {
  return /^(?:text\/|image\/svg\+xml$|application\/(?:xml|yaml|x-yaml|graphql|javascript|[a-z0-9.+-]+\+xml)$)/.test(
    media,
  );
}

/** JSON, or the text that it is. */
function maskedData(data: string, shape: Shape, masker: StreamMasker, counts: Counts): string {
  return maskJson({ masker, counts, shape, otherwise: "text" }, data);
}

/** Events that have nothing to do with each other. */
function alone(whole: (text: string) => string): DataMasker {
  return { event: (data) => [{ data: whole(data) }], end: () => [] };
}

function eventData(events: EventMasker, whole: (text: string) => string): DataMasker {
  const sent = ({ name, data }: NamedEvent): Sent => ({
    ...(name !== undefined && { name }),
    data: JSON.stringify(data),
  });
  const json = new SimilarJson();
  return {
    event: (data) => {
      if (data.trim() === "[DONE]") return [...events.end().map(sent), { data }];
      const value = parsed(data, json);
      if (!isObject(value)) return [{ data: whole(data) }];
      // A copy: what is held back remembers the event it came with, and the next one is written into the same object.
      const shown = events.event({ ...value }, undefined);
      // The event itself keeps the name it came with.
      if (shown.length === 1) return [{ data: JSON.stringify(shown[0]?.data) }];
      return shown.map((event, index) =>
        index === shown.length - 1 ? { data: JSON.stringify(event.data) } : sent(event),
      );
    },
    end: () => events.end().map(sent),
  };
}

function parsed(data: string, json: Pick<JSON, "parse"> | SimilarJson = JSON): unknown {
  try {
    return json.parse(data);
  } catch {
    return undefined;
  }
}

interface LineMasker {
  /** The lines to send in the place of this one. */
  line(line: string): readonly string[];
  end(): readonly string[];
}

function bodyLines(whole: (text: string) => string): LineMasker {
  return { line: (line) => [whole(line)], end: () => [] };
}

function eventLines(events: EventMasker, whole: (text: string) => string): LineMasker {
  const written = ({ data }: NamedEvent): string => JSON.stringify(data);
  return {
    line: (line) => {
      const value = parsed(line);
      return isObject(value) ? events.event(value, undefined).map(written) : [whole(line)];
    },
    end: () => events.end().map(written),
  };
}

function linesOf(masker: LineMasker): Masked {
  let held: string[] = [];
  let length = 0;
  const ended = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join("");
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
      return ended(lines.flatMap((line) => masker.line(line)));
    },
    end: () => {
      const rest = held.join("");
      const last = rest === "" ? [] : masker.line(rest);
      const rests = masker.end();
      // What came without a line end goes out without one, unless something of ours follows it.
      return rests.length === 0 ? last.join("\n") : ended([...last, ...rests]);
    },
  };
}

/** Of a name that a server sent, for a sentence. */
function printableName(name: string): string {
  return name.replaceAll(/[^a-z0-9/+.-]/g, "").slice(0, 64);
}
