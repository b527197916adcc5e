// The body of POST /embeddings.
import { listOf, NotUnderstood, objectOf, readModel, readText } from "../reading.ts";
import type { Reading } from "../reading.ts";

const bodyNames: ReadonlySet<string> = new Set(["model", "models", "fallbacks", "input"]);

export function readEmbeddings(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", bodyNames);
  readModel(reading, body);
  const { input } = body;
  if (typeof input === "string") return readText(reading, input, "input", "user");
  for (const text of listOf(input, "input")) {
    if (typeof text === "string") readText(reading, text, "input", "user");
    else if (isTokens(text)) reading.promptsUnreadable = true;
    else throw new NotUnderstood("input is neither text nor tokens");
  }
}

/** Token numbers instead of text, as LangChain's OpenAIEmbeddings sends them. */
function isTokens(value: unknown): boolean {
  return (
    typeof value === "number" ||
    (Array.isArray(value) && value.every((token) => typeof token === "number"))
  );
}
