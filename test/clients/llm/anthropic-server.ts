// A server that speaks Anthropic's Messages API: the real wire format and key check, answers by what the last message says.
import type { ServerResponse } from "node:http";
import type { TestContext } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { example, piecesOf, scriptedServer, sendJson, type Asked, type Body } from "./scripted.ts";

export const realKey = "sk-ant-real";
/** What a detector finds in it must not reach an agent. */
export const secretText = "Ask jane@example.com, her card is 4111 1111 1111 1111.";
export const signature = Buffer.from("what only the provider reads, signed ".repeat(4)).toString(
  "base64",
);

type Block = Readonly<Record<string, unknown>> & { readonly type: string };

export const anthropicServer = (t: Pick<TestContext, "after">) => scriptedServer(t, answer);

async function answer(asked: Asked, response: ServerResponse): Promise<void> {
  response.setHeader("request-id", "req_01");
  // Newer SDKs send their key as a bearer token.
  const { authorization, "x-api-key": key = authorization?.replace(/^Bearer /, "") } =
    asked.headers;
  if (key !== realKey) return fail(response, 401, "authentication_error", "invalid x-api-key");
  if (asked.headers["anthropic-version"] === undefined)
    return fail(response, 400, "invalid_request_error", "anthropic-version: header is required");
  const path = asked.path.split("?")[0];
  switch (`${asked.method} ${path}`) {
    case "POST /v1/messages":
      return message(asked.body, response);
    case "POST /v1/messages/count_tokens":
      return sendJson(response, 200, { input_tokens: 14 });
    case "GET /v1/models":
      return sendJson(response, 200, {
        data: [model("claude-test"), model("claude-other")],
        has_more: false,
        first_id: "claude-test",
        last_id: "claude-other",
      });
    case "POST /v1/messages/batches":
    case "GET /v1/messages/batches/msgbatch_1":
      return sendJson(response, 200, batch);
    case "GET /v1/messages/batches/msgbatch_1/results":
      response.writeHead(200, { "content-type": "application/x-jsonl" });
      response.end(
        ["one", "two"]
          .map((custom_id) => ({
            custom_id,
            result: { type: "succeeded", message: whole([{ type: "text", text: secretText }], {}) },
          }))
          .map((line) => `${JSON.stringify(line)}\n`)
          .join(""),
      );
      return;
    default:
      return fail(response, 404, "not_found_error", "Not found");
  }
}

function fail(response: ServerResponse, status: number, type: string, text: string): void {
  sendJson(response, status, {
    type: "error",
    error: { type, message: text },
    request_id: "req_01",
  });
}

const model = (id: string) => ({
  type: "model",
  id,
  display_name: id,
  created_at: "2026-01-01T00:00:00Z",
});

const batch = {
  id: "msgbatch_1",
  type: "message_batch",
  processing_status: "ended",
  request_counts: { processing: 0, succeeded: 2, errored: 0, canceled: 0, expired: 0 },
  created_at: "2026-01-01T00:00:00Z",
  expires_at: "2026-01-02T00:00:00Z",
  ended_at: "2026-01-01T00:10:00Z",
  archived_at: null,
  cancel_initiated_at: null,
  // The API gives the whole URL.
  results_url: "/v1/messages/batches/msgbatch_1/results",
};

const usage = {
  input_tokens: 12,
  output_tokens: 9,
  cache_read_input_tokens: 100,
  cache_creation_input_tokens: 0,
};

function whole(content: readonly Block[], { model: name = "claude-test" }: Body) {
  return {
    id: "msg_01",
    type: "message",
    role: "assistant",
    model: name,
    content,
    stop_reason: content.some(({ type }) => type === "tool_use") ? "tool_use" : "end_turn",
    stop_sequence: null,
    usage,
  };
}

async function message(body: Body, response: ServerResponse): Promise<void> {
  const said = lastText(body);
  if (said.includes("overload")) return fail(response, 529, "overloaded_error", "Overloaded");
  const answered = whole(blocksFor(body, said), body);
  if (body["stream"] !== true) return sendJson(response, 200, answered);
  response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
  const send = (event: Block): unknown =>
    response.write(`event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
  const { content, stop_reason, ...head } = answered;
  send({
    type: "message_start",
    message: { ...head, content: [], stop_reason: null, usage: { ...usage, output_tokens: 1 } },
  });
  for (const [index, block] of content.entries()) {
    send({ type: "content_block_start", index, content_block: begun(block) });
    send({ type: "ping" });
    for (const delta of deltasOf(block)) {
      send({ type: "content_block_delta", index, delta });
      if (said.includes("break")) {
        send({ type: "error", error: { type: "overloaded_error", message: "Overloaded" } });
        response.end();
        return;
      }
      await wait(0);
    }
    send({ type: "content_block_stop", index });
  }
  send({
    type: "message_delta",
    delta: { stop_reason, stop_sequence: null },
    usage: { output_tokens: usage.output_tokens },
  });
  send({ type: "message_stop" });
  response.end();
}

function lastText({ messages }: Body): string {
  const last = (messages as Body[]).at(-1)?.["content"];
  return typeof last === "string" ? last : JSON.stringify(last);
}

function blocksFor(body: Body, said: string): Block[] {
  const tools = (body["tools"] ?? []) as Body[];
  const choice = (body["tool_choice"] ?? { type: "auto" }) as Body;
  const tool = tools.find(({ name }) => name === choice["name"]) ?? tools[0];
  const format = (body["output_config"] as Body | undefined)?.["format"] as Body | undefined;
  const thought: Block[] =
    body["thinking"] === undefined
      ? []
      : [{ type: "thinking", thinking: `I think: ${secretText}`, signature }];
  if (tool !== undefined && choice["type"] !== "none" && !said.includes("tool_result")) {
    const input = example(tool["input_schema"]) as Body;
    return [
      ...thought,
      { type: "text", text: "Let me see." },
      {
        type: "tool_use",
        id: "toolu_01",
        name: tool["name"],
        input: said.includes("secret") ? { ...input, note: secretText } : input,
      },
    ];
  }
  if (format !== undefined)
    return [{ type: "text", text: JSON.stringify(example(format["schema"])) }];
  if (!said.includes("secret")) return [...thought, { type: "text", text: "Hello there, you." }];
  return [
    ...thought,
    {
      type: "text",
      text: secretText,
      citations: [
        {
          type: "char_location",
          cited_text: secretText,
          document_index: 0,
          document_title: "People",
          start_char_index: 0,
          end_char_index: 10,
          file_id: null,
        },
      ],
    },
  ];
}

function begun(block: Block): Block {
  switch (block.type) {
    case "text":
      return { type: "text", text: "", ...(block["citations"] !== undefined && { citations: [] }) };
    case "thinking":
      return { type: "thinking", thinking: "", signature: "" };
    default:
      return { ...block, input: {} };
  }
}

function deltasOf(block: Block): Block[] {
  switch (block.type) {
    case "text":
      return [
        ...piecesOf(String(block["text"])).map((text) => ({ type: "text_delta", text })),
        ...((block["citations"] ?? []) as unknown[]).map((citation) => ({
          type: "citations_delta",
          citation,
        })),
      ];
    case "thinking":
      return [
        ...piecesOf(String(block["thinking"])).map((thinking) => ({
          type: "thinking_delta",
          thinking,
        })),
        { type: "signature_delta", signature },
      ];
    default:
      return piecesOf(JSON.stringify(block["input"])).map((partial_json) => ({
        type: "input_json_delta",
        partial_json,
      }));
  }
}
