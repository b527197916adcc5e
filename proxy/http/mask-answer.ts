// Masks an answer between upstream and agent: its headers as texts, its body by what it is (policy/llm/mask-answer.ts). What cannot be
// masked is refused: before its head went out with a sentence, after that by breaking it off.
import type { Bundle, DetectMask } from "../../policy/bundle.ts";
import type { KeptThinking } from "../../policy/llm/anthropic/kept-thinking.ts";
import { bodyMasker, type BodyMasker } from "../../policy/llm/mask-answer.ts";
import type { LlmProvider } from "../../policy/llm/provider.ts";
import { NotMaskable } from "../../policy/mask/stream-json.ts";
import { createStreamMasker, type Counts, type StreamMasker } from "../../policy/mask/stream.ts";
import { createRestorer } from "../../policy/mask/restore.ts";
import type { TokenVault } from "../../policy/mask/token-vault.ts";
import type { Operation } from "../../policy/operation.ts";
import { ProxyError } from "../errors.ts";
import type { GateSession } from "../pipeline.ts";
import { findings, type SeeFindings } from "./marks.ts";
import type { Restoring } from "./restoring-answer.ts";

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** They speak of the bytes as the upstream sent them. */
export const untrue: ReadonlySet<string> = new Set([
  "content-length",
  "content-md5",
  "digest",
  "content-digest",
  "repr-digest",
  "accept-ranges",
  "etag",
]);

/** Their values mean something to HTTP itself. */
export const ofHttp: ReadonlySet<string> = new Set([
  "content-type",
  "date",
  "expires",
  "last-modified",
  "age",
  "connection",
  "transfer-encoding",
  "server",
  "via",
]);

const none: ReadonlySet<string> = new Set();

const maskers = new WeakMap<readonly DetectMask[], StreamMasker>();
const reversibles = new WeakMap<TokenVault, WeakMap<readonly DetectMask[], StreamMasker>>();

/** Undefined where nothing is masked. */
export function answerMask(
  session: Pick<GateSession, "mark" | "masksNow" | "thinking">,
  bundle: Bundle,
  { provider, operation }: { readonly provider?: LlmProvider; readonly operation: Operation },
  method: string,
): AnswerMask | undefined {
  const masks = session.masksNow(bundle.detectMasks);
  if (masks.length === 0) return undefined;
  const see = findings(masks, session, operation);
  return new AnswerMask(maskerOf(masks, bundle), provider, method, see, session.thinking);
}

/** By the list of masks, which is one object as long as the bundle lives. */
export function maskerOf(masks: readonly DetectMask[], { maskKey }: Bundle): StreamMasker {
  const known = maskers.get(masks);
  if (known !== undefined) return known;
  const made = createStreamMasker(masks, Buffer.from(maskKey, "base64url"));
  maskers.set(masks, made);
  return made;
}

/** The same for requests, whose tokens this vault keeps. */
export function sentMaskerOf(
  masks: readonly DetectMask[],
  bundle: Bundle,
  vault: TokenVault,
): StreamMasker {
  if (!masks.some(({ transform }) => transform.kind === "restore")) return maskerOf(masks, bundle);
  let byMasks = reversibles.get(vault);
  if (byMasks === undefined) reversibles.set(vault, (byMasks = new WeakMap()));
  const known = byMasks.get(masks);
  if (known !== undefined) return known;
  const made = createStreamMasker(masks, Buffer.from(bundle.maskKey, "base64url"), vault);
  byMasks.set(masks, made);
  return made;
}

/** What puts values back into an answer; undefined where no token was ever sent. */
export function restoringOf(
  { vault }: Pick<GateSession, "vault">,
  provider: LlmProvider | undefined,
  method: string,
): Restoring | undefined {
  return vault.isEmpty ? undefined : { restorer: createRestorer(vault), provider, method };
}

/** Of request and answer together, for the event. */
export function detected(
  sent: Counts | undefined,
  answered?: Counts,
): {
  readonly masked?: { readonly detected: Counts };
} {
  const sum: Counts = {};
  for (const part of [sent, answered])
    for (const [name, count] of Object.entries(part ?? {})) sum[name] = (sum[name] ?? 0) + count;
  return Object.keys(sum).length === 0 ? {} : { masked: { detected: sum } };
}

/** What stands between the upstream's answer and the agent. Each throws ProxyError where the answer may not go on. */
export interface AnswerGuard {
  /** How often each detector spoke so far. */
  readonly counts: Counts;
  /** All that may be said was said: the rest of what comes is not for the agent. */
  readonly isOver?: boolean;
  /** The headers that go out. */
  begin(status: number, headers: Headers): Headers;
  /** Of an informational answer, and trailers. */
  headers(headers: Headers): Headers;
  /** What may go out once this has come, too. */
  data(chunk: Buffer): Buffer;
  end(): Buffer;
}

export class AnswerMask implements AnswerGuard {
  readonly #masker: StreamMasker;
  readonly #provider: LlmProvider | undefined;
  readonly #method: string;
  /** How often each detector spoke so far. */
  readonly counts: Counts = {};
  #body: BodyMasker | undefined;
  readonly #see: SeeFindings | undefined;
  readonly #thinking: KeptThinking | undefined;

  /** @param thinking keeps what is masked of it, where it is signed */
  constructor(
    masker: StreamMasker,
    provider: LlmProvider | undefined,
    method: string,
    see?: SeeFindings,
    thinking?: KeptThinking,
  ) {
    this.#thinking = thinking;
    this.#see = see;
    this.#masker = masker;
    this.#provider = provider;
    this.#method = method;
  }

  /** The headers that go out. Throws ProxyError where the body could not be masked. */
  begin(status: number, headers: Headers): Headers {
    const hasBody =
      this.#method !== "HEAD" &&
      status !== 204 &&
      status !== 304 &&
      headers["content-length"] !== "0";
    if (!hasBody) return this.headers(headers);
    if (status === 206)
      throw refused("it is a part, and what stands across its ends would show; ask for the whole");
    const encoding = headers["content-encoding"] ?? "identity";
    if (encoding !== "identity")
      throw refused("the upstream encoded it, although it was asked not to");
    const body = bodyMasker(
      String(headers["content-type"] ?? ""),
      this.#provider,
      this.#masker,
      this.counts,
      "answer",
      this.#thinking,
    );
    if (body === "nothing to mask") return this.headers(headers);
    if ("problem" in body) throw refused(body.problem);
    this.#body = body;
    return this.headers(headers, untrue);
  }

  /** Names stay, values are masked as texts; trailers, too. Throws ProxyError where a finding cannot be kept as a mark. */
  headers(headers: Headers, without: ReadonlySet<string> = none): Headers {
    const masked: Record<string, string | string[]> = {};
    for (const [name, value] of Object.entries(headers)) {
      if (value === undefined || without.has(name)) continue;
      masked[name] = ofHttp.has(name) ? value : this.#value(value);
    }
    this.#see?.(this.counts);
    return masked;
  }

  #value(value: string | string[]): string | string[] {
    const one = (text: string): string => this.#masker.whole(text, this.counts);
    return typeof value === "string" ? one(value) : value.map(one);
  }

  /** What may go out once this has come, too. Throws ProxyError. */
  data(chunk: Buffer): Buffer {
    const body = this.#body;
    return body === undefined ? chunk : this.#said(() => body.push(chunk));
  }

  /** The rest. Throws ProxyError. */
  end(): Buffer {
    const body = this.#body;
    return body === undefined ? nothing : this.#said(() => body.end());
  }

  /** What was found in it is on the pod's session before it goes out. */
  #said(mask: () => string | Uint8Array): Buffer {
    const bytes = maskedBytes(mask, refused);
    this.#see?.(this.counts);
    return bytes;
  }
}

const nothing = Buffer.alloc(0);

/** What a mask makes of a piece; what it cannot make anything of becomes this refusal. */
export function maskedBytes(
  mask: () => string | Uint8Array,
  refused: (reason: string) => ProxyError,
): Buffer {
  try {
    const shown = mask();
    return typeof shown === "string"
      ? Buffer.from(shown)
      : Buffer.from(shown.buffer, shown.byteOffset, shown.length);
  } catch (error) {
    if (error instanceof NotMaskable) throw refused(error.message);
    throw error;
  }
}

function refused(reason: string): ProxyError {
  return new ProxyError(
    "MaskNotProvable",
    `the answer cannot be masked: ${reason}. Masks apply to every answer of this connection`,
  );
}
