// The bodies of POST /audio/speech, /audio/transcriptions and /audio/translations.
import { addAttachment, objectOf, readModel, readStream, readText, wordOf } from "../reading.ts";
import type { Reading } from "../reading.ts";
import { readForm } from "./forms.ts";

const speechNames: ReadonlySet<string> = new Set([
  "model",
  "input",
  "instructions",
  "stream_format",
]);

export function readSpeech(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", speechNames);
  readModel(reading, body);
  reading.stream = body["stream_format"] === "sse";
  readText(reading, body["instructions"], "instructions", "system");
  readText(reading, body["input"], "input", "user");
}

const formNames: ReadonlySet<string> = new Set(["model", "prompt", "stream", "response_format"]);

/** The prompt tells the model how names are spelled, or what was said before. */
export function readTranscription(reading: Reading, value: unknown): void {
  const { fields, files } = readForm(value, formNames);
  readModel(reading, fields);
  readStream(reading, fields);
  readText(reading, fields["prompt"], "prompt", "user");
  reading.responseFormat = wordOf(fields["response_format"]).endsWith("json") ? "json" : "";
  for (const { type } of files) addAttachment(reading, "audio", type, "inline");
}
