// Chat completions as the OpenAI API writes them: one object, or chunks in which text and tool arguments arrive in pieces.
import { isRecord } from "./agent.ts";
import type { AgentRequest, Tool } from "./agent.ts";
import { textOf } from "./script.ts";
import type { ChatMessage, ScriptedToolCall, Step } from "./script.ts";

export interface ChatRequest {
  readonly model: string;
  readonly messages: readonly ChatMessage[];
  readonly stream?: boolean;
  readonly stream_options?: { readonly include_usage?: boolean } | null;
  readonly n?: number | null;
  readonly max_tokens?: number | null;
  readonly max_completion_tokens?: number | null;
  readonly tools?: readonly unknown[] | null;
  readonly tool_choice?: unknown;
  readonly response_format?: unknown;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

/** What a step answers to one request, before it is cut into an object or chunks. */
export interface Answer {
  readonly id: string;
  readonly created: number;
  readonly model: string;
  readonly pieces: readonly string[];
  readonly toolCalls: readonly { readonly id: string; readonly call: ScriptedToolCall }[];
  readonly finishReason: "stop" | "length" | "tool_calls";
  readonly usage: Usage;
  readonly choices: number;
}

/** One token of this server is a word with the space before it; near enough to count with, and the same at every run. */
const token = /\s*\S+/g;
/** How many characters of a tool's arguments one chunk carries: small, so that every reader meets a split in the middle. */
const argumentPieceLength = 7;

export function answerOf(step: Step, request: ChatRequest, sequence: number): Answer {
  const limit = request.max_completion_tokens ?? request.max_tokens ?? Infinity;
  const words = (step.text ?? "").match(token) ?? [];
  const pieces = words.slice(0, limit);
  const calls = step.toolCalls ?? [];
  const argumentTokens = calls.reduce(
    (sum, call) => sum + Math.ceil(JSON.stringify(call.arguments).length / 4) + 1,
    0,
  );
  const promptTokens = request.messages.reduce(
    (sum, message) => sum + 4 + (textOf(message).match(token)?.length ?? 0),
    3,
  );
  const choices = request.n ?? 1;
  const completionTokens = choices * (pieces.length + argumentTokens);
  return {
    id: `chatcmpl-${String(sequence).padStart(8, "0")}`,
    created: Math.floor(Date.now() / 1000),
    model: request.model,
    pieces,
    toolCalls: calls.map((call, index) => ({ id: `call_${sequence}_${index}`, call })),
    finishReason:
      calls.length > 0 ? "tool_calls" : pieces.length < words.length ? "length" : "stop",
    usage: {
      prompt_tokens: promptTokens,
      completion_tokens: completionTokens,
      total_tokens: promptTokens + completionTokens,
    },
    choices,
  };
}

export function agentRequest(request: ChatRequest): AgentRequest {
  const { tool_choice: choice, response_format: format } = request;
  const functions = (request.tools ?? [])
    .map((tool) => (isRecord(tool) ? tool["function"] : undefined))
    .filter(isRecord);
  const chosen = isRecord(choice) ? choice["function"] : undefined;
  const schema = isRecord(format) ? format["json_schema"] : undefined;
  return {
    messages: request.messages,
    tools: functions.map((one): Tool => ({
      name: String(one["name"]),
      parameters: one["parameters"],
    })),
    toolChoice: isRecord(chosen)
      ? String(chosen["name"])
      : typeof choice === "string"
        ? choice
        : "auto",
    format:
      isRecord(format) && format["type"] !== "text"
        ? { schema: isRecord(schema) ? schema["schema"] : undefined }
        : undefined,
  };
}

export function completion(answer: Answer): unknown {
  const message = {
    role: "assistant",
    content: answer.pieces.length > 0 ? answer.pieces.join("") : null,
    ...(answer.toolCalls.length > 0 && {
      tool_calls: answer.toolCalls.map(({ id, call }) => ({
        id,
        type: "function",
        function: { name: call.name, arguments: JSON.stringify(call.arguments) },
      })),
    }),
    refusal: null,
    annotations: [],
  };
  const choices = Array.from({ length: answer.choices }, (_, index) => ({
    index,
    message,
    logprobs: null,
    finish_reason: answer.finishReason,
  }));
  return { ...envelope(answer, "chat.completion"), choices, usage: usageObject(answer.usage) };
}

/** Every chunk of the stream, without the final `[DONE]`. */
export function chunks(answer: Answer, includeUsage: boolean): unknown[] {
  const head = envelope(answer, "chat.completion.chunk");
  const usage = includeUsage ? { usage: null } : {};
  const result: unknown[] = [];
  for (let index = 0; index < answer.choices; index++) {
    const push = (delta: unknown, finishReason: string | null): void => {
      result.push({
        ...head,
        choices: [{ index, delta, logprobs: null, finish_reason: finishReason }],
        ...usage,
      });
    };
    push(
      {
        role: "assistant",
        content: answer.toolCalls.length > 0 && answer.pieces.length === 0 ? null : "",
        refusal: null,
      },
      null,
    );
    for (const piece of answer.pieces) push({ content: piece }, null);
    for (const [position, { id, call }] of answer.toolCalls.entries()) {
      push(
        {
          tool_calls: [
            { index: position, id, type: "function", function: { name: call.name, arguments: "" } },
          ],
        },
        null,
      );
      for (const piece of split(JSON.stringify(call.arguments)))
        push({ tool_calls: [{ index: position, function: { arguments: piece } }] }, null);
    }
    push({}, answer.finishReason);
  }
  if (includeUsage) result.push({ ...head, choices: [], usage: usageObject(answer.usage) });
  return result;
}

function envelope(answer: Answer, object: string): Record<string, unknown> {
  return {
    id: answer.id,
    object,
    created: answer.created,
    model: answer.model,
    service_tier: "default",
    system_fingerprint: "fp_scripted",
  };
}

function usageObject(usage: Usage): unknown {
  return {
    ...usage,
    prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
    completion_tokens_details: {
      reasoning_tokens: 0,
      audio_tokens: 0,
      accepted_prediction_tokens: 0,
      rejected_prediction_tokens: 0,
    },
  };
}

function split(text: string): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < text.length; at += argumentPieceLength)
    pieces.push(text.slice(at, at + argumentPieceLength));
  return pieces;
}
