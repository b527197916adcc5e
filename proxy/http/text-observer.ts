// Keeps the beginning of a text body that passes by, for recordings with `detail: Full`.
import { maxContentBytes } from "../pipeline.ts";
import type { Content } from "../pipeline.ts";
import type { Observer } from "./exchange.ts";

const textual =
  /^(text\/|application\/(json|xml|yaml|graphql|x-www-form-urlencoded|javascript|x-ndjson|[a-z0-9.-]+\+(json|xml)))/i;

/** True for a media type that people read. */
export function isText(contentType: string | readonly string[] | undefined): boolean {
  return typeof contentType === "string" && textual.test(contentType);
}

export class TextObserver implements Observer {
  readonly #part: Content["part"];
  readonly #before: TextObserver | undefined;
  readonly #chunks: Buffer[] = [];
  #length = 0;
  #wanted = true;

  /** @param before the observer of the request, whose content comes first */
  constructor(part: "request" | "response", before?: TextObserver) {
    this.#part = part;
    this.#before = before;
  }

  start(_status: number, headers: Readonly<Record<string, string | string[] | undefined>>): void {
    // An encoded body would be kept as noise.
    this.#wanted = isText(headers["content-type"]) && headers["content-encoding"] === undefined;
  }

  take(chunk: Buffer): void {
    if (!this.#wanted) return;
    const room = maxContentBytes - this.#length;
    this.#length += chunk.length;
    // A copy: the chunk belongs to a larger buffer of the socket that would stay alive with it.
    if (room > 0) this.#chunks.push(Buffer.from(chunk.subarray(0, room)));
  }

  finish(): { contents: readonly Content[] } {
    const contents = [...(this.#before?.finish().contents ?? [])];
    if (this.#length > 0) {
      const text = Buffer.concat(this.#chunks).toString("utf8");
      contents.push({
        part: this.#part,
        text,
        ...(this.#length > maxContentBytes && { truncated: true }),
      });
    }
    return { contents };
  }
}
