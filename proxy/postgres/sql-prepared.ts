// Statements that a session prepared by SQL (PREPARE), so that an EXECUTE is decided by what it runs. They share the server's names with the protocol's.
import type { SqlOperation } from "../../policy/operation.ts";
import { Execution } from "./execution.ts";
import type { Portal, Statement } from "./statements.ts";
import type { Understood } from "./understanding.ts";

export interface Prepared {
  /** The statement behind AS. */
  readonly understood: Understood;
  /** The whole PREPARE, with the types it declares. */
  readonly text: string;
  /** As the protocol binds it. */
  readonly statement: Statement;
}

/** As the protocol spells names: bytes as latin1. */
export function protocolName(name: string): string {
  return Buffer.from(name, "utf8").toString("latin1");
}

export class SqlPrepared {
  readonly #known = new Map<string, Prepared>();

  get(name: string): Prepared | undefined {
    return this.#known.get(name);
  }

  /** Returns the bytes that it takes. */
  add(name: string, prepared: Prepared): number {
    this.#known.set(name, prepared);
    return bytesOf(prepared);
  }

  /** Returns the bytes that are free again. */
  forget(name: string): number {
    const known = this.#known.get(name);
    const bytes = known === undefined ? 0 : bytesOf(known);
    this.#known.delete(name);
    return bytes;
  }

  forgetAll(): number {
    let bytes = 0;
    for (const prepared of this.#known.values()) bytes += bytesOf(prepared);
    this.#known.clear();
    return bytes;
  }
}

function bytesOf({ text, statement }: Prepared): number {
  return text.length + statement.bytes;
}

/** What `EXECUTE name(values)` does: the prepared statement with these parameters, decided and masked as that. */
export function executionBySql(
  prepared: Prepared | Statement,
  values: readonly (string | null)[],
  text: string,
  portal?: Portal,
): Execution {
  const { understood } = prepared;
  const operation: SqlOperation = { ...understood.operation, params: values };
  const preparedAs =
    "text" in prepared ? prepared.text : `${understood.text}\0${prepared.declared}`;
  return new Execution(understood, operation, portal, `${preparedAs}\0${text}`, text);
}
