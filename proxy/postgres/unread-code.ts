// What code that nobody here has read (a function of the user's own, DO) may do to the names of its session: deallocate a statement and prepare another
// under its name, close a portal and open a cursor in its place. It can list them all (pg_prepared_statements, pg_cursors), so no name is a secret from it.
//
// A statement of the protocol is therefore said again (Close, Parse) before it is used behind such code, which takes no round trip; a portal cannot be.
import type { Request } from "./requests.ts";
import type { Statement } from "./statements.ts";

/** Of `knownAt`: whatever ran since, it has to be said again. */
export const unknownSince = -1;

export class UnreadCode {
  /** How often such code was sent. */
  #runs = 0;

  /** The name stands for this statement, whatever has run so far. */
  isKnown(statement: Statement): boolean {
    return cannotBeNamed(statement) || statement.knownAt === this.#runs;
  }

  /**
   * A request is decided and about to be sent; in the order of sending.
   * @returns false for the Execute of a portal that may be another by now
   */
  passes(request: Request): boolean {
    const { kind, statement, portal } = request;
    switch (kind) {
      case "parse":
        if (statement !== undefined) statement.knownAt = this.#runs;
        return true;
      case "bind":
      case "describe-statement":
        if (statement !== undefined && !this.isKnown(statement)) {
          request.saysAgain = true;
          statement.knownAt = this.#runs;
        }
        if (portal !== undefined) portal.knownAt = this.#runs;
        return true;
      case "execute":
      case "query":
        if (portal !== undefined && portal.name !== "" && portal.knownAt !== this.#runs)
          return false;
        if (request.execution?.understood.runsCode !== true) return true;
        this.#runs += 1;
        // A portal that runs cannot be closed.
        if (portal !== undefined) portal.knownAt = this.#runs;
        return true;
      default:
        return true;
    }
  }
}

/** SQL has no empty name; and what it prepared itself is forgotten when such code runs. */
function cannotBeNamed({ name, bySql }: Statement): boolean {
  return name === "" || bySql !== undefined;
}
