// What happens to the messages of one direction on their way: masked whole where a policy's detectors look at text, kept for the record
// where it asks for all. What is not masked passes piece by piece.
import type { ByteBudget } from "../byte-budget.ts";
import { Gathered } from "../gathered.ts";
import type { TextMasker } from "../../../policy/mask/detect.ts";
import type { Content } from "../../pipeline.ts";
import { closeCodes, WebSocketViolation } from "./frame.ts";
import { KeptLines } from "./kept-lines.ts";
import type { MessageKind } from "./frame.ts";

export interface Piece {
  readonly bytes: Buffer;
  readonly isFirst: boolean;
  readonly isLast: boolean;
}

export interface MessageWork {
  /** What of a message is to go on now. Throws WebSocketViolation for what must not. @param bytes of the caller's, not kept */
  take(kind: MessageKind, bytes: Buffer, isFirst: boolean, isLast: boolean): readonly Piece[];
}

/** A text that is masked is held whole. */
export const maxMaskedBytes = 1024 * 1024;

export interface MessagesOptions {
  readonly part: "request" | "response";
  /** Asked at the beginning of each message: policies change under an open connection. */
  readonly masker: () => TextMasker | undefined;
  /** Something was found in a message, which goes out when this returns. */
  readonly onDetected?: (detected: Readonly<Record<string, number>>) => void;
  /** Texts are kept for the record. */
  readonly isKept: () => boolean;
  /** What all directions of a proxy hold together. */
  readonly budget: ByteBudget;
}

export class Messages implements MessageWork {
  readonly #options: MessagesOptions;
  readonly #detected: Record<string, number> = {};
  readonly #kept: KeptLines;
  #isKept = false;
  #masker: TextMasker | undefined;
  readonly #held = new Gathered();

  constructor(options: MessagesOptions) {
    this.#options = options;
    this.#kept = new KeptLines(options.part);
  }

  get #what(): string {
    return this.#options.part === "request" ? "sent" : "answered";
  }

  /** How often each detector spoke. */
  get detected(): Readonly<Record<string, number>> {
    return this.#detected;
  }

  content(): Content | undefined {
    return this.#kept.content();
  }

  /** Gives back what is held of a message that will never end. */
  close(): void {
    this.#options.budget.give(this.#held.length);
    this.#held.clear();
  }

  take(kind: MessageKind, bytes: Buffer, isFirst: boolean, isLast: boolean): readonly Piece[] {
    if (isFirst) {
      this.#masker = this.#options.masker();
      this.#isKept = kind === "text" && this.#options.isKept();
    }
    if (this.#masker === undefined) {
      if (this.#isKept) this.#kept.add(bytes, isLast);
      return bytes.length === 0 && !isFirst && !isLast ? [] : [{ bytes, isFirst, isLast }];
    }
    if (kind === "binary")
      throw new WebSocketViolation(
        closeCodes.policyViolation,
        `the policy masks what is ${this.#what}, and a binary message cannot be masked`,
      );
    this.#hold(bytes);
    return isLast ? [this.#masked(this.#masker)] : [];
  }

  #hold(bytes: Buffer): void {
    if (this.#held.length + bytes.length > maxMaskedBytes)
      throw new WebSocketViolation(
        closeCodes.policyViolation,
        `the policy masks what is ${this.#what}, and a message of more than ${maxMaskedBytes} bytes cannot be held for it`,
      );
    if (!this.#options.budget.take(bytes.length))
      throw new WebSocketViolation(
        closeCodes.tryAgainLater,
        "too many messages are held for masking at this time",
      );
    this.#held.add(bytes);
  }

  #masked(masker: TextMasker): Piece {
    const whole = this.#held.whole();
    this.close();
    const suspects = masker.look(whole, 0, whole.length);
    const { text, counts } =
      suspects === 0
        ? { text: undefined, counts: {} }
        : masker.mask(whole.toString("utf8"), suspects);
    for (const [name, count] of Object.entries(counts))
      this.#detected[name] = (this.#detected[name] ?? 0) + count;
    if (text !== undefined) this.#options.onDetected?.(this.#detected);
    const bytes = text === undefined ? whole : Buffer.from(text);
    if (this.#isKept) this.#kept.add(bytes, true);
    return { bytes, isFirst: true, isLast: true };
  }
}
