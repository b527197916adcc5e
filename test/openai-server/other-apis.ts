// The rest of the API as SDKs meet it: older completions, moderations, pictures, sound, files and batches, and Ollama's own API. What they
// answer depends on what was asked alone.
import { isRecord } from "./agent.ts";
import type { Step } from "./script.ts";

type Json = Record<string, unknown>;

export interface Asked {
  /** `POST /v1/files`, without a query. */
  readonly target: string;
  /** The JSON of the body, or the fields of its form. */
  readonly body: Json;
  readonly step: Step | undefined;
  readonly sequence: number;
}

export type Said =
  | { readonly json: unknown }
  | { readonly type: string; readonly body: string | Buffer }
  | { readonly events: readonly unknown[] }
  | { readonly lines: readonly unknown[] };

type Api = (asked: Asked) => Said;

const seconds = 1_700_000_000;
const sound = Buffer.from("ID3 not really a sound");

const apis: Readonly<Record<string, Api>> = {
  "POST /v1/completions": completions,
  "POST /v1/moderations": ({ body }) => ({
    json: {
      id: "modr-1",
      model: body["model"] ?? "omni-moderation-latest",
      results: [{ flagged: false, categories: {}, category_scores: {} }],
    },
  }),
  "POST /v1/images/generations": image,
  "POST /v1/images/edits": image,
  "POST /v1/audio/speech": () => ({ type: "audio/mpeg", body: sound }),
  "POST /v1/audio/transcriptions": transcription,
  "POST /v1/audio/translations": transcription,
  "POST /v1/files": ({ body }) => ({ json: file(String(body["purpose"])) }),
  "GET /v1/files": () => ({ json: { object: "list", data: [file("batch")], has_more: false } }),
  "GET /v1/files/file-1": () => ({ json: file("batch") }),
  "GET /v1/files/file-1/content": () => ({
    type: "application/jsonl",
    body: '{"custom_id":"1"}\n',
  }),
  "DELETE /v1/files/file-1": () => ({
    json: { id: "file-1", object: "file", deleted: true },
  }),
  "POST /v1/batches": ({ body }) => ({ json: batch(body) }),
  "GET /v1/batches/batch-1": () => ({ json: batch({}) }),
  "POST /api/chat": ollamaChat,
  "POST /api/generate": ollamaGenerate,
  "POST /api/embed": ({ body }) => ({
    json: { model: body["model"], embeddings: [[0.1, 0.2]], prompt_eval_count: 2 },
  }),
  "GET /api/tags": () => ({
    json: { models: [{ name: "llama3.2:latest", model: "llama3.2:latest" }] },
  }),
};

export function otherApi(asked: Asked): Said | undefined {
  return apis[asked.target]?.(asked);
}

function words({ step }: Asked): string[] {
  return (step?.text ?? "").match(/\s*\S+/g) ?? [];
}

function completions(asked: Asked): Said {
  const pieces = words(asked);
  const head = {
    id: "cmpl-1",
    object: "text_completion",
    created: seconds,
    model: asked.body["model"],
  };
  const choice = (text: string, reason: string | null): Json => ({
    index: 0,
    text,
    logprobs: null,
    finish_reason: reason,
  });
  const usage = {
    prompt_tokens: 3,
    completion_tokens: pieces.length,
    total_tokens: 3 + pieces.length,
  };
  if (asked.body["stream"] !== true)
    return { json: { ...head, choices: [choice(pieces.join(""), "stop")], usage } };
  // As many servers do, the last piece comes with the end.
  return {
    events: pieces.map((text, index) => ({
      ...head,
      choices: [choice(text, index === pieces.length - 1 ? "stop" : null)],
    })),
  };
}

function image({ body }: Asked): Said {
  const prompt = String(body["prompt"]);
  return {
    json: {
      created: seconds,
      data: [{ b64_json: "aGVsbG8=", revised_prompt: `A picture: ${prompt}` }],
    },
  };
}

function transcription(asked: Asked): Said {
  const pieces = words(asked);
  const text = pieces.join("");
  if (asked.body["stream"] === "true")
    return {
      events: [
        ...pieces.map((delta) => ({ type: "transcript.text.delta", delta })),
        { type: "transcript.text.done", text },
      ],
    };
  if (asked.body["response_format"] === "text")
    return { type: "text/plain; charset=utf-8", body: text };
  return { json: { text, usage: { type: "duration", seconds: 1 } } };
}

function file(purpose: string): Json {
  return {
    id: "file-1",
    object: "file",
    bytes: 18,
    created_at: seconds,
    filename: "a.jsonl",
    purpose,
    status: "processed",
  };
}

function batch(body: Json): Json {
  return {
    id: "batch-1",
    object: "batch",
    endpoint: body["endpoint"] ?? "/v1/chat/completions",
    input_file_id: body["input_file_id"] ?? "file-1",
    completion_window: "24h",
    status: "validating",
    created_at: seconds,
  };
}

const ollamaHead = (model: unknown): Json => ({ model, created_at: "2026-11-30T00:00:00Z" });
const ollamaEnd: Json = { done: true, done_reason: "stop", prompt_eval_count: 3, eval_count: 2 };

function ollamaChat(asked: Asked): Said {
  const head = ollamaHead(asked.body["model"]);
  const calls = asked.step?.toolCalls?.map((call) => ({ function: call }));
  const message = (content: string): Json => ({ role: "assistant", content });
  if (asked.body["stream"] === false)
    return {
      json: {
        ...head,
        message: {
          ...message(words(asked).join("")),
          ...(calls !== undefined && { tool_calls: calls }),
        },
        ...ollamaEnd,
      },
    };
  return {
    lines: [
      ...words(asked).map((piece) => ({ ...head, message: message(piece), done: false })),
      ...(calls === undefined
        ? []
        : [{ ...head, message: { ...message(""), tool_calls: calls }, done: false }]),
      { ...head, message: message(""), ...ollamaEnd },
    ],
  };
}

function ollamaGenerate(asked: Asked): Said {
  const head = ollamaHead(asked.body["model"]);
  if (asked.body["stream"] === false)
    return { json: { ...head, response: words(asked).join(""), ...ollamaEnd, context: [1, 2] } };
  return {
    lines: [
      ...words(asked).map((response) => ({ ...head, response, done: false })),
      { ...head, response: "", ...ollamaEnd, context: [1, 2] },
    ],
  };
}

/** What a step is matched against, of any of these bodies. */
export function promptOf(body: Json): string {
  const { prompt, input, messages } = body;
  if (Array.isArray(messages)) {
    const last: unknown = messages.at(-1);
    return isRecord(last) ? String(last["content"]) : "";
  }
  const text = prompt ?? input;
  return typeof text === "string" ? text : "";
}
