// Masks server-sent events (HTML standard, section 9.2.6) that come in pieces: their data by whoever knows it, the rest as text.
import { NotMaskable } from "../../mask/stream-json.ts";
import type { Counts, StreamMasker } from "../../mask/stream.ts";
import { eachLine, maxEventLength } from "./sse.ts";

/** One event to send. */
export interface Sent {
  /** Another than that of the event it stands for. */
  readonly name?: string;
  readonly data: string;
}

export interface DataMasker {
  /** The events to send in the place of one with this data. Throws NotMaskable. */
  event(data: string): readonly Sent[];
  end(): readonly Sent[];
}

export class EventsMasker {
  readonly #data: DataMasker;
  readonly #masker: StreamMasker;
  readonly #counts: Counts;
  /** A line of which the end has not come. */
  #line = "";
  #isAfterReturn = false;
  #lines: string[] = [];
  #length = 0;
  #name: string | undefined;
  #fields: string[] = [];

  constructor(masker: StreamMasker, counts: Counts, data: DataMasker) {
    this.#masker = masker;
    this.#counts = counts;
    this.#data = data;
  }

  push(piece: string): string {
    // The second half of a line end.
    const text = this.#isAfterReturn && piece.startsWith("\n") ? piece.slice(1) : piece;
    if (piece !== "") this.#isAfterReturn = piece.endsWith("\r");
    let shown = "";
    const rest = eachLine(text, (line) => {
      shown += this.#take(this.#line + line);
      this.#line = "";
    });
    this.#line += rest;
    if (this.#line.length + this.#length > maxEventLength)
      throw new NotMaskable(`an event is longer than ${maxEventLength} characters`);
    return shown;
  }

  end(): string {
    let shown = this.#take(this.#line);
    this.#line = "";
    shown += this.#close();
    for (const sent of this.#data.end()) shown += written(sent, undefined);
    return shown;
  }

  #take(line: string): string {
    if (line === "") return this.#close();
    this.#length += line.length;
    if (this.#length > maxEventLength)
      throw new NotMaskable(`an event is longer than ${maxEventLength} characters`);
    if (line.startsWith("data: ")) {
      this.#lines.push(line.slice(6));
      return "";
    }
    const colon = line.indexOf(":");
    if (colon === 0) return `${this.#whole(line)}\n`;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") this.#lines.push(value);
    else if (field === "event") this.#name = this.#whole(value);
    else this.#fields.push(this.#whole(line));
    return "";
  }

  #close(): string {
    const fields = this.#fields.length === 0 ? "" : `${this.#fields.join("\n")}\n`;
    const name = this.#name;
    const lines = this.#lines;
    this.#length = 0;
    this.#name = undefined;
    if (lines.length === 0 && name === undefined && fields === "") return "";
    this.#fields = [];
    this.#lines = [];
    if (lines.length === 0) return `${fields}${name === undefined ? "" : `event: ${name}\n`}\n`;
    let shown = fields;
    for (const sent of this.#data.event(lines.join("\n"))) shown += written(sent, name);
    return shown;
  }

  #whole(text: string): string {
    return this.#masker.whole(text, this.#counts);
  }
}

function written({ name, data }: Sent, other: string | undefined): string {
  const event = name ?? other;
  const head = event === undefined ? "" : `event: ${event}\n`;
  if (!data.includes("\n")) return `${head}data: ${data}\n\n`;
  return `${head}${data
    .split("\n")
    .map((line) => `data: ${line}\n`)
    .join("")}\n`;
}
