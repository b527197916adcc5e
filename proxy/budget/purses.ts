// The budgets of one connection, as this proxy holds them: takes from what it was allotted at once, asks the operator when that is not enough, gives back what lies idle.
import type { BudgetAnswer, BudgetCall, BudgetReport, BudgetShare } from "../../contract/budget.ts";
import type { BudgetName } from "../../policy/budget/budget.ts";
import { Purse, type Reservation } from "../../policy/budget/purse.ts";
import type { Clock } from "../grant/clock.ts";
import type { Need } from "./needs.ts";

/** What was not used for this long goes back to the workload's other pods. */
const idleMs = 2_000;
/** After a no, or no answer, the operator is not asked again for this long: an agent that tries again at once must not become a flood of calls. */
const memoryMs = 1_000;
/** While it stays away it is asked ever more rarely, because each time somebody waits for the answer; up to this. */
const maxAwayMs = 10_000;
/** Operations of one connection that wait for an answer. */
const maxWaiting = 1_000;
/** The last word of a proxy that ends. */
const closeMs = 2_000;

/** Throws ProxyError ControlPlaneUnavailable, or GrantRefused. */
export type AskBudgets = (call: BudgetCall, signal: AbortSignal) => Promise<BudgetAnswer>;

export interface Part {
  readonly budget: BudgetName;
  readonly reservation: Reservation;
}

export type Taken =
  | { readonly parts: readonly Part[] }
  /** The budget that does not have as much; `left` of it, here and at the operator. */
  | {
      readonly short: Need;
      readonly left: number;
      readonly share: BudgetShare;
      readonly heardAt: number;
    }
  /** The operator could not be asked. */
  | { readonly away: unknown; readonly short: readonly BudgetName[] };

interface Said {
  readonly share: BudgetShare;
  readonly at: number;
}

interface Waiting {
  readonly needs: readonly Need[];
  readonly done: (taken: Taken) => void;
}

export class Purses {
  readonly #connection: string;
  readonly #ask: AskBudgets;
  readonly #clock: Clock;
  readonly #purses = new Map<BudgetName, Purse>();
  readonly #said = new Map<BudgetName, Said>();
  readonly #closing = new AbortController();
  #away: { readonly error: unknown; readonly until: number; readonly times: number } | undefined;
  #waiting: Waiting[] = [];
  #serving: Promise<void> | undefined;
  #usedAt = 0;
  #cancelTimer: (() => void) | undefined;

  constructor(connection: string, ask: AskBudgets, clock: Clock) {
    this.#connection = connection;
    this.#ask = ask;
    this.#clock = clock;
  }

  /** All of it or nothing; at once where it is held. */
  take(needs: readonly Need[]): Taken | Promise<Taken> {
    this.#used();
    if (this.#waiting.length === 0) {
      const taken = this.#reserve(needs);
      if (taken !== undefined) return taken;
    }
    if (this.#waiting.length >= maxWaiting)
      return {
        away: new Error(`${maxWaiting} operations already wait for a budget`),
        short: this.#short(needs).map(({ budget }) => budget),
      };
    return new Promise((done) => {
      this.#waiting.push({ needs, done });
      this.#serving ??= this.#serve();
    });
  }

  /** Held and free, for the metrics. */
  free(budget: BudgetName): number {
    return Math.max(0, this.#purses.get(budget)?.free ?? 0);
  }

  get budgets(): readonly BudgetName[] {
    return [...this.#purses.keys()];
  }

  /** Gives everything back. */
  async close(): Promise<void> {
    this.#cancelTimer?.();
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new Error("the proxy is shutting down"));
    await this.#serving;
    if (this.#purses.size === 0) return;
    const call: BudgetCall = {
      connection: this.#connection,
      reports: this.#reports(),
      wants: [],
      closes: true,
    };
    // What does not arrive counts as spent; nothing worse can come of it.
    await this.#ask(call, AbortSignal.timeout(closeMs)).catch(() => undefined);
  }

  #reserve(needs: readonly Need[]): Taken | undefined {
    const now = this.#clock.now();
    const parts: Part[] = [];
    for (const { budget, amount, atLeast } of needs) {
      const reservation = this.#purse(budget).reserveUpTo(amount, atLeast, now);
      if (reservation === undefined) {
        for (const part of parts) part.reservation.settle(0);
        return undefined;
      }
      parts.push({ budget, reservation });
    }
    return { parts };
  }

  #short(needs: readonly Need[]): readonly Need[] {
    const now = this.#clock.now();
    return needs.filter(({ budget, amount, atLeast }) => {
      const reservation = this.#purse(budget).reserveUpTo(amount, atLeast, now);
      reservation?.settle(0);
      return reservation === undefined;
    });
  }

  /** One after the other, so that none overtakes. Never rejects. */
  async #serve(): Promise<void> {
    await Promise.resolve();
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const taken = await this.#serveOne(first.needs);
      this.#waiting.shift();
      first.done(taken);
    }
    this.#serving = undefined;
  }

  async #serveOne(needs: readonly Need[]): Promise<Taken> {
    const taken = this.#reserve(needs);
    if (taken !== undefined) return taken;
    const short = this.#short(needs);
    const refused = this.#refusedBefore(short);
    if (refused !== undefined) return refused;
    try {
      await this.#askFor(short);
      this.#away = undefined;
    } catch (error) {
      const times = (this.#away?.times ?? 0) + 1;
      const forMs = Math.min(maxAwayMs, memoryMs * 2 ** (times - 1));
      this.#away = { error, until: this.#clock.now() + forMs, times };
    }
    return this.#reserve(needs) ?? this.#refused(this.#short(needs));
  }

  /** What the operator said a moment ago it says again. */
  #refusedBefore(short: readonly Need[]): Taken | undefined {
    const now = this.#clock.now();
    if (this.#away !== undefined && this.#away.until > now) return this.#refused(short);
    for (const need of short) {
      const said = this.#said.get(need.budget);
      if (said === undefined || now - said.at > memoryMs) continue;
      const isOver = now >= said.at + said.share.endsInMs;
      const refused = this.#without(need, said);
      if (!isOver && refused.left < need.atLeast) return refused;
    }
    return undefined;
  }

  #without(need: Need, { share, at }: Said): Extract<Taken, { share: unknown }> {
    const left = Math.max(0, share.left + this.#purse(need.budget).free);
    return { short: need, left, share, heardAt: at };
  }

  #refused(short: readonly Need[]): Taken {
    const away = this.#away;
    const budgets = short.map(({ budget }) => budget);
    if (away !== undefined) return { away: away.error, short: budgets };
    for (const need of short) {
      const said = this.#said.get(need.budget);
      if (said !== undefined) return this.#without(need, said);
    }
    // The policy changed under it and set no such limit any more; the next grant says so.
    return { away: new Error("the operator knows no such limit now"), short: budgets };
  }

  async #askFor(short: readonly Need[]): Promise<void> {
    const now = this.#clock.now();
    const reports = this.#reports();
    const { shares } = await this.#ask(
      {
        connection: this.#connection,
        reports,
        wants: short.map(({ budget, atLeast, amount }) => {
          const wish = Math.max(amount, this.#wished(budget));
          const { window, ...want } = this.#purse(budget).want(atLeast, wish, now);
          return { budget, ...want, ...(window !== undefined && { period: window }) };
        }),
      },
      this.#closing.signal,
    );
    this.#told(reports);
    const heardAt = this.#clock.now();
    for (const share of shares) {
      // From when it was asked: the period can only end later than that by the operator's clock.
      this.#purse(share.budget).granted(share.period, share.granted, now + share.endsInMs, heardAt);
      this.#said.set(share.budget, { share, at: heardAt });
    }
  }

  /** Of everybody who waits. */
  #wished(budget: BudgetName): number {
    let sum = 0;
    for (const { needs } of this.#waiting)
      for (const need of needs) if (need.budget === budget) sum += need.amount;
    return sum;
  }

  #reports(): readonly BudgetReport[] {
    const now = this.#clock.now();
    return [...this.#purses.values()].flatMap((purse) =>
      purse
        .reports(now)
        .map(({ window, ...counts }) => ({ budget: purse.name, period: window, ...counts })),
    );
  }

  #told(reports: readonly BudgetReport[]): void {
    for (const [budget, purse] of this.#purses)
      purse.told(
        reports
          .filter((one) => one.budget === budget)
          .map(({ period, returned, spent }) => ({ window: period, returned, spent })),
      );
  }

  #used(): void {
    this.#usedAt = this.#clock.now();
    this.#lookAgain();
  }

  #onIdle(): void {
    this.#cancelTimer = undefined;
    const now = this.#clock.now();
    const left = this.#usedAt + idleMs - now;
    if (left > 0) {
      this.#cancelTimer = this.#clock.after(left, () => this.#onIdle());
      return;
    }
    for (const purse of this.#purses.values()) purse.giveBack(now);
    // What is under way now will be settled, and has to be told then.
    if ([...this.#purses.values()].some((purse) => purse.isUsed)) this.#lookAgain();
    const reports = this.#reports();
    if (reports.length === 0 || this.#closing.signal.aborted) return;
    this.#ask({ connection: this.#connection, reports, wants: [] }, this.#closing.signal).then(
      () => this.#told(reports),
      () => this.#lookAgain(),
    );
  }

  #lookAgain(): void {
    if (this.#closing.signal.aborted) return;
    this.#cancelTimer ??= this.#clock.after(idleMs, () => this.#onIdle());
  }

  #purse(budget: BudgetName): Purse {
    const known = this.#purses.get(budget);
    if (known !== undefined) return known;
    const made = new Purse(budget);
    this.#purses.set(budget, made);
    return made;
  }
}
