// The bodies of POST /images/generations, /images/edits and /images/variations.
import type { JsonObject } from "../json.ts";
import {
  addAttachment,
  objectOf,
  readOptionalModel,
  readStream,
  readText,
  wordOf,
} from "../reading.ts";
import type { Reading } from "../reading.ts";
import { readForm } from "./forms.ts";

const bodyNames: ReadonlySet<string> = new Set(["model", "prompt", "stream", "user"]);

export function readGeneration(reading: Reading, value: unknown): void {
  readImage(reading, objectOf(value, "the body", bodyNames));
}

export function readEdit(reading: Reading, value: unknown): void {
  const { fields, files } = readForm(value, bodyNames);
  readImage(reading, fields);
  for (const { type } of files) addAttachment(reading, "image", type, "inline");
}

function readImage(reading: Reading, body: JsonObject): void {
  readOptionalModel(reading, body);
  readStream(reading, body);
  readText(reading, body["prompt"], "prompt", "user");
  reading.user = wordOf(body["user"]);
}
