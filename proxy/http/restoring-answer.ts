// Puts values back into an answer on its last step to the agent: what is recorded before it has the tokens. An answer in which nobody can look for tokens
// passes as it is; that hides more, never less.
import { bodyMasker, type BodyMasker } from "../../policy/llm/mask-answer.ts";
import type { LlmProvider } from "../../policy/llm/provider.ts";
import { NotMaskable } from "../../policy/mask/stream-json.ts";
import type { Counts, StreamMasker } from "../../policy/mask/stream.ts";
import { ProxyError } from "../errors.ts";
import type { FlatHeaders, InboundAnswer } from "./inbound.ts";
import { ofHttp, untrue } from "./mask-answer.ts";

export interface Restoring {
  readonly restorer: StreamMasker;
  readonly provider: LlmProvider | undefined;
  readonly method: string;
}

const nothing = Buffer.alloc(0);

export class RestoringAnswer implements InboundAnswer {
  readonly #inner: InboundAnswer;
  readonly #restoring: Restoring;
  readonly #broken: (error: ProxyError) => void;
  readonly #counts: Counts = {};
  #body: BodyMasker | undefined;
  #isBroken = false;

  /** @param broken it cannot be given whole, after it has begun */
  constructor(inner: InboundAnswer, restoring: Restoring, broken: (error: ProxyError) => void) {
    this.#inner = inner;
    this.#restoring = restoring;
    this.#broken = broken;
  }

  get hasBegun(): boolean {
    return this.#inner.hasBegun;
  }

  inform(status: number, headers: FlatHeaders): void {
    this.#inner.inform(status, headers);
  }

  begin(status: number, headers: FlatHeaders): void {
    this.#body = this.#bodyOf(status, headers);
    const shown: string[] = [];
    for (let at = 0; at + 1 < headers.length; at += 2) {
      const name = headers[at] ?? "";
      const value = headers[at + 1] ?? "";
      if (this.#body !== undefined && untrue.has(name)) continue;
      shown.push(name, ofHttp.has(name) ? value : this.#value(value));
    }
    this.#inner.begin(status, shown);
  }

  write(chunk: Buffer): boolean {
    const shown = this.#said((body) => body.push(chunk), chunk);
    return shown.length === 0 || this.#inner.write(shown);
  }

  end(last?: Buffer, trailers?: FlatHeaders): void {
    const body = this.#body;
    if (body === undefined) {
      this.#inner.end(last, trailers);
      return;
    }
    const shown = last === undefined ? nothing : this.#said(() => body.push(last), last);
    const rest = this.#said(() => body.end(), nothing);
    if (!this.#isBroken) this.#inner.end(Buffer.concat([shown, rest]), trailers);
  }

  abort(): void {
    this.#inner.abort();
  }

  /** A value that could end a field cannot have come from one; it stays a token. */
  #value(value: string): string {
    const restored = this.#restoring.restorer.whole(value, this.#counts);
    return printable.test(restored) ? restored : value;
  }

  #said(restore: (body: BodyMasker) => string | Uint8Array, unread: Buffer): Buffer {
    const body = this.#body;
    if (body === undefined) return unread;
    if (this.#isBroken) return nothing;
    try {
      return Buffer.from(restore(body));
    } catch (error) {
      if (!(error instanceof NotMaskable)) throw error;
      this.#isBroken = true;
      this.#broken(
        new ProxyError(
          "MaskNotProvable",
          `values cannot be put back into the answer: ${error.message}; restore applies to this connection`,
        ),
      );
      return nothing;
    }
  }

  #bodyOf(status: number, headers: FlatHeaders): BodyMasker | undefined {
    const { restorer, provider, method } = this.#restoring;
    if (method === "HEAD" || status === 204 || status === 206 || status === 304) return undefined;
    const of = (wanted: string): string => {
      for (let at = 0; at + 1 < headers.length; at += 2)
        if (headers[at] === wanted) return headers[at + 1] ?? "";
      return "";
    };
    if (!["", "identity"].includes(of("content-encoding")) || of("content-length") === "0")
      return undefined;
    const body = bodyMasker(of("content-type"), provider, restorer, this.#counts, "restored");
    return body === "nothing to mask" || "problem" in body ? undefined : body;
  }
}

/** RFC 9110 section 5.5, and what is sent as one byte a character. */
const printable = /^[\t\u0020-\u007e\u0080-\u00ff]*$/;
