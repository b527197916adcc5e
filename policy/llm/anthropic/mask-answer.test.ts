import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { cutAt, cuts, texts } from "../../mask/stream-fixture.ts";
import { maskJson } from "../../mask/stream-json.ts";
import { chunksOf, eventsOf, maskedBody, masker } from "../mask-fixture.ts";
import { anthropicShape } from "./mask-shape.ts";
import { anthropic } from "./provider.ts";

type Cut = "each" | readonly number[];

const signature = Buffer.from("only the provider reads this ".repeat(4)).toString("base64");

const said = fc.record({
  thinking: texts,
  text: texts,
  cited: texts,
  calls: fc.array(fc.record({ to: texts, aws_secret: texts }), { maxLength: 2 }),
});
type Said = typeof said extends fc.Arbitrary<infer T> ? T : never;

const citation = (cited: string) => ({
  type: "char_location",
  cited_text: cited,
  document_index: 0,
  document_title: cited,
  start_char_index: 0,
  end_char_index: 3,
});

const usage = { input_tokens: 10, output_tokens: 20, cache_read_input_tokens: 5 };

function messageOf({ thinking, text, cited, calls }: Said) {
  return {
    id: "msg_01",
    type: "message",
    role: "assistant",
    model: "claude-opus-4-5",
    content: [
      { type: "thinking", thinking, signature },
      { type: "text", text, citations: [citation(cited)] },
      ...calls.map((input, index) => ({
        type: "tool_use",
        id: `toolu_${index}`,
        name: "mail",
        input,
      })),
    ],
    stop_reason: "end_turn",
    stop_sequence: null,
    usage,
  };
}

function streamOf(what: Said, cut: Cut, end: string): string {
  const message = messageOf(what);
  const block = (index: number, begun: object, deltas: readonly object[]) => [
    { type: "content_block_start", index, content_block: begun },
    { type: "ping" },
    ...deltas.map((delta) => ({ type: "content_block_delta", index, delta })),
    { type: "content_block_stop", index },
  ];
  const events = [
    { type: "message_start", message: { ...message, content: [], stop_reason: null } },
    ...block(0, { type: "thinking", thinking: "", signature: "" }, [
      ...cutAt(what.thinking, cut).map((thinking) => ({ type: "thinking_delta", thinking })),
      { type: "signature_delta", signature },
    ]),
    ...block(1, { type: "text", text: "" }, [
      ...cutAt(what.text, cut).map((text) => ({ type: "text_delta", text })),
      { type: "citations_delta", citation: citation(what.cited) },
    ]),
    ...what.calls.flatMap((input, index) =>
      block(
        index + 2,
        { type: "tool_use", id: `toolu_${index}`, name: "mail", input: {} },
        cutAt(JSON.stringify(input), cut).map((partial_json) => ({
          type: "input_json_delta",
          partial_json,
        })),
      ),
    ),
    { type: "message_delta", delta: { stop_reason: "end_turn", stop_sequence: null }, usage },
    { type: "message_stop" },
  ];
  return events
    .map((event) => `event: ${event.type}${end}data: ${JSON.stringify(event)}${end}${end}`)
    .join("");
}

interface Block {
  type: string;
  text?: string;
  thinking?: string;
  signature?: string;
  citations?: unknown[];
  input?: unknown;
  partial?: string;
}

/** What the tests read of an event. */
interface StreamEvent {
  readonly type: string;
  readonly index: number;
  readonly content_block: Block;
  readonly usage: unknown;
  readonly delta: {
    readonly type: string;
    readonly text?: string;
    readonly thinking?: string;
    readonly signature?: string;
    readonly partial_json?: string;
    readonly citation?: unknown;
  };
}

/** As an SDK puts a message together from its events. */
function assembled(text: string): { content: Block[]; usage: unknown; names: unknown[] } {
  const content: Block[] = [];
  const open = new Set<number>();
  let ends = 0;
  let lastUsage: unknown;
  const events = eventsOf(text);
  for (const { name, data } of events) {
    const event = data as StreamEvent;
    const { type, index } = event;
    assert.equal(name, type);
    if (type === "content_block_start") {
      open.add(index);
      content[index] = { ...event.content_block, partial: "" };
    }
    if (type === "content_block_delta") {
      assert.ok(open.has(index), "a delta outside of its block");
      const block = content[index];
      assert.ok(block);
      const { delta } = event;
      switch (delta.type) {
        case "text_delta":
          block.text += delta.text ?? "";
          break;
        case "thinking_delta":
          assert.equal(block.signature, "", "thinking after its signature");
          block.thinking += delta.thinking ?? "";
          break;
        case "signature_delta":
          block.signature = delta.signature ?? "";
          break;
        case "citations_delta":
          (block.citations ??= []).push(delta.citation);
          break;
        case "input_json_delta":
          block.partial += delta.partial_json ?? "";
          break;
        default:
          assert.fail(`a delta of type ${delta.type}`);
      }
    }
    if (type === "content_block_stop") open.delete(index);
    if (type === "message_delta") lastUsage = event.usage;
    if (type === "message_stop") ends += 1;
  }
  assert.deepEqual([ends, open.size], [1, 0]);
  return {
    content: content.map(({ partial = "", ...block }) =>
      block.type === "tool_use" ? { ...block, input: JSON.parse(partial) as unknown } : block,
    ),
    usage: lastUsage,
    names: events.map(({ name }) => name),
  };
}

describe("a message", () => {
  test("says the same masked text streamed as it says whole, however it is cut", () => {
    fc.assert(
      fc.property(
        said,
        cuts,
        cuts,
        fc.constantFrom("\n", "\r\n", "\r"),
        (what, cut, chunks, end) => {
          const whole = maskedBody(
            anthropic,
            "application/json",
            chunksOf(JSON.stringify(messageOf(what)), chunks),
          );
          const stream = maskedBody(
            anthropic,
            "text/event-stream; charset=utf-8",
            chunksOf(streamOf(what, cut, end), chunks),
          );
          const message = JSON.parse(whole.text) as { content: Block[]; usage: unknown };
          const shown = assembled(stream.text);
          assert.deepEqual(shown.content, message.content);
          assert.deepEqual(shown.usage, usage);
          assert.deepEqual(message.usage, usage);
          assert.equal(message.content[0]?.signature, signature);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("holds nothing back that could not become part of a finding", () => {
    const what = { thinking: "Let me see. ", text: "All is well. ", cited: "", calls: [] };
    const { names } = assembled(
      maskedBody(anthropic, "text/event-stream", [Buffer.from(streamOf(what, [0.5], "\n"))]).text,
    );
    assert.deepEqual(
      names,
      eventsOf(streamOf(what, [0.5], "\n")).map(({ name }) => name),
    );
  });

  test("a value over two deltas is masked, and what was held back is a delta before the block ends", () => {
    const what = { thinking: "", text: "mail jane@example.com", cited: "", calls: [] };
    const { text, counts } = maskedBody(anthropic, "text/event-stream", [
      Buffer.from(streamOf(what, [0.6], "\n")),
    ]);
    assert.equal(assembled(text).content[1]?.text, "mail [redacted]");
    assert.deepEqual(counts, { email: 1 });
    assert.ok(!text.includes("jane"));
  });

  test("an error that breaks the stream comes after what was held back", () => {
    const body = [
      { type: "content_block_start", index: 0, content_block: { type: "text", text: "mail jane" } },
      { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "@example.co" } },
      { type: "error", error: { type: "overloaded_error", message: "ask jane@example.com" } },
    ]
      .map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
      .join("");
    const { text } = maskedBody(anthropic, "text/event-stream", [Buffer.from(body)]);
    assert.ok(!text.includes("jane"));
    assert.deepEqual(
      eventsOf(text).map(({ name }) => name),
      ["content_block_start", "content_block_delta", "content_block_delta", "error"],
    );
    assert.match(text, /overloaded_error.*ask \[redacted\]/);
  });

  test("the results of a batch are masked line by line", () => {
    const line = (text: string) =>
      JSON.stringify({
        custom_id: "4111-1111-1111-1111",
        result: {
          type: "succeeded",
          message: messageOf({ thinking: "", text, cited: "", calls: [] }),
        },
      });
    for (const type of ["application/x-jsonl", "application/jsonl"]) {
      const { text } = maskedBody(
        anthropic,
        type,
        chunksOf(`${line("ask jane@example.com")}\n${line("ask joe@example.com")}\n`, [0.3, 0.31]),
      );
      assert.deepEqual(
        text
          .trim()
          .split("\n")
          .map((one) => JSON.parse(one).result.message.content[1].text),
        ["ask [redacted]", "ask [redacted]"],
      );
    }
  });
});

describe("a request", () => {
  const masked = (body: unknown) =>
    JSON.parse(
      maskJson(
        { masker, counts: {}, shape: anthropicShape, otherwise: "refuse" },
        JSON.stringify(body),
      ),
    );

  test("is masked in every text, and keeps its identifiers, pictures and signatures", () => {
    const picture = Buffer.alloc(90, "4111111111111111").toString("base64");
    const body = {
      model: "claude-opus-4-5",
      max_tokens: 100,
      system: [{ type: "text", text: "{}", cache_control: { type: "ephemeral" } }],
      messages: [
        { role: "user", content: "{}" },
        {
          role: "user",
          content: [
            { type: "image", source: { type: "base64", media_type: "image/png", data: picture } },
            { type: "document", source: { type: "text", media_type: "text/plain", data: "{}" } },
            {
              type: "document",
              source: { type: "content", content: [{ type: "text", text: "{}" }] },
            },
          ],
        },
        {
          role: "assistant",
          content: [
            { type: "redacted_thinking", data: signature },
            { type: "tool_use", id: "toolu_123456789012", name: "mail", input: { id: "{}" } },
          ],
        },
        {
          role: "user",
          content: [{ type: "tool_result", tool_use_id: "toolu_123456789012", content: "{}" }],
        },
      ],
      metadata: { user_id: "{}" },
      tools: [{ name: "mail", description: "{}", input_schema: { type: "object", title: "{}" } }],
    };
    for (const value of ["jane@example.com", "4111111111111111", "123-45-6789"]) {
      const filled = (with_: string): unknown =>
        JSON.parse(JSON.stringify(body).replaceAll('"{}"', JSON.stringify(with_)));
      assert.deepEqual(masked(filled(value)), filled("[redacted]"));
    }
  });
});
