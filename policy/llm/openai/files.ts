// The form of POST /files: what is kept at the provider for later requests.
import type { HttpFacts } from "../../operation.ts";
import type { Route } from "../provider.ts";
import { addAttachment, NotUnderstood, wordOf } from "../reading.ts";
import type { Reading } from "../reading.ts";
import { readBatchFile } from "./batch-file.ts";
import { readForm } from "./forms.ts";

const formNames: ReadonlySet<string> = new Set(["purpose", "file"]);

/** @param routeOf the operation of a request that stands in the file of a batch */
export function readUpload(
  reading: Reading,
  value: unknown,
  http: HttpFacts,
  routeOf: (http: HttpFacts) => Route | undefined,
): void {
  const { fields, files } = readForm(value, formNames);
  for (const { type } of files) addAttachment(reading, "file", type, "inline");
  if (wordOf(fields["purpose"]).trim().toLowerCase() !== "batch") {
    // What is in another file nobody looks into.
    reading.promptsUnreadable = true;
    return;
  }
  const [file] = files;
  if (file === undefined || files.length > 1)
    throw new NotUnderstood("the requests of a batch come in one file");
  reading.requests = readBatchFile(file.bytes, http, routeOf);
}
