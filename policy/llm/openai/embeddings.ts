// The body of POST /embeddings.
import { objectOf, readModel, wordOf } from "../reading.ts";
import type { Reading } from "../reading.ts";
import { readPrompts } from "./completions.ts";

const bodyNames: ReadonlySet<string> = new Set(["model", "input", "user"]);

export function readEmbeddings(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", bodyNames);
  readModel(reading, body);
  readPrompts(reading, body["input"]);
  reading.user = wordOf(body["user"]);
}
