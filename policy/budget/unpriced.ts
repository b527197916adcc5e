// Requests whose cost nobody knows: they cannot be counted against a budget of costs.
import type { Bundle } from "../bundle.ts";
import { connectionName } from "../describe.ts";
import type { Operation } from "../operation.ts";
import { priceOf } from "./price.ts";

/** Operations that cost nothing. */
const free: ReadonlySet<string> = new Set(["models"]);

/** Why the operation is refused although some rule may allow it; undefined for nearly everything. */
export function unpriced(bundle: Bundle, operation: Operation): string | undefined {
  if (bundle.prices === undefined || operation.kind !== "llm") return undefined;
  const { model, operation: name } = operation.facts;
  if (free.has(name) || priceOf(bundle.prices, model) !== undefined) return undefined;
  return `connection ${connectionName(bundle)} has limits.costPerDay, and the price table names no price for model ${JSON.stringify(model)}; add one to the ConfigMap chaperone-prices`;
}
