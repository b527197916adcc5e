// The responses API: one object, or its events, out of the same answers as chat completions.
import { isRecord } from "./agent.ts";
import type { AgentRequest, Tool } from "./agent.ts";
import { answerOf } from "./chat.ts";
import type { Answer } from "./chat.ts";
import type { ChatMessage, Step } from "./script.ts";

type Json = Record<string, unknown>;

/** The conversation as chat would have it. */
export function messagesOf(body: Json): ChatMessage[] {
  const { input, instructions } = body;
  const first: ChatMessage[] =
    typeof instructions === "string" ? [{ role: "system", content: instructions }] : [];
  if (typeof input === "string") return [...first, { role: "user", content: input }];
  return [...first, ...(Array.isArray(input) ? input.map(messageOf) : [])];
}

function messageOf(item: unknown): ChatMessage {
  if (!isRecord(item)) return { role: "user", content: "" };
  if (item["type"] === "function_call") return { role: "assistant", content: null };
  if (item["type"] === "function_call_output")
    return { role: "tool", content: JSON.stringify(item["output"]) };
  const content = item["content"];
  return {
    role: typeof item["role"] === "string" ? item["role"] : "user",
    content: typeof content === "string" || Array.isArray(content) ? content : "",
  };
}

export function agentRequestOf(body: Json): AgentRequest {
  const tools = Array.isArray(body["tools"]) ? body["tools"].filter(isRecord) : [];
  const choice = body["tool_choice"];
  const text = isRecord(body["text"]) ? body["text"]["format"] : undefined;
  return {
    messages: messagesOf(body),
    tools: tools.map((tool): Tool => ({
      name: String(tool["name"]),
      parameters: tool["parameters"],
    })),
    toolChoice: isRecord(choice)
      ? String(choice["name"])
      : typeof choice === "string"
        ? choice
        : "auto",
    format: isRecord(text) && text["type"] !== "text" ? { schema: text["schema"] } : undefined,
  };
}

export function respond(step: Step, body: Json, sequence: number): { whole: Json; events: Json[] } {
  const limit = body["max_output_tokens"];
  const answer = answerOf(
    step,
    {
      model: String(body["model"]),
      messages: messagesOf(body),
      ...(typeof limit === "number" && { max_tokens: limit }),
    },
    sequence,
  );
  const output = outputOf(answer);
  const whole = { ...envelope(answer, body, "completed"), output, usage: usageOf(answer) };
  return { whole, events: numbered(eventsOf(answer, body, output, whole)) };
}

function envelope(answer: Answer, body: Json, status: string): Json {
  return {
    id: answer.id.replace("chatcmpl-", "resp_"),
    object: "response",
    created_at: answer.created,
    status,
    error: null,
    incomplete_details: null,
    instructions: body["instructions"] ?? null,
    metadata: {},
    model: answer.model,
    output: [],
    parallel_tool_calls: true,
    temperature: 1,
    text: body["text"] ?? { format: { type: "text" } },
    tool_choice: body["tool_choice"] ?? "auto",
    tools: body["tools"] ?? [],
    top_p: 1,
    truncation: "disabled",
    usage: null,
  };
}

function usageOf({ usage }: Answer): Json {
  return {
    input_tokens: usage.prompt_tokens,
    input_tokens_details: { cached_tokens: 0 },
    output_tokens: usage.completion_tokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: usage.total_tokens,
  };
}

function outputOf(answer: Answer): Json[] {
  const calls = answer.toolCalls.map(({ id, call }) => ({
    type: "function_call",
    id: id.replace("call_", "fc_"),
    call_id: id,
    name: call.name,
    arguments: JSON.stringify(call.arguments),
    status: "completed",
  }));
  if (answer.pieces.length === 0) return calls;
  const message = {
    type: "message",
    id: answer.id.replace("chatcmpl-", "msg_"),
    role: "assistant",
    status: "completed",
    content: [part(answer.pieces.join(""))],
  };
  return [message, ...calls];
}

function part(text: string): Json {
  return { type: "output_text", text, annotations: [], logprobs: [] };
}

function eventsOf(answer: Answer, body: Json, output: readonly Json[], whole: Json): Json[] {
  const started = envelope(answer, body, "in_progress");
  return [
    { type: "response.created", response: started },
    { type: "response.in_progress", response: started },
    ...output.flatMap((item, index) =>
      item["type"] === "message" ? messageEvents(answer, item, index) : callEvents(item, index),
    ),
    { type: "response.completed", response: whole },
  ];
}

function messageEvents(answer: Answer, item: Json, index: number): Json[] {
  const at = { item_id: item["id"], output_index: index, content_index: 0 };
  const text = answer.pieces.join("");
  return [
    {
      type: "response.output_item.added",
      output_index: index,
      item: { ...item, status: "in_progress", content: [] },
    },
    { type: "response.content_part.added", ...at, part: part("") },
    ...answer.pieces.map((delta) => ({
      type: "response.output_text.delta",
      ...at,
      delta,
      logprobs: [],
    })),
    { type: "response.output_text.done", ...at, text, logprobs: [] },
    { type: "response.content_part.done", ...at, part: part(text) },
    { type: "response.output_item.done", output_index: index, item },
  ];
}

function callEvents(item: Json, index: number): Json[] {
  const at = { item_id: item["id"], output_index: index };
  const given = String(item["arguments"]);
  const deltas = given.match(/.{1,7}/gs) ?? [];
  return [
    {
      type: "response.output_item.added",
      output_index: index,
      item: { ...item, status: "in_progress", arguments: "" },
    },
    ...deltas.map((delta) => ({ type: "response.function_call_arguments.delta", ...at, delta })),
    {
      type: "response.function_call_arguments.done",
      ...at,
      name: item["name"],
      arguments: given,
    },
    { type: "response.output_item.done", output_index: index, item },
  ];
}

function numbered(events: readonly Json[]): Json[] {
  return events.map((event, index) => ({ ...event, sequence_number: index }));
}
