// Server-sent events (HTML standard, section 9.2.6) that carry one message each: bytes in any pieces in, whole events out.

/** One event, its data put together. */
export interface ServerEvent {
  readonly name: string | undefined;
  readonly id: string | undefined;
  readonly retry: string | undefined;
  readonly data: string;
}

export interface EventReader {
  event(event: ServerEvent): void;
  /** A line that only keeps the connection open. */
  comment(): void;
  /** The event or line that comes is longer than it may be; nothing is read any more. */
  tooLong(): void;
}

/** Of ids and names, which are kept; what is longer is no cursor. */
const maxField = 1_024;
const lineEnd = /\r\n|\n|\r/g;

export class EventSplitter {
  readonly #reader: EventReader;
  readonly #limit: number;
  readonly #decoder = new TextDecoder("utf-8");
  #line = "";
  #isAfterReturn = false;
  #isFirst = true;
  #over = false;
  #data: string[] = [];
  #length = 0;
  #name: string | undefined;
  #id: string | undefined;
  #retry: string | undefined;

  /** @param limit UTF-16 units of one event */
  constructor(reader: EventReader, limit: number) {
    this.#reader = reader;
    this.#limit = limit;
  }

  push(chunk: Uint8Array): void {
    if (!this.#over) this.#read(this.#decoder.decode(chunk, { stream: true }));
  }

  #read(piece: string): void {
    const text = this.#isAfterReturn && piece.startsWith("\n") ? piece.slice(1) : piece;
    if (piece !== "") this.#isAfterReturn = piece.endsWith("\r");
    let at = 0;
    lineEnd.lastIndex = 0;
    for (
      let match = lineEnd.exec(text);
      match !== null && !this.#over;
      match = lineEnd.exec(text)
    ) {
      const line = this.#line + text.slice(at, match.index);
      at = lineEnd.lastIndex;
      this.#line = "";
      this.#take(line);
      // What reads an event may have read others meanwhile.
      lineEnd.lastIndex = at;
    }
    if (this.#over) return;
    this.#line += text.slice(at);
    if (this.#length + this.#line.length > this.#limit) this.#stop();
  }

  #take(read: string): void {
    const line = this.#isFirst && read.startsWith("\uFEFF") ? read.slice(1) : read;
    this.#isFirst = false;
    if (line === "") return this.#close();
    this.#length += line.length;
    if (this.#length > this.#limit) return this.#stop();
    const colon = line.indexOf(":");
    if (colon === 0) return this.#reader.comment();
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") this.#data.push(value);
    else if (value.length > maxField) return this.#stop();
    else if (field === "event") this.#name = value;
    else if (field === "id") this.#id = value;
    else if (field === "retry") this.#retry = value;
  }

  #close(): void {
    const event: ServerEvent = {
      name: this.#name,
      id: this.#id,
      retry: this.#retry,
      data: this.#data.join("\n"),
    };
    const isEmpty = this.#length === 0;
    this.#data = [];
    this.#length = 0;
    this.#name = this.#id = this.#retry = undefined;
    if (!isEmpty) this.#reader.event(event);
  }

  #stop(): void {
    this.#over = true;
    this.#line = "";
    this.#data = [];
    this.#reader.tooLong();
  }
}

/** @param data one line of JSON, or any text */
export function writeEvent(
  { name, id, retry }: Omit<ServerEvent, "data">,
  data: string | undefined,
): string {
  const lines = [
    ...(name === undefined ? [] : [`event: ${name}`]),
    ...(id === undefined ? [] : [`id: ${id}`]),
    ...(retry === undefined ? [] : [`retry: ${retry}`]),
    ...(data === undefined ? [] : data.split("\n").map((line) => `data: ${line}`)),
  ];
  return lines.length === 0 ? "" : `${lines.join("\n")}\n\n`;
}
