// What FETCH may read under masks: the texts that declared each cursor of a session, and which names stand for something else as well.
import { protocolName } from "./sql-prepared.ts";

/** Names of cursors a session may use under masks; FETCH from one that is not remembered is refused. */
const maxCursors = 256;
/** Different texts under one name, which programs that read different tables by one cursor need; more is refused at FETCH. */
const maxTextsPerCursor = 64;
/** Characters of all those texts together; what more is declared cannot be read by FETCH. */
const maxDeclaredLength = 1024 * 1024;
/** Names of portals bound in one transaction; behind more, no name is certain to be a cursor of SQL until it ends. */
const maxPortals = 1_000;

export class Cursors {
  /** Undefined for a name of which too many texts are known. */
  readonly #declared = new Map<string, readonly string[] | undefined>();
  #declaredLength = 0;
  readonly #portals = new Set<string>();
  #tooManyPortals = false;
  #unseen = false;

  /** The texts of which one declared the cursor; undefined where something else may be behind the name. */
  texts(name: string): readonly string[] | undefined {
    const known = protocolName(name);
    if (this.#unseen || this.#tooManyPortals || this.#portals.has(known)) return undefined;
    return this.#declared.get(known);
  }

  /** A text that declares this cursor was sent: it may be open by that text from now on. */
  declared(name: string, text: string): void {
    const key = protocolName(name);
    const known = this.#declared.has(key) ? this.#declared.get(key) : [];
    if (known?.includes(text) === true) return;
    if (this.#declared.size >= maxCursors && !this.#declared.has(key)) return;
    const length = this.#declaredLength + text.length;
    const tooMany =
      known === undefined || known.length >= maxTextsPerCursor || length > maxDeclaredLength;
    this.#declared.set(key, tooMany ? undefined : [...known, text]);
    if (!tooMany) this.#declaredLength = length;
  }

  /** Something that may open cursors was sent while nobody kept their texts: no name is certain any more. */
  openedUnseen(): void {
    this.#unseen = true;
  }

  /** A portal of the protocol was bound (its name as bytes): to FETCH it is a cursor like any other. */
  bound(name: string): void {
    if (name === "") return;
    if (this.#portals.size < maxPortals) this.#portals.add(name);
    else this.#tooManyPortals = true;
  }

  /** No transaction is open and nothing is outstanding: portals do not outlive that. */
  transactionEnded(): void {
    if (this.#portals.size > 0) this.#portals.clear();
    this.#tooManyPortals = false;
  }
}
