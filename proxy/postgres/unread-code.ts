// What code that nobody here has read (a function of the user's own, DO) may do to the names of its session: deallocate a statement and prepare another
// under its name, close a portal and open a cursor in its place. It can list them all (pg_prepared_statements, pg_cursors), so no name is a secret from it.
//
// A statement of the protocol is therefore said again (Close, Parse) before it is used behind such code, which takes no round trip; a portal cannot be.
import type { Request } from "./requests.ts";
import type { Portal, Statement } from "./statements.ts";

/** Of `knownAt`: whatever ran since, it has to be said again. */
export const unknownSince = -1;

export class UnreadCode {
  /** How often such code was sent. */
  #runs = 0;
  /**
   * The unnamed portal may be an EXECUTE of SQL, which is decided when it runs: nothing else may run it before. What takes its place may be skipped, and
   * a savepoint brings it back, so that only the end of its transaction is certain.
   */
  #undecided = false;

  /** Nothing is outstanding or half sent, and no transaction is open. */
  noPortals(): void {
    this.#undecided = false;
  }

  /** The name stands for this statement, whatever has run so far. */
  isKnown(statement: Statement): boolean {
    return cannotBeNamed(statement) || statement.knownAt === this.#runs;
  }

  /**
   * A request is decided and about to be sent; in the order of sending.
   * @returns why not: the portal may be another by now, or what runs in it could run the unnamed one before that is decided
   */
  refuses(request: Request): "replaced" | "reaches-undecided" | undefined {
    const { kind, statement, portal } = request;
    switch (kind) {
      case "parse":
        if (statement !== undefined) statement.knownAt = this.#runs;
        return undefined;
      case "bind":
      case "describe-statement":
        if (statement !== undefined && !this.isKnown(statement)) {
          request.saysAgain = true;
          statement.knownAt = this.#runs;
        }
        if (portal !== undefined) this.#bound(portal);
        return undefined;
      case "execute":
        return portal === undefined ? undefined : this.#executes(portal, request);
      case "query":
        this.#runsIn(undefined, request);
        return undefined;
      default:
        return undefined;
    }
  }

  #bound(portal: Portal): void {
    portal.knownAt = this.#runs;
    if (portal.name === "" && runsByName(portal.statement)) this.#undecided = true;
  }

  #executes(portal: Portal, request: Request): ReturnType<UnreadCode["refuses"]> {
    if (portal.name !== "") {
      if (portal.knownAt !== this.#runs) return "replaced";
      if (this.#undecided && request.execution?.understood.fetchesByCall === true)
        return "reaches-undecided";
    }
    this.#runsIn(portal, request);
    return undefined;
  }

  #runsIn(portal: Portal | undefined, { execution }: Request): void {
    if (execution?.understood.runsCode !== true) return;
    this.#runs += 1;
    // A portal that runs cannot be closed.
    if (portal !== undefined) portal.knownAt = this.#runs;
  }
}

/** An EXECUTE of SQL: what it runs is known when it runs, and nothing runs before. */
export function runsByName({ understood }: Statement): boolean {
  return understood.nameUse?.kind === "execute";
}

/** SQL has no empty name; and what it prepared itself is forgotten when such code runs. */
function cannotBeNamed({ name, bySql }: Statement): boolean {
  return name === "" || bySql !== undefined;
}
