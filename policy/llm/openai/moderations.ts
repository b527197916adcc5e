// The body of POST /moderations.
import { listOf, objectOf, readOptionalModel, readText } from "../reading.ts";
import type { Reading } from "../reading.ts";
import { noteAttachment } from "./parts.ts";

const bodyNames: ReadonlySet<string> = new Set(["model", "input"]);

export function readModeration(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", bodyNames);
  readOptionalModel(reading, body);
  const { input } = body;
  if (typeof input === "string") return readText(reading, input, "input", "user");
  for (const part of listOf(input, "input")) {
    readText(reading, [part], "input", "user");
    noteAttachment(reading, part);
  }
}
