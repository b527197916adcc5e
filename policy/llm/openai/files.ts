// The form of POST /files: what is kept at the provider for later requests.
import { addAttachment } from "../reading.ts";
import type { Reading } from "../reading.ts";
import { readForm } from "./forms.ts";

const formNames: ReadonlySet<string> = new Set(["purpose", "file"]);

export function readUpload(reading: Reading, value: unknown): void {
  const { files } = readForm(value, formNames);
  for (const { type } of files) addAttachment(reading, "file", type, "inline");
  // What is in a file nobody looks into.
  reading.promptsUnreadable = true;
}
