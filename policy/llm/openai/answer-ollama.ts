// What Ollama's own API answered: one object, or a line of a stream that is made like it.
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import { numberOf, objects } from "../gathering.ts";
import type { Gathering } from "../gathering.ts";

export function readOllama(gathered: Gathering, body: JsonObject): void {
  if (typeof body["done"] !== "boolean") return;
  gathered.addThinking(0, body["thinking"]);
  gathered.addText(0, body["response"]);
  const { message } = body;
  if (isObject(message)) {
    gathered.addThinking(0, message["thinking"]);
    gathered.addText(0, message["content"]);
    for (const { function: called } of objects(message["tool_calls"])) readCall(gathered, called);
  }
  if (body["done"] && typeof body["prompt_eval_count"] === "number")
    gathered.usage = {
      input: body["prompt_eval_count"],
      output: numberOf(body["eval_count"], 0),
    };
}

/** Calls come whole, each of its own. */
function readCall(gathered: Gathering, called: unknown): void {
  if (!isObject(called)) return;
  const key = `call ${gathered.calls}`;
  gathered.nameCall(key, called["name"]);
  gathered.addArguments(key, JSON.stringify(called["arguments"] ?? {}));
}
