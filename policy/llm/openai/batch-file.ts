// The file of a batch: JSON lines, of which each is a request of its own and read as if it were sent alone.
// https://platform.openai.com/docs/guides/batch
import type { HttpFacts, LlmOperation } from "../../operation.ts";
import { parseStrict } from "../json.ts";
import type { Route } from "../provider.ts";
import { llmOperation } from "../recognise.ts";
import { NotUnderstood, objectOf, startReading } from "../reading.ts";

/** Requests of one file; each is decided on before anything else can be, so there are fewer than the 50,000 that OpenAI takes. */
export const maxLines = 10_000;

const lineNames: ReadonlySet<string> = new Set(["custom_id", "method", "url", "body"]);
/** Where a request of a batch may go. */
const urlPath = /^\/[\w./-]+$/;

/** @param http of the upload  @param routeOf the operation of a request to this path. Throws NotUnderstood, with the line. */
export function readBatchFile(
  bytes: Uint8Array,
  http: HttpFacts,
  routeOf: (http: HttpFacts) => Route | undefined,
): readonly LlmOperation[] {
  const lines = textOf(bytes)
    .split("\n")
    .map((text, index) => ({ text: text.trim(), number: index + 1 }))
    .filter(({ text }) => text !== "");
  if (lines.length === 0) throw new NotUnderstood("the file of the batch has no requests");
  if (lines.length > maxLines)
    throw new NotUnderstood(`the file of the batch has more than ${maxLines} requests`);
  return lines.map(({ text, number }) => {
    try {
      return readLine(text, http, routeOf);
    } catch (error) {
      if (!(error instanceof NotUnderstood)) throw error;
      throw new NotUnderstood(`line ${number} of the batch: ${error.message}`);
    }
  });
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new NotUnderstood("the file of the batch is no UTF-8");
  }
}

function readLine(
  text: string,
  http: HttpFacts,
  routeOf: (http: HttpFacts) => Route | undefined,
): LlmOperation {
  const parsed = parseStrict(text);
  if ("problem" in parsed) throw new NotUnderstood(parsed.problem);
  const { method, url, body } = objectOf(parsed.value, "a request", lineNames);
  if (method !== "POST" || typeof url !== "string" || !urlPath.test(url))
    throw new NotUnderstood("a request has the method POST, and a url that is a path");
  const of: HttpFacts = { ...http, method, path: url, query: {}, contentType: "application/json" };
  const route = routeOf(of);
  if (route?.body !== "json" || !batched.has(route.operation))
    throw new NotUnderstood(`${url.slice(0, 64)} is no operation of a batch that rules know`);
  const reading = startReading();
  route.read(reading, body);
  if (Object.keys(reading.members).length > 0)
    throw new NotUnderstood("the body names another model than the url");
  return llmOperation(of, route.operation, reading, undefined);
}

const batched: ReadonlySet<string> = new Set([
  "chat",
  "responses",
  "completions",
  "embeddings",
  "moderations",
  "images",
]);
