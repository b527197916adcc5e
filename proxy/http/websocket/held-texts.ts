// Messages that are texts and looked into one by one: each is held until it is whole, within a bound of its own and one of the proxy's.
import type { ByteBudget } from "../byte-budget.ts";
import { closeCodes, WebSocketViolation } from "./frame.ts";
import type { MessageKind } from "./frame.ts";
import { Gathered } from "../gathered.ts";
import type { MessageWork, Piece } from "./messages.ts";

/** As one event of a stream over HTTP: a picture in base64 is a message. */
export const maxHeldText = 4 * 1024 * 1024;

export class HeldTexts implements MessageWork {
  readonly #budget: ByteBudget;
  readonly #say: (text: string) => readonly string[];
  readonly #held = new Gathered();

  /** @param say what goes on in the place of a message */
  constructor(budget: ByteBudget, say: (text: string) => readonly string[]) {
    this.#budget = budget;
    this.#say = say;
  }

  take(kind: MessageKind, bytes: Buffer, _isFirst: boolean, isLast: boolean): readonly Piece[] {
    if (kind === "binary")
      throw new WebSocketViolation(
        closeCodes.policyViolation,
        "what is said in a session is text, and a binary message cannot be decided on",
      );
    if (this.#held.length + bytes.length > maxHeldText)
      throw new WebSocketViolation(
        closeCodes.policyViolation,
        `a message of a session has more than ${maxHeldText} bytes`,
      );
    if (!this.#budget.take(bytes.length))
      throw new WebSocketViolation(
        closeCodes.tryAgainLater,
        "too many messages are held at this time",
      );
    this.#held.add(bytes);
    if (!isLast) return [];
    const text = this.#held.whole().toString("utf8");
    this.close();
    return this.#say(text).map((said) => ({
      bytes: Buffer.from(said),
      isFirst: true,
      isLast: true,
    }));
  }

  /** Gives back what is held of a message that will never end. */
  close(): void {
    this.#budget.give(this.#held.length);
    this.#held.clear();
  }
}
