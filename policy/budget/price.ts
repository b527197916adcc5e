// What tokens cost: a table of model patterns, and the sum for one request. Pure.
import { compilePattern, matches } from "../pattern.ts";

/** Per million tokens, in whatever currency the table is written: the same in which `costPerDay` is. */
export interface Price {
  /** Model names, `*` is a wildcard. */
  readonly models: readonly string[];
  readonly input: number;
  readonly output: number;
  /** Tokens of the longest answer that these models give, where it is known: what a request without a limit of its own is reserved. */
  readonly maxOutputTokens?: number;
}

export type PriceTable = readonly Price[];

/** A request's tokens; output counts what is hidden too, as providers do. */
export interface Tokens {
  readonly input: number;
  readonly output: number;
}

/** The first entry that names the model counts. */
export function priceOf(table: PriceTable, model: string): Price | undefined {
  return table.find(({ models }) =>
    models.some((pattern) => matches(compilePattern(pattern), model)),
  );
}

/** In millionths of the currency, rounded up: a price for a million tokens is that for one in millionths. */
export function costOf(price: Price, { input, output }: Tokens): number {
  return Math.ceil(input * price.input + output * price.output);
}
