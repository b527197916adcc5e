// The quarantines this proxy was told about, and what they cut off.
import { compilePattern, matches } from "../../policy/pattern.ts";

export interface Order {
  /** `namespace/name` patterns, or everything. */
  readonly connections: readonly string[] | "*";
  readonly message: string;
}

/** Not bounded by us: each is an object that an administrator made, and forgetting one would open what it cuts off. */
export class Orders {
  #inForce = new Map<string, Order>();
  /** Named since the last hello; at the first ping after it they are all there are. */
  #named: Map<string, Order> | undefined;

  /** A new stream: what it does not name is no longer in force. */
  begin(): void {
    this.#named = new Map();
  }

  /** Everything in force has been named. */
  complete(): void {
    if (this.#named === undefined) return;
    this.#inForce = this.#named;
    this.#named = undefined;
  }

  add(name: string, order: Order): void {
    this.#inForce.set(name, order);
    this.#named?.set(name, order);
  }

  lift(name: string): Order | undefined {
    const order = this.#inForce.get(name);
    this.#inForce.delete(name);
    this.#named?.delete(name);
    return order;
  }

  /** The order that cuts the connection off. */
  on(connection: string): Order | undefined {
    for (const order of this.#inForce.values()) if (reaches(order, connection)) return order;
    return undefined;
  }
}

export function reaches({ connections }: Order, connection: string): boolean {
  return (
    connections === "*" ||
    connections.some((pattern) => matches(compilePattern(pattern), connection))
  );
}
