// What one proxy holds of one budget, period by period: spends from it at once, and says what it needs and gives back. Pure.
import type { BudgetName } from "./budget.ts";
import { isDaily } from "./budget.ts";
import type { Holding, Want } from "./ledger.ts";

/** Days that are over and have answers under way; an answer of three days is none. */
const maxPast = 2;

/** The part of a budget that is held for one request. */
export interface Reservation {
  readonly amount: number;
  /** What it really was; replaces the amount. Only the first call counts. */
  settle(spent: number): void;
}

export interface PurseReport extends Pick<Holding, "returned" | "spent"> {
  readonly window: string;
}

class Pocket {
  readonly window: string;
  /** By the proxy's own clock, milliseconds. */
  readonly endsAt: number;
  granted = 0;
  returned = 0;
  spent = 0;
  reserved = 0;
  /** As the operator last heard it. */
  told: Pick<Holding, "returned" | "spent"> = { returned: 0, spent: 0 };

  constructor(window: string, endsAt: number) {
    this.window = window;
    this.endsAt = endsAt;
  }

  get free(): number {
    return this.granted - this.returned - this.spent - this.reserved;
  }

  get isTold(): boolean {
    return this.told.returned === this.returned && this.told.spent === this.spent;
  }
}

export class Purse {
  readonly name: BudgetName;
  #current: Pocket | undefined;
  #past: Pocket[] = [];

  constructor(name: BudgetName) {
    this.name = name;
  }

  /** Undefined where it does not hold as much. */
  reserve(amount: number, now: number): Reservation | undefined {
    const pocket = this.#at(now);
    return pocket === undefined || pocket.free < amount ? undefined : reservation(pocket, amount);
  }

  /** Of `wanted` at most; undefined for less than `atLeast`. */
  reserveUpTo(wanted: number, atLeast: number, now: number): Reservation | undefined {
    const free = this.#at(now)?.free ?? 0;
    return this.reserve(Math.max(atLeast, Math.min(wanted, free)), now);
  }

  want(need: number, wish: number, now: number): Want & { readonly window?: string } {
    const pocket = this.#at(now);
    if (pocket === undefined) return { base: 0, need, wish };
    const { window, returned, spent, reserved } = pocket;
    return { window, base: returned + spent + reserved, need, wish };
  }

  /**
   * What the operator answered: everything it ever allotted in this period.
   *
   * @param endsAt by the proxy's own clock
   */
  granted(window: string, granted: number, endsAt: number, now: number): void {
    const known = this.#at(now);
    if (known?.window === window) {
      known.granted = Math.max(known.granted, granted);
      return;
    }
    if (known !== undefined) this.#leave(known);
    const pocket = new Pocket(window, endsAt);
    pocket.granted = granted;
    this.#current = pocket;
  }

  /** Gives back what nobody has reserved. True where there was something. */
  giveBack(now: number): boolean {
    const pocket = this.#at(now);
    if (pocket === undefined || pocket.free <= 0) return false;
    pocket.returned += pocket.free;
    return true;
  }

  /** What the operator has not heard. */
  reports(now: number): readonly PurseReport[] {
    this.#at(now);
    const pockets = this.#current === undefined ? this.#past : [...this.#past, this.#current];
    return pockets
      .filter((pocket) => !pocket.isTold)
      .map(({ window, returned, spent }) => ({ window, returned, spent }));
  }

  told(reports: readonly PurseReport[]): void {
    for (const { window, returned, spent } of reports)
      for (const pocket of [...this.#past, this.#current])
        if (pocket?.window === window) pocket.told = { returned, spent };
    this.#past = this.#past.filter((pocket) => pocket.reserved > 0 || !pocket.isTold);
  }

  /** Something is reserved and not settled. */
  get isUsed(): boolean {
    return [...this.#past, this.#current].some((pocket) => (pocket?.reserved ?? 0) > 0);
  }

  /** Held and not spent; less than nothing where answers were longer than was thought. */
  get free(): number {
    return this.#current?.free ?? 0;
  }

  #at(now: number): Pocket | undefined {
    const pocket = this.#current;
    if (pocket !== undefined && pocket.endsAt <= now) this.#leave(pocket);
    return this.#current;
  }

  /** Of a minute that is over nobody asks any more; a day is told to its end. */
  #leave(pocket: Pocket): void {
    this.#current = undefined;
    if (!isDaily(this.name)) return;
    this.#past.push(pocket);
    if (this.#past.length > maxPast) this.#past.shift();
  }
}

function reservation(pocket: Pocket, amount: number): Reservation {
  let isOpen = true;
  pocket.reserved += amount;
  return {
    amount,
    settle(spent) {
      if (!isOpen) return;
      isOpen = false;
      pocket.reserved -= amount;
      pocket.spent += Math.max(0, spent);
    },
  };
}
