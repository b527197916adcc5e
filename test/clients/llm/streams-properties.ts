// The properties of masked streams in the very readers of the SDKs, checked in a thread of their own: streams.test.ts runs it.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { workerData } from "node:worker_threads";
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

const require = createRequire(`${await npmPackages(nodeSdks)}/`);

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

async function anthropicReads(): Promise<void> {
  const Anthropic = require("@anthropic-ai/sdk") as new (options: unknown) => AnthropicClient;
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
      const fetch: Fetch = () => Promise.resolve(answered(bytes, chunks));
      const { content } = await new Anthropic({ apiKey: "x", fetch, maxRetries: 0 }).messages
        .stream({ model: "m", max_tokens: 1, messages: [] })
        .finalMessage();
      assert.deepEqual(
        [content[0]?.["text"], content[1]?.["input"]],
        [masker.whole(text, {}), { to: masker.whole(to, {}) }],
      );
    }),
    { numRuns: 100 },
  );
}

async function googleReads(): Promise<void> {
  const { GoogleGenAI } = require("@google/genai") as {
    GoogleGenAI: new (options: unknown) => GeminiClient;
  };
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
      const stream = await new GoogleGenAI({ apiKey: "x" }).models.generateContentStream({
        model: "m",
        contents: "hi",
      });
      for await (const chunk of stream) said += chunk.text ?? "";
      assert.equal(said, masker.whole(text, {}));
    }),
    { numRuns: 100 },
  );
}

/** By the name that streams.test.ts gives. */
const properties: ReadonlyMap<unknown, () => Promise<void>> = new Map([
  ["anthropic", anthropicReads],
  ["google", googleReads],
]);

const property = properties.get(workerData);
assert.ok(property !== undefined, `no property of ${String(workerData)}`);
await property();
