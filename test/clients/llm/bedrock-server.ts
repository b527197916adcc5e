// A server that speaks Amazon Bedrock's runtime API: Converse and InvokeModel, whole and as event streams.
import type { ServerResponse } from "node:http";
import type { TestContext } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { stringHeader, writtenFrame } from "../../../policy/llm/framing/aws-frames.ts";
import { secretText, signature } from "./anthropic-server.ts";
import { example, piecesOf, scriptedServer, sendJson, type Asked, type Body } from "./scripted.ts";

export const bedrockServer = (t: Pick<TestContext, "after">) => scriptedServer(t, answer);

const usage = { inputTokens: 12, outputTokens: 9, totalTokens: 21 };

async function answer(asked: Asked, response: ServerResponse): Promise<void> {
  const [, action] = /^\/model\/[^/]+\/([a-z-]+)$/.exec(asked.path) ?? [];
  const said = JSON.stringify((asked.body["messages"] as unknown[] | undefined)?.at(-1) ?? "");
  if (said.includes("overload")) {
    response.setHeader("x-amzn-errortype", "ThrottlingException");
    return sendJson(response, 429, { message: "Too many requests" });
  }
  switch (action) {
    case "converse":
      return sendJson(response, 200, {
        output: { message: { role: "assistant", content: blocksFor(asked.body, said) } },
        stopReason: "end_turn",
        usage,
        metrics: { latencyMs: 7 },
      });
    case "converse-stream":
      return stream(response, converseEvents(blocksFor(asked.body, said), said));
    case "invoke":
      return sendJson(response, 200, {
        type: "message",
        role: "assistant",
        content: [{ type: "text", text: secretText }],
        usage: { input_tokens: 12, output_tokens: 9 },
      });
    case "invoke-with-response-stream":
      return stream(
        response,
        claudeEvents().map((event) => [
          "chunk",
          { bytes: Buffer.from(JSON.stringify(event)).toString("base64"), p: "abcd" },
        ]),
      );
    default:
      return sendJson(response, 404, { message: "Not found" });
  }
}

type Named = readonly [name: string, data: unknown];

async function stream(response: ServerResponse, events: readonly Named[]): Promise<void> {
  response.writeHead(200, { "content-type": "application/vnd.amazon.eventstream" });
  for (const [name, data] of events) {
    const isException = name.endsWith("Exception");
    response.write(
      writtenFrame({
        headers: [
          stringHeader(isException ? ":exception-type" : ":event-type", name),
          stringHeader(":content-type", "application/json"),
          stringHeader(":message-type", isException ? "exception" : "event"),
        ],
        payload: Buffer.from(JSON.stringify(data)),
      }),
    );
    await wait(0);
  }
  response.end();
}

function blocksFor(body: Body, said: string): Body[] {
  const tools = (body["toolConfig"] as { tools?: { toolSpec: Body }[] } | undefined)?.tools;
  const spec = tools?.[0]?.toolSpec;
  if (spec !== undefined && !said.includes("toolResult")) {
    const input = example((spec["inputSchema"] as Body)["json"]) as Body;
    return [
      { text: "Let me see." },
      {
        toolUse: {
          toolUseId: "tooluse_1",
          name: spec["name"],
          input: { ...input, note: secretText },
        },
      },
    ];
  }
  if (!said.includes("secret")) return [{ text: "Hello there, you." }];
  return [
    { reasoningContent: { reasoningText: { text: `I think: ${secretText}`, signature } } },
    { text: secretText },
  ];
}

function converseEvents(blocks: readonly Body[], said: string): Named[] {
  const events: Named[] = [["messageStart", { role: "assistant", p: "abc" }]];
  for (const [contentBlockIndex, block] of blocks.entries()) {
    const delta = (one: unknown): void => {
      events.push(["contentBlockDelta", { contentBlockIndex, delta: one, p: "abcdef" }]);
    };
    const { toolUse, reasoningContent, text } = block as {
      toolUse?: Body;
      reasoningContent?: { reasoningText: { text: string } };
      text?: string;
    };
    if (toolUse !== undefined) {
      const { input, ...start } = toolUse;
      events.push(["contentBlockStart", { contentBlockIndex, start: { toolUse: start } }]);
      for (const piece of piecesOf(JSON.stringify(input))) delta({ toolUse: { input: piece } });
    }
    for (const piece of piecesOf(reasoningContent?.reasoningText.text ?? ""))
      delta({ reasoningContent: { text: piece } });
    if (reasoningContent !== undefined) delta({ reasoningContent: { signature } });
    for (const piece of piecesOf(text ?? "")) delta({ text: piece });
    if (said.includes("break")) {
      events.push(["modelStreamErrorException", { message: "It broke" }]);
      return events;
    }
    events.push(["contentBlockStop", { contentBlockIndex }]);
  }
  events.push(["messageStop", { stopReason: "end_turn" }]);
  events.push(["metadata", { usage, metrics: { latencyMs: 7 } }]);
  return events;
}

function claudeEvents(): Body[] {
  return [
    {
      type: "message_start",
      message: { content: [], usage: { input_tokens: 12, output_tokens: 1 } },
    },
    { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
    ...piecesOf(secretText).map((text) => ({
      type: "content_block_delta",
      index: 0,
      delta: { type: "text_delta", text },
    })),
    { type: "content_block_stop", index: 0 },
    { type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { output_tokens: 9 } },
    { type: "message_stop" },
  ];
}
