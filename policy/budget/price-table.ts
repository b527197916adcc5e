// The price table as people write it: YAML in a ConfigMap. Apart from price.ts, which proxies load.
import { parse } from "yaml";
import type { Price, PriceTable } from "./price.ts";

/** The ConfigMap that holds the table: in the operator's own namespace, or among the manifests in local mode. */
export const priceTableName = "chaperone-prices";
/** Its key. */
export const priceTableKey = "prices.yaml";

/** Entries of one table; a provider has some dozens of models. */
const maxPrices = 1_000;
const maxModels = 64;
/** A million tokens for more than this is a slip of the pen. */
const maxPrice = 1_000_000;
/** So is a longer answer: models stop at some hundred thousand tokens. */
const maxAnswer = 10_000_000;

/**
 * The table as written.
 *
 * @example
 * prices.yaml: |
 *   - {models: [gpt-5-mini*], input: 0.25, output: 2}
 *   - {models: ["gpt-5*"], input: 1.25, output: 10, maxOutputTokens: 128000}
 */
export function readPriceTable(
  text: string,
): { readonly table: PriceTable } | { readonly problem: string } {
  let value: unknown;
  try {
    value = parse(text, { maxAliasCount: 0 });
  } catch {
    return { problem: "is no YAML" };
  }
  if (!Array.isArray(value)) return { problem: "is no list of {models, input, output}" };
  if (value.length > maxPrices) return { problem: `has more than ${maxPrices} entries` };
  const table: Price[] = [];
  for (const [index, entry] of value.entries()) {
    const read = readPrice(entry);
    if (typeof read === "string") return { problem: `entry ${index}: ${read}` };
    table.push(read);
  }
  return { table };
}

function readPrice(entry: unknown): Price | string {
  if (typeof entry !== "object" || entry === null) return "is no {models, input, output}";
  const { models, input, output, maxOutputTokens, ...others } = entry as Readonly<
    Record<string, unknown>
  >;
  const unknown = Object.keys(others)[0];
  if (unknown !== undefined) return `has no field ${unknown.slice(0, 64)}`;
  if (!isModels(models)) return `models is a list of 1 to ${maxModels} model names or patterns`;
  if (!isPrice(input)) return `input is a price for a million tokens, from 0 to ${maxPrice}`;
  if (!isPrice(output)) return `output is a price for a million tokens, from 0 to ${maxPrice}`;
  if (maxOutputTokens === undefined) return { models, input, output };
  if (!isLength(maxOutputTokens))
    return `maxOutputTokens is the longest answer of these models in tokens, from 1 to ${maxAnswer}`;
  return { models, input, output, maxOutputTokens };
}

function isModels(value: unknown): value is readonly string[] {
  return (
    Array.isArray(value) &&
    value.length > 0 &&
    value.length <= maxModels &&
    value.every((name) => typeof name === "string" && /^[!-~]{1,128}$/.test(name))
  );
}

function isLength(value: unknown): value is number {
  return (
    typeof value === "number" && Number.isSafeInteger(value) && value >= 1 && value <= maxAnswer
  );
}

function isPrice(value: unknown): value is number {
  return typeof value === "number" && value >= 0 && value <= maxPrice;
}
