// What every answer of an OpenAI-compatible API says beside its text: what it cost, and what went wrong.
import { isObject } from "../json.ts";
import { numberOf } from "../gathering.ts";
import type { Gathering } from "../gathering.ts";

/** chat and embeddings say prompt and completion, responses and transcripts say input and output. */
export function readUsage(gathered: Gathering, usage: unknown): void {
  if (!isObject(usage)) return;
  const input = usage["input_tokens"] ?? usage["prompt_tokens"];
  const output = usage["output_tokens"] ?? usage["completion_tokens"];
  if (typeof input !== "number") return;
  const cached = cachedOf(usage["prompt_tokens_details"] ?? usage["input_tokens_details"]);
  gathered.usage = {
    input,
    output: numberOf(output, 0),
    ...(cached > 0 && { cacheRead: cached }),
  };
}

function cachedOf(details: unknown): number {
  return isObject(details) ? numberOf(details["cached_tokens"], 0) : 0;
}

/** An object with a message, or the message alone. */
export function readError(gathered: Gathering, error: unknown): void {
  const message: unknown = isObject(error) ? error["message"] : error;
  if (typeof message === "string") gathered.fail(message);
}
