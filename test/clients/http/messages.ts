// The Messages API of Anthropic, scripted: one answer, whole or as a stream of events, and the API's own errors.
import { bodyOf, json, type Request, type Response } from "./answers.ts";

const words = ["one ", "two ", "three"] as const;
const usage = { input_tokens: 9, output_tokens: words.length } as const;

export async function messages(key: string, request: Request, response: Response): Promise<void> {
  const body: unknown = JSON.parse((await bodyOf(request)).toString("utf8"));
  const asked = typeof body === "object" && body !== null ? { ...body } : {};
  // Its SDKs send the key as a bearer token; the header that its documentation shows for curl is x-api-key.
  const { authorization } = request.headers;
  if (request.headers["x-api-key"] !== key && authorization !== `Bearer ${key}`) {
    refuse(response, 401, "authentication_error", "invalid x-api-key");
    return;
  }
  if (!("model" in asked) || asked.model !== "claude-test") {
    refuse(
      response,
      404,
      "not_found_error",
      `model: ${"model" in asked ? String(asked.model) : ""}`,
    );
    return;
  }
  const message = {
    id: "msg_1",
    type: "message",
    role: "assistant",
    model: asked.model,
    content: [{ type: "text", text: words.join("") }],
    stop_reason: "end_turn",
    stop_sequence: null,
    usage,
  };
  if (!("stream" in asked) || asked.stream !== true) {
    json(response, 200, message);
    return;
  }
  response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
  const event = (type: string, value: object): void => {
    response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...value })}\n\n`);
  };
  event("message_start", { message: { ...message, content: [], stop_reason: null } });
  event("content_block_start", { index: 0, content_block: { type: "text", text: "" } });
  for (const text of words)
    event("content_block_delta", { index: 0, delta: { type: "text_delta", text } });
  event("content_block_stop", { index: 0 });
  event("message_delta", { delta: { stop_reason: "end_turn", stop_sequence: null }, usage });
  event("message_stop", {});
  response.end();
}

function refuse(response: Response, status: number, type: string, message: string): void {
  json(response, status, { type: "error", error: { type, message }, request_id: "req_1" });
}
