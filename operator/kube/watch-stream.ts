// Turns the bytes of a watch into events, one JSON object a line; whatever is not one ends the watch, because an event may be lost in it.
import { StringDecoder } from "node:string_decoder";
import { isJsonObject } from "./objects.ts";

/** etcd refuses objects over 1.5 MiB; JSON escapes and managed fields make them larger on the wire. */
export const maxLineBytes = 8 * 1024 * 1024;

export interface WatchEvent {
  readonly type: "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR";
  readonly object: unknown;
}

/** The stream cannot be read on; the watch must begin again from the last event that was whole. */
export class WatchBroken extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "WatchBroken";
  }
}

const types = ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"] as const;

/** Ends when the stream ends between two lines; throws WatchBroken when it ends inside one. */
export async function* readWatch(
  stream: AsyncIterable<Buffer>,
): AsyncGenerator<WatchEvent, void, undefined> {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  for await (const chunk of stream) {
    rest += decoder.write(chunk);
    let from = 0;
    for (let end = rest.indexOf("\n", from); end >= 0; end = rest.indexOf("\n", from)) {
      const line = rest.slice(from, end);
      from = end + 1;
      if (line.trim() !== "") yield parseEvent(line);
    }
    rest = rest.slice(from);
    if (rest.length > maxLineBytes)
      throw new WatchBroken(`a watch event is longer than ${maxLineBytes} bytes`);
  }
  if (rest.trim() !== "") throw new WatchBroken("the watch ended in the middle of an event");
}

function parseEvent(line: string): WatchEvent {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new WatchBroken("a watch event is not JSON", { cause });
  }
  const type = isJsonObject(value) ? types.find((known) => known === value["type"]) : undefined;
  if (!isJsonObject(value) || type === undefined)
    throw new WatchBroken("a watch event has no known type");
  return { type, object: value["object"] };
}
