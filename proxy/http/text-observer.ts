// Keeps the beginning of a text body that passes by, for recordings with `detail: Full`.
import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";

import { maxContentBytes } from "../pipeline.ts";
import type { Content } from "../pipeline.ts";
import { uncountedTextBytes } from "./body-budget.ts";
import type { BodyShare } from "./body-budget.ts";
import { Gathered } from "./gathered.ts";
import type { Observer } from "./exchange.ts";

const textual =
  /^(text\/|application\/(json|xml|yaml|graphql|x-www-form-urlencoded|javascript|x-ndjson|[a-z0-9.-]+\+(json|xml)))/i;

/** True for a media type that people read. */
export function isText(contentType: string | readonly string[] | undefined): boolean {
  return typeof contentType === "string" && textual.test(contentType);
}

export class TextObserver implements Observer {
  readonly #part: Content["part"];
  readonly #share: Pick<BodyShare, "keep">;
  readonly #before: TextObserver | undefined;
  readonly #text = new Gathered();
  #length = 0;
  /** Over all of it, from where there was no room for more. */
  #digest: Hash | undefined;
  #wanted = true;

  /**
   * @param share of what all texts may hold
   * @param before the observer of the request, whose content comes first
   */
  constructor(part: "request" | "response", share: Pick<BodyShare, "keep">, before?: TextObserver) {
    this.#part = part;
    this.#share = share;
    this.#before = before;
  }

  start(_status: number, headers: Readonly<Record<string, string | string[] | undefined>>): void {
    // An encoded body would be kept as noise.
    this.#wanted = isText(headers["content-type"]) && headers["content-encoding"] === undefined;
  }

  take(chunk: Buffer): void {
    if (!this.#wanted || chunk.length === 0) return;
    this.#length += chunk.length;
    if (this.#digest !== undefined) {
      this.#digest.update(chunk);
      return;
    }
    const kept = this.#text.length;
    const piece = chunk.subarray(0, maxContentBytes - kept);
    if (piece.length === 0) return;
    const counted =
      Math.max(kept + piece.length, uncountedTextBytes) - Math.max(kept, uncountedTextBytes);
    if (counted === 0 || this.#share.keep(counted)) this.#text.add(piece);
    else this.#digestFrom(chunk);
  }

  finish(): { contents: readonly Content[] } {
    const contents = [...(this.#before?.finish().contents ?? [])];
    if (this.#length > 0)
      contents.push({
        part: this.#part,
        text: this.#text.whole().toString("utf8"),
        ...(this.#length > this.#text.length && { truncated: true }),
        ...(this.#digest !== undefined && {
          whole: { sha256: `sha256-${this.#digest.digest("base64url")}`, bytes: this.#length },
        }),
      });
    return { contents };
  }

  #digestFrom(chunk: Buffer): void {
    this.#digest = createHash("sha256").update(this.#text.whole()).update(chunk);
    this.#text.add(chunk.subarray(0, Math.max(0, uncountedTextBytes - this.#text.length)));
  }
}
