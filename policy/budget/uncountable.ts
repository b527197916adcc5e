// Requests that cannot be counted against the budgets of a connection: what they use is said elsewhere, or nobody knows its price.
import type { Bundle } from "../bundle.ts";
import { connectionName } from "../describe.ts";
import type { LlmOperation, Operation } from "../operation.ts";
import { countsTokens } from "./budget.ts";
import { priceOf } from "./price.ts";

/** Operations in which no model is asked, or whose use of it is not billed in tokens. */
const free: ReadonlySet<string> = new Set(["models", "files", "count-tokens", "moderations"]);
/** Their usage comes hours later in a file. */
const unseen: ReadonlySet<string> = new Set(["batches"]);

/** True for what a model is asked, and paid for. */
export function usesTokens({ facts, http }: LlmOperation): boolean {
  if (free.has(facts.operation)) return false;
  // What the provider keeps is only looked at, or ended.
  return (
    facts.operation === "realtime" || (http.method === "POST" && !http.path.endsWith("/cancel"))
  );
}

/** Why the operation is refused although some rule may allow it; undefined for nearly everything. */
export function uncountable(bundle: Bundle, operation: Operation): string | undefined {
  if (operation.kind !== "llm" || !countsTokens(bundle.limits)) return undefined;
  if (!usesTokens(operation)) return undefined;
  const { model, operation: name } = operation.facts;
  if (unseen.has(name))
    return `connection ${connectionName(bundle)} limits tokens or costs, and those of ${name} cannot be counted; use another connection for them`;
  if (bundle.limits.costPerDay === undefined || bundle.prices === undefined) return undefined;
  if (priceOf(bundle.prices, model) !== undefined) return undefined;
  return `connection ${connectionName(bundle)} has limits.costPerDay, and the price table names no price for model ${JSON.stringify(model)}; add one to the ConfigMap chaperone-prices`;
}
