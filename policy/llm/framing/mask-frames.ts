// Masks an AWS event stream frame by frame: payloads by whoever knows their events, checksums made anew. What came with a wrong one is
// refused, since nobody knows what it said.
import { NotMaskable } from "../../mask/stream-json.ts";
import type { Counts, StreamMasker } from "../../mask/stream.ts";
import { isObject } from "../json.ts";
import type { EventMasker } from "../provider.ts";
import {
  BadFrame,
  concatenated,
  eventFrame,
  FrameSplitter,
  frameName,
  payloadOf,
  stringHeader,
  writtenFrame,
  type Frame,
  type FrameHeader,
} from "./aws-frames.ts";

/** What the framing means something by. */
const ofFraming: ReadonlySet<string> = new Set([
  ":message-type",
  ":event-type",
  ":content-type",
  ":exception-type",
  ":error-code",
]);

export class FramesMasker {
  readonly #splitter = new FrameSplitter();
  readonly #events: EventMasker;
  readonly #masker: StreamMasker;
  readonly #counts: Counts;

  constructor(events: EventMasker, masker: StreamMasker, counts: Counts) {
    this.#events = events;
    this.#masker = masker;
    this.#counts = counts;
  }

  push(chunk: Uint8Array): Uint8Array {
    return read(() =>
      concatenated(this.#splitter.push(chunk).flatMap((frame) => this.#shown(frame))),
    );
  }

  end(): Uint8Array {
    return read(() => {
      this.#splitter.finish();
      return concatenated(this.#events.end().map((event) => eventFrame(event)));
    });
  }

  #shown(frame: Frame): Uint8Array[] {
    const headers = frame.headers.map((header) => this.#header(header));
    if (frame.payload.length === 0) return [writtenFrame({ headers, payload: frame.payload })];
    const value = parsed(frame.payload);
    if (!isObject(value))
      throw new NotMaskable("a frame of the answer holds no JSON, so nobody can look into it");
    const events = this.#events.event(value, frameName(frame));
    // The event itself keeps the headers it came with.
    return events.map((event, index) =>
      index === events.length - 1
        ? writtenFrame({ headers, payload: payloadOf(event.data) })
        : eventFrame(event),
    );
  }

  #header(header: FrameHeader): FrameHeader {
    const { name, value } = header;
    if (ofFraming.has(name)) return header;
    if (value === undefined) return header;
    const shown = this.#masker.whole(value, this.#counts);
    return shown === value ? header : stringHeader(name, shown);
  }
}

function parsed(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch {
    return undefined;
  }
}

function read(run: () => Uint8Array): Uint8Array {
  try {
    return run();
  } catch (error) {
    if (error instanceof BadFrame) throw new NotMaskable(error.message);
    throw error;
  }
}
