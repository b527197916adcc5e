// The price table among manifests: a ConfigMap chaperone-prices, and whether policies with costPerDay have one.
import type { PriceTable } from "../policy/budget/price.ts";
import { priceTableKey, priceTableName, readPriceTable } from "../policy/budget/price-table.ts";
import type { Located } from "./check.ts";
import type { PlacedProblem } from "./check-conflicts.ts";
import { isRecord } from "./defaults.ts";
import type { ProblemPath } from "./problem.ts";
import type { AccessPolicy, ClusterAccessPolicy } from "./types.gen.ts";

interface PriceReading {
  readonly prices: PriceTable | undefined;
  readonly problems: readonly { readonly path: ProblemPath; readonly message: string }[];
}

/** Undefined for every other ConfigMap, which is none of ours. */
export function pricesFrom(object: Readonly<Record<string, unknown>>): PriceReading | undefined {
  const metadata = isRecord(object["metadata"]) ? object["metadata"] : {};
  if (metadata["name"] !== priceTableName) return undefined;
  const data = isRecord(object["data"]) ? object["data"] : {};
  const text = data[priceTableKey];
  const path = ["data", priceTableKey];
  if (typeof text !== "string")
    return { prices: undefined, problems: [{ path, message: "is missing: the price table" }] };
  const read = readPriceTable(text);
  return "problem" in read
    ? { prices: undefined, problems: [{ path, message: read.problem }] }
    : { prices: read.table, problems: [] };
}

/** Without a table every model is refused where costs are limited. */
export function priceProblems(
  policies: readonly Located<AccessPolicy | ClusterAccessPolicy>[],
): PlacedProblem[] {
  return policies
    .filter(({ object }) => object.spec.limits?.costPerDay !== undefined)
    .map(({ manifest }) => ({
      manifest,
      path: ["spec", "limits", "costPerDay"],
      message: `needs the price table: a ConfigMap ${priceTableName} with ${priceTableKey} among the manifests`,
    }));
}
