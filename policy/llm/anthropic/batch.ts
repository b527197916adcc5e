// The body of POST /v1/messages/batches: requests for messages, of which each is read as if it were sent alone.
import { addAttachment, addTool, NotUnderstood, objectOf, startReading } from "../reading.ts";
import type { Reading } from "../reading.ts";
import { readMessages } from "./messages.ts";

const bodyNames: ReadonlySet<string> = new Set(["requests"]);
const requestNames: ReadonlySet<string> = new Set(["custom_id", "params"]);

export function readBatch(reading: Reading, value: unknown): void {
  const body = objectOf(value, "the body", bodyNames);
  if (!Array.isArray(body["requests"])) throw new NotUnderstood("requests is no list");
  for (const one of body["requests"]) {
    const single = startReading();
    readMessages(single, objectOf(one, "a request of the batch", requestNames)["params"]);
    add(reading, single);
  }
}

/** The limit is of each, what is asked for is all of them; of models, rules see one. */
function add(reading: Reading, single: Reading): void {
  if (reading.model !== "" && reading.model !== single.model)
    throw new NotUnderstood("the requests of the batch name several models; send a batch for each");
  reading.model = single.model;
  const { maxOutputTokens } = single;
  if (maxOutputTokens !== null)
    reading.maxOutputTokens = Math.min(
      maxOutputTokens + (reading.maxOutputTokens ?? 0),
      Number.MAX_SAFE_INTEGER,
    );
  for (const tool of single.offered) addTool(reading, tool, "offered");
  for (const tool of single.called) addTool(reading, tool, "called");
  for (const name of ["prompts", "toolResults"] as const)
    for (const text of single[name]) reading[name].push(text);
  for (const message of single.messages) reading.messages.push(message);
  for (const { kind, mediaType, source } of single.attachments)
    addAttachment(reading, kind, mediaType, source);
  reading.reasoning ||= single.reasoning;
  reading.promptsUnreadable ||= single.promptsUnreadable;
}
