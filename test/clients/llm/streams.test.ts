// Masked streams in the very readers of the SDKs: whatever the texts are, and whatever they are cut into, they parse, and say what the
// masked answer says that is not streamed.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { before, test } from "node:test";
import fc from "fast-check";
import { anthropic } from "../../../policy/llm/anthropic/provider.ts";
import { gemini } from "../../../policy/llm/gemini/provider.ts";
import { chunksOf, maskedBody, masker } from "../../../policy/llm/mask-fixture.ts";
import { cutAt, cuts, texts } from "../../../policy/mask/stream-fixture.ts";
import { npmPackages } from "../cache.ts";
import { nodeSdks } from "./packages.ts";

interface AnthropicClient {
  readonly messages: {
    stream(request: unknown): { finalMessage(): Promise<{ content: Record<string, unknown>[] }> };
  };
}
interface GeminiClient {
  readonly models: {
    generateContentStream(request: unknown): Promise<AsyncIterable<{ text?: string }>>;
  };
}
type Fetch = () => Promise<Response>;

let sdks: {
  readonly anthropic: (fetch: Fetch) => AnthropicClient;
  readonly gemini: () => GeminiClient;
};

before(async () => {
  const require = createRequire(`${await npmPackages(nodeSdks)}/`);
  const Anthropic = require("@anthropic-ai/sdk") as new (options: unknown) => AnthropicClient;
  const { GoogleGenAI } = require("@google/genai") as {
    GoogleGenAI: new (options: unknown) => GeminiClient;
  };
  sdks = {
    anthropic: (fetch) => new Anthropic({ apiKey: "x", fetch, maxRetries: 0 }),
    gemini: () => new GoogleGenAI({ apiKey: "x" }),
  };
});

/** The bytes in any pieces, as a body that streams. */
function answered(bytes: Buffer, cut: "each" | readonly number[]): Response {
  return new Response(ReadableStream.from(chunksOf(bytes, cut).map((one) => new Uint8Array(one))), {
    headers: { "content-type": "text/event-stream" },
  });
}

const sse = (
  events: readonly { readonly type?: string; readonly candidates?: unknown }[],
): string =>
  events
    .map(
      (event) =>
        `${event.type === undefined ? "" : `event: ${event.type}\n`}data: ${JSON.stringify(event)}\n\n`,
    )
    .join("");

test("Anthropic's reads a message with text and a tool call", async () => {
  await fc.assert(
    fc.asyncProperty(texts, texts, cuts, cuts, async (text, to, cut, chunks) => {
      const block = (index: number, content: object, deltas: readonly object[]) => [
        { type: "content_block_start", index, content_block: content },
        ...deltas.map((delta) => ({ type: "content_block_delta", index, delta })),
        { type: "content_block_stop", index },
      ];
      const head = { id: "msg_1", type: "message", role: "assistant", model: "m", content: [] };
      const usage = { input_tokens: 1, output_tokens: 1 };
      const body = sse([
        { type: "message_start", message: { ...head, stop_reason: null, usage } as object },
        ...block(
          0,
          { type: "text", text: "" },
          cutAt(text, cut).map((one) => ({ type: "text_delta", text: one })),
        ),
        ...block(
          1,
          { type: "tool_use", id: "t", name: "mail", input: {} },
          cutAt(JSON.stringify({ to }), cut).map((partial_json) => ({
            type: "input_json_delta",
            partial_json,
          })),
        ),
        { type: "message_delta", delta: { stop_reason: "tool_use" }, usage },
        { type: "message_stop" },
      ] as { type: string }[]);
      const { bytes } = maskedBody(anthropic, "text/event-stream", chunksOf(body, chunks));
      const { content } = await sdks
        .anthropic(() => Promise.resolve(answered(bytes, chunks)))
        .messages.stream({ model: "m", max_tokens: 1, messages: [] })
        .finalMessage();
      assert.deepEqual(
        [content[0]?.["text"], content[1]?.["input"]],
        [masker.whole(text, {}), { to: masker.whole(to, {}) }],
      );
    }),
    { numRuns: 100 },
  );
});

test("Google's reads content", async (t) => {
  const { fetch } = globalThis;
  t.after(() => {
    globalThis.fetch = fetch;
  });
  await fc.assert(
    fc.asyncProperty(texts, cuts, cuts, async (text, cut, chunks) => {
      const body = sse(
        cutAt(text, cut).map((one) => ({
          candidates: [{ index: 0, content: { role: "model", parts: [{ text: one }] } }],
        })),
      );
      const { bytes } = maskedBody(gemini, "text/event-stream", chunksOf(body, chunks));
      globalThis.fetch = () => Promise.resolve(answered(bytes, chunks));
      let said = "";
      const stream = await sdks
        .gemini()
        .models.generateContentStream({ model: "m", contents: "hi" });
      for await (const chunk of stream) said += chunk.text ?? "";
      assert.equal(said, masker.whole(text, {}));
    }),
    { numRuns: 100 },
  );
});
