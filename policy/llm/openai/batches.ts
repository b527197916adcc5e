// The body of POST /batches: it names a file of requests, whose models, tools and prompts are not to be seen here.
import { nameOf, objectOf } from "../reading.ts";
import type { Reading } from "../reading.ts";

const bodyNames: ReadonlySet<string> = new Set(["input_file_id", "endpoint"]);

export function readBatch(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", bodyNames);
  nameOf(body["input_file_id"], "input_file_id");
  reading.modelUnsaid = true;
  reading.toolsUnreadable = true;
  reading.promptsUnreadable = true;
}
