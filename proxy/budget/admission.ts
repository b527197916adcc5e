// Before an allowed operation is sent: does it repeat itself too often, and do the budgets have what it needs?
import type { Bundle } from "../../policy/bundle.ts";
import { budgetsOf, isDaily, type BudgetName } from "../../policy/budget/budget.ts";
import type { Operation } from "../../policy/operation.ts";
import type { Decision } from "../../policy/decision.ts";
import { ProxyError } from "../errors.ts";
import type { Clock } from "../grant/clock.ts";
import type { MinuteCount } from "../limits.ts";
import { needsOf, type Need, type Needs } from "./needs.ts";
import { Purses, type AskBudgets, type Taken } from "./purses.ts";
import { Repeats } from "./repeats.ts";
import { Spending } from "./spending.ts";

export interface BudgetRefusal {
  /** As the policy calls it. */
  readonly limit: string;
  readonly error: ProxyError;
}

export type Admission = { readonly spending: Spending | undefined } | BudgetRefusal;

export interface Asked {
  readonly operation: Operation;
  /** Of the rule that allowed it. */
  readonly maxOutputTokens: number | undefined;
  /** Tokens of the request, where they count. */
  readonly inputTokens: (() => number) | undefined;
  /** Of the exact operation; absent for what drivers send by themselves. */
  readonly digest: (() => string) | undefined;
}

/** What the event says of it. */
export function overLimit({ limit, error }: BudgetRefusal): Decision {
  return {
    verdict: "deny",
    policy: "",
    rule: "",
    reason: "LimitExceeded",
    message: error.message,
    mode: "Enforce",
    limit,
  };
}

/** Counts one operation of a pod; what is said where it alone is over its operations a minute. Where they are not counted, no clock is asked. */
export function overRate(
  connection: string,
  { limits }: Bundle,
  rate: MinuteCount,
  clock: () => number,
): BudgetRefusal | undefined {
  const perMinute = limits.requestsPerMinute;
  if (perMinute === undefined) return undefined;
  const now = clock();
  if (rate.take(now, perMinute)) return undefined;
  const retryAfterSeconds = Math.max(1, Math.ceil(rate.waitMs(now) / 1_000));
  const message = `connection ${connection} allows ${perMinute} operations a minute (limits.requestsPerMinute); try again in ${retryAfterSeconds} s`;
  return {
    limit: "requestsPerMinute",
    error: new ProxyError("LimitExceeded", message, { retryAfterSeconds }),
  };
}

const none = (): number => 0;
const freely: Admission = { spending: undefined };

/** True where a connection has nothing that is counted here, which then costs nothing. */
export function isUncounted({ limits }: Bundle): boolean {
  return (
    limits.repeats === undefined &&
    limits.requestsPerMinute === undefined &&
    limits.tokensPerMinute === undefined &&
    limits.tokensPerDay === undefined &&
    limits.costPerDay === undefined
  );
}

/** Of one connection of this pod. */
export class Admissions {
  readonly #connection: string;
  readonly #clock: Clock;
  readonly #purses: Purses | undefined;
  #repeats: Repeats | undefined;

  /** @param ask undefined: there is no operator to share budgets with */
  constructor(connection: string, clock: Clock, ask: AskBudgets | undefined) {
    this.#connection = connection;
    this.#clock = clock;
    this.#purses = ask === undefined ? undefined : new Purses(connection, ask, clock);
  }

  admit(bundle: Bundle, asked: Asked): Admission | Promise<Admission> {
    const repeated = this.#repeated(bundle, asked);
    if (repeated !== undefined) return repeated;
    const needs = needsOf(
      bundle,
      asked.operation,
      asked.maxOutputTokens,
      asked.inputTokens ?? none,
    );
    if (needs.needs.length === 0) return freely;
    const purses = this.#purses;
    const taking = purses?.take(needs.needs) ?? {
      away: new Error("there is no operator"),
      short: needs.needs.map(({ budget }) => budget),
    };
    return taking instanceof Promise
      ? taking.then((taken) => this.#admitted(bundle, needs, taken))
      : this.#admitted(bundle, needs, taking);
  }

  /** Held and free, by budget, for the metrics. */
  held(): readonly { readonly budget: BudgetName; readonly free: number }[] {
    const purses = this.#purses;
    return purses === undefined
      ? []
      : purses.budgets.map((budget) => ({ budget, free: purses.free(budget) }));
  }

  async close(): Promise<void> {
    await this.#purses?.close();
  }

  #repeated({ limits }: Bundle, { digest }: Asked): BudgetRefusal | undefined {
    if (limits.repeats === undefined || digest === undefined) return undefined;
    this.#repeats ??= new Repeats();
    const limit = this.#repeats.take(digest(), limits.repeats, this.#clock.now());
    if (limit === undefined) return undefined;
    const { max, withinSeconds } = limit;
    return {
      limit: "repeats",
      error: new ProxyError(
        "RepeatedOperation",
        `this very operation was sent ${max} times within ${withinSeconds} s, and connection ${this.#connection} allows no more (limits.repeats); do something else with the answers it had`,
      ),
    };
  }

  #admitted(bundle: Bundle, counted: Needs, taken: Taken): Admission {
    if ("away" in taken) {
      // The rate of one pod is still held in memory (MinuteCount); what costs money waits for the operator.
      const [first] = taken.short.filter((budget) => budget !== "requestsPerMinute");
      return first === undefined ? freely : this.#unknown(first, taken.away);
    }
    if ("short" in taken) return this.#refusal(bundle, taken);
    for (const { budget, reservation } of taken.parts)
      if (budget === "requestsPerMinute") reservation.settle(1);
    const { expected, price, isBounded } = counted;
    if (expected === undefined || this.#purses === undefined) return freely;
    const parts = taken.parts.filter(({ budget }) => budget !== "requestsPerMinute");
    return { spending: new Spending(this.#purses, parts, { price, expected, isBounded }) };
  }

  #unknown(limit: BudgetName, cause: unknown): BudgetRefusal {
    const why = cause instanceof Error ? cause.message : "no answer";
    return {
      limit,
      error: new ProxyError(
        "ControlPlaneUnavailable",
        `connection ${this.#connection} has limits.${limit}, of which this pod holds no more, and the operator cannot be asked: ${why}`,
        { cause },
      ),
    };
  }

  #refusal(bundle: Bundle, taken: Extract<Taken, { share: unknown }>): BudgetRefusal {
    const { short, share, heardAt } = taken;
    const limit = short.budget;
    const amount = budgetsOf(bundle.limits)[limit] ?? share.limit;
    const said = `connection ${this.#connection} allows ${shown(limit, amount)} (limits.${limit}) for service account ${bundle.subject.serviceAccount}`;
    if (short.atLeast > amount)
      return {
        limit,
        error: new ProxyError(
          "BudgetExceeded",
          `${said}, and this request alone may take ${shown(limit, short.atLeast)}; ask for fewer output tokens`,
        ),
      };
    const seconds = Math.ceil((heardAt + share.endsInMs - this.#clock.now()) / 1_000);
    const left = `${shown(limit, taken.left)} left${needed(short)}`;
    return {
      limit,
      error: isDaily(limit)
        ? new ProxyError("BudgetExceeded", `${said}, with ${left}; the day ends at midnight UTC`)
        : new ProxyError(
            "LimitExceeded",
            `${said}, with ${left}; try again in ${Math.max(1, seconds)} s`,
            { retryAfterSeconds: Math.max(1, seconds) },
          ),
    };
  }
}

function needed({ budget, atLeast }: Need): string {
  return budget === "requestsPerMinute" ? "" : ` and ${shown(budget, atLeast)} needed`;
}

function shown(budget: BudgetName, amount: number): string {
  switch (budget) {
    case "requestsPerMinute":
      return `${amount} operations a minute`;
    case "tokensPerMinute":
      return `${amount} tokens a minute`;
    case "tokensPerDay":
      return `${amount} tokens a day`;
    case "costPerDay":
      return `${amount / 1e6} of costs a day`;
    default:
      return budget satisfies never;
  }
}
