// A masked stream parses in the real SDK, whatever the text, the pieces of it and the pieces of the body: what it puts together is the masked
// text of the whole answer.
import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";
import OpenAI from "openai";

import { chunksOf, masker } from "../../policy/llm/mask-fixture.ts";
import { bodyMasker } from "../../policy/llm/mask-answer.ts";
import { openAi } from "../../policy/llm/openai/provider.ts";
import { cutAt, cuts, texts } from "../../policy/mask/stream-fixture.ts";
import { completion, chunks } from "../openai-server/chat.ts";
import type { Answer } from "../openai-server/chat.ts";
import { respond } from "../openai-server/responses.ts";

/** An SDK whose server says this, masked on its way. */
function clientOf(contentType: string, body: string, at: "each" | readonly number[]): OpenAI {
  const stream = bodyMasker(contentType, openAi, masker, {});
  assert.ok(typeof stream === "object" && "push" in stream);
  const pieces = chunksOf(body, at).map((piece) => Buffer.from(stream.push(piece)));
  const masked = Buffer.concat([...pieces, Buffer.from(stream.end())]);
  return new OpenAI({
    apiKey: "x",
    maxRetries: 0,
    fetch: async () => new Response(masked, { headers: { "content-type": contentType } }),
  });
}

const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };
const sse = (events: readonly unknown[], end: string): string =>
  events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("") + end;
const ask = { model: "m", messages: [{ role: "user" as const, content: "hi" }] };
/** What a server would never send: half a character. */
const wholeTexts = texts.map((text) => text.toWellFormed());

test("a chat completion: streamed and whole, the SDK puts the same message together", async () => {
  await fc.assert(
    fc.asyncProperty(wholeTexts, wholeTexts, cuts, cuts, async (text, inner, cut, at) => {
      const answer: Answer = {
        id: "chatcmpl-1",
        created: 1,
        model: "m",
        pieces: text === "" ? [] : cutAt(text, cut).map((piece) => piece),
        toolCalls: [{ id: "call_1", call: { name: "f", arguments: { inner } } }],
        finishReason: "tool_calls",
        usage,
        choices: 1,
      };
      const whole = await clientOf(
        "application/json",
        JSON.stringify(completion(answer)),
        at,
      ).chat.completions.create(ask);
      const body = sse(chunks(answer, true), "data: [DONE]\n\n");
      const streamed = await clientOf("text/event-stream", body, at)
        .chat.completions.stream(ask)
        .finalChatCompletion();
      const [one, other] = [whole, streamed].map(({ choices }) => choices[0]?.message);
      assert.equal(other?.content ?? "", one?.content ?? "");
      assert.equal(one?.content ?? "", masker.whole(text, {}));
      for (const message of [one, other]) {
        const call = message?.tool_calls?.[0];
        assert.ok(call?.type === "function");
        assert.deepEqual(JSON.parse(call.function.arguments), { inner: masker.whole(inner, {}) });
      }
      assert.deepEqual(streamed.usage?.total_tokens, 3);
    }),
    { numRuns: 60 },
  );
});

test("a response: streamed and whole, the SDK puts the same output together", async () => {
  await fc.assert(
    fc.asyncProperty(wholeTexts, wholeTexts, cuts, async (text, inner, at) => {
      const step = { text, toolCalls: [{ name: "f", arguments: { inner } }] };
      const { whole, events } = respond(step, { model: "m", input: "hi" }, 1);
      const client = clientOf("application/json", JSON.stringify(whole), at);
      const plain = await client.responses.create({ model: "m", input: "hi" });
      const streaming = clientOf("text/event-stream", sse(events, ""), at);
      const stream = streaming.responses.stream({ model: "m", input: "hi" });
      let spelled = "";
      for await (const event of stream)
        if (event.type === "response.output_text.delta") spelled += event.delta;
      const final = await stream.finalResponse();
      assert.equal(spelled, plain.output_text);
      assert.equal(final.output_text, plain.output_text);
      const call = final.output.find(({ type }) => type === "function_call");
      assert.ok(call?.type === "function_call");
      assert.deepEqual(JSON.parse(call.arguments), { inner: masker.whole(inner, {}) });
    }),
    { numRuns: 60 },
  );
});
