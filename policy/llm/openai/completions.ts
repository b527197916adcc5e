// The body of POST /completions, which takes text without roles.
import type { JsonObject } from "../json.ts";
import {
  addText,
  countOf,
  listOf,
  NotUnderstood,
  objectOf,
  readLimit,
  readModel,
  readStream,
  readText,
  wordOf,
} from "../reading.ts";
import type { Reading } from "../reading.ts";

const bodyNames: ReadonlySet<string> = new Set([
  "model",
  "prompt",
  "suffix",
  "stream",
  "max_tokens",
  "n",
  "best_of",
  "user",
  "prompt_embeds",
]);

export function readCompletions(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", bodyNames);
  readModel(reading, body);
  readStream(reading, body);
  readLimit(reading, body, ["max_tokens"]);
  readPrompts(reading, body["prompt"]);
  readText(reading, body["suffix"], "suffix", "user");
  if ((body["prompt_embeds"] ?? null) !== null) reading.promptsUnreadable = true;
  reading.user = wordOf(body["user"]);
  reading.answers = answersOf(body);
}

/** Text, several texts, or numbers of tokens in the place of each. */
export function readPrompts(reading: Reading, prompt: unknown): void {
  if (typeof prompt === "string") return addText(reading, prompt, "user");
  for (const one of listOf(prompt, "prompt")) {
    if (typeof one === "string") addText(reading, one, "user");
    else if (isTokens(one)) reading.promptsUnreadable = true;
    else throw new NotUnderstood("the prompt is neither text nor tokens");
  }
}

/** Token numbers instead of text, as LangChain's OpenAIEmbeddings sends them. */
function isTokens(value: unknown): boolean {
  return (
    typeof value === "number" ||
    (Array.isArray(value) && value.every((token) => typeof token === "number"))
  );
}

/** Each prompt is answered `n` times, chosen out of `best_of`. */
export function answersOf(body: JsonObject): number {
  const { prompt } = body;
  const texts = Array.isArray(prompt) && typeof prompt[0] !== "number" ? prompt.length : 1;
  const each = Math.max(countOf(body["n"], "n"), countOf(body["best_of"], "best_of"));
  return Math.max(1, texts) * each;
}
