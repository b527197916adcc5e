// What of a statement is kept where it did not run, and shown to those who are asked whether it may.
import type { SqlOperation } from "../../policy/operation.ts";
import { maxSummaryLength } from "../../policy/sql/summary.ts";
import type { Content } from "../pipeline.ts";

/**
 * Its parameters where the summary says the statement whole, else the statement with them behind it: what is approved must
 * be there to be read to its end.
 *
 * @param text as it would run
 */
export function heldContent({ params, summary }: SqlOperation, text: string): Content {
  if (params.length === 0) return { part: "request", text };
  const bound = JSON.stringify(params);
  if (summary.length < maxSummaryLength) return { part: "params", text: bound };
  return { part: "request", text: `${text}\n${bound}` };
}
