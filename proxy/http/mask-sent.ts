// Masks a request of an `http` connection on its way out: its body by what it is, its header values as texts. A finding in its target refuses it, since
// what was decided on would be another; so does everything that nobody here can look into.
import type { Bundle, DetectMask } from "../../policy/bundle.ts";
import { decode } from "../../policy/http/path.ts";
import { bodyMasker, type BodyMasker } from "../../policy/llm/mask-answer.ts";
import type { Counts, StreamMasker } from "../../policy/mask/stream.ts";
import type { TokenVault } from "../../policy/mask/token-vault.ts";
import { ProxyError } from "../errors.ts";
import type { RequestHead } from "./head.ts";
import { maskedBytes, sentMaskerOf } from "./mask-answer.ts";
import type { SeeFindings } from "./marks.ts";

/** They speak of the bytes as the agent sent them. */
const untrue: ReadonlySet<string> = new Set([
  "content-md5",
  "digest",
  "content-digest",
  "repr-digest",
]);

/** Their values mean something to HTTP itself, or name a program: `Chrome/120.0.0.0` is no address. */
const ofHttp: ReadonlySet<string> = new Set([
  "accept",
  "accept-charset",
  "accept-encoding",
  "accept-language",
  "cache-control",
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "date",
  "expect",
  "host",
  "if-modified-since",
  "if-unmodified-since",
  "te",
  "trailer",
  "transfer-encoding",
  "user-agent",
]);

export class SentMask {
  /** How often each detector spoke so far. */
  readonly counts: Counts = {};
  readonly #masker: StreamMasker;
  #see: SeeFindings | undefined;
  readonly #body: BodyMasker | undefined;

  /** Throws ProxyError for a request that cannot be masked. */
  constructor(
    head: Pick<RequestHead, "target" | "all" | "contentEncoding">,
    hasBody: boolean,
    masks: readonly DetectMask[],
    bundle: Bundle,
    vault: TokenVault,
  ) {
    this.#masker = sentMaskerOf(masks, bundle, vault);
    this.#checkTarget(head.target);
    this.#body = hasBody ? this.#bodyOf(head) : undefined;
  }

  /** It was let go: what was found in it, and what will be, puts its marks. Throws ProxyError. */
  passed(see: SeeFindings | undefined): void {
    this.#see = see;
    see?.(this.counts);
  }

  /** Names stay, values are masked as texts. @param headers flat */
  headers(headers: readonly string[]): string[] {
    const masked: string[] = [];
    for (let at = 0; at + 1 < headers.length; at += 2) {
      const name = headers[at] ?? "";
      const value = headers[at + 1] ?? "";
      if (untrue.has(name)) continue;
      masked.push(name, ofHttp.has(name) ? value : this.#masker.whole(value, this.counts));
    }
    this.#see?.(this.counts);
    return masked;
  }

  /** What may be sent once this has come, too. Throws ProxyError. */
  take(chunk: Buffer): Buffer {
    const body = this.#body;
    return body === undefined ? chunk : this.#said(() => body.push(chunk));
  }

  /** The rest. Throws ProxyError. */
  end(): Buffer {
    const body = this.#body;
    return body === undefined ? nothing : this.#said(() => body.end());
  }

  #said(mask: () => string | Uint8Array): Buffer {
    const bytes = maskedBytes(mask, refused);
    this.#see?.(this.counts);
    return bytes;
  }

  #checkTarget(target: string): void {
    const [path = "", ...query] = target.split("?");
    const texts = [path, ...query.join("?").split(/[&;=]/)];
    for (const written of texts) {
      const text = decode(written.replaceAll("+", " "));
      const found: Counts = {};
      if (text === undefined || this.#masker.whole(text, found) === text) continue;
      throw refused(
        `its target holds what the detector ${Object.keys(found).join(", ")} finds; send it in the body, where it can be masked`,
      );
    }
  }

  #bodyOf({ all, contentEncoding }: Pick<RequestHead, "all" | "contentEncoding">): BodyMasker {
    if (contentEncoding !== undefined && contentEncoding !== "identity")
      throw refused("its body is encoded; send it without Content-Encoding");
    if (all["content-range"] !== undefined)
      throw refused("it is a part, and what stands across its ends would go out; send the whole");
    const type = all["content-type"];
    const body = bodyMasker(
      typeof type === "string" ? type : "",
      undefined,
      this.#masker,
      this.counts,
      "request",
    );
    if (body === "nothing to mask") throw refused("nobody can look into it");
    if ("problem" in body) throw refused(body.problem);
    return body;
  }
}

const nothing = Buffer.alloc(0);

function refused(reason: string): ProxyError {
  return new ProxyError(
    "MaskNotProvable",
    `the request cannot be masked: ${reason}. Masks apply to every request of this connection`,
  );
}
