import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { detectorNames } from "../../mask/detectors.ts";
import { cutAt, cuts, texts } from "../../mask/stream-fixture.ts";
import { NotMaskable } from "../../mask/stream-json.ts";
import { createStreamMasker, type Counts } from "../../mask/stream.ts";
import { bodyMasker } from "../mask-answer.ts";
import type { LlmProvider } from "../provider.ts";
import { openAi } from "./provider.ts";

const masker = createStreamMasker(
  detectorNames.map((detector) => ({ detector, transform: { kind: "redact" }, policy: "a/b" })),
  Buffer.alloc(32),
);

function maskedBody(
  contentType: string,
  parts: readonly Uint8Array[],
  provider: LlmProvider | "any" = openAi,
): { text: string; counts: Counts } {
  const counts: Counts = {};
  const body = bodyMasker(contentType, provider === "any" ? undefined : provider, masker, counts);
  assert.ok(typeof body === "object" && "push" in body);
  return { text: parts.map((part) => body.push(part)).join("") + body.end(), counts };
}

/** Bytes cut anywhere, characters of several bytes too. */
function chunksOf(text: string, at: "each" | readonly number[]): Buffer[] {
  const bytes = Buffer.from(text);
  return cutAt(bytes.toString("latin1"), at).map((part) => Buffer.from(part, "latin1"));
}

const lineEnds = fc.constantFrom("\n", "\r\n", "\r");
const usage = { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 };

interface Said {
  readonly content: string;
  readonly refusal: string;
  readonly calls: readonly string[];
}

const said = fc.record<Said>({
  content: texts,
  refusal: texts,
  calls: fc.array(
    fc.oneof(
      texts.map((text) => JSON.stringify({ text, aws_secret: text })),
      texts,
    ),
    { maxLength: 2 },
  ),
});

function chatEvents({ content, refusal, calls }: Said, cut: "each" | readonly number[]): unknown[] {
  const head = { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "gpt-5" };
  const chunk = (delta: unknown, more: object = {}) => ({
    ...head,
    choices: [
      {
        index: 0,
        delta,
        logprobs: { content: [{ token: content }] },
        finish_reason: null,
        ...more,
      },
    ],
  });
  return [
    chunk({ role: "assistant", content: "" }),
    ...cutAt(content, cut).map((part) => chunk({ content: part })),
    ...cutAt(refusal, cut).map((part) => chunk({ refusal: part })),
    ...calls.flatMap((text, index) => [
      chunk({
        tool_calls: [
          { index, id: `call_${index}`, type: "function", function: { name: "f", arguments: "" } },
        ],
      }),
      ...cutAt(text, cut).map((part) =>
        chunk({ tool_calls: [{ index, function: { arguments: part } }] }),
      ),
    ]),
    chunk({}, { finish_reason: "stop" }),
    { ...head, choices: [], usage },
  ];
}

function sse(events: readonly unknown[], end: string): string {
  const lines = events.map((event) => `data: ${JSON.stringify(event)}${end}${end}`);
  return `: keep-alive${end}${end}${lines.join("")}data: [DONE]${end}${end}`;
}

interface Delta {
  readonly content?: string;
  readonly refusal?: string;
  readonly tool_calls?: readonly {
    readonly index: number;
    readonly function: { readonly arguments: string };
  }[];
}

/** What the tests read of an event. */
interface Shown {
  readonly id?: string;
  readonly type?: string;
  readonly sequence_number?: number;
  readonly delta?: string;
  readonly text?: string;
  readonly arguments?: string;
  readonly usage?: unknown;
  readonly choices?: readonly {
    readonly delta: Delta;
    readonly finish_reason: string | null;
    readonly logprobs?: unknown;
  }[];
  readonly response?: {
    readonly usage: { readonly output_tokens: number };
    readonly output: readonly {
      readonly arguments?: string;
      readonly content?: readonly {
        readonly text: string;
        readonly annotations: readonly { readonly title: string }[];
      }[];
    }[];
  };
}

function dataOf(text: string): Shown[] {
  return text
    .split("\n\n")
    .filter((event) => event.startsWith("data: {") || event.startsWith("event: "))
    .map((event) => JSON.parse(event.slice(event.indexOf("data: ") + 6)));
}

describe("a chat completion", () => {
  test("that says its last words beside its finish_reason says them in their order", () => {
    fc.assert(
      fc.property(texts, cuts, (text, cut) => {
        const parts = cutAt(text, cut);
        const body = parts
          .map((content, at) => ({
            choices: [
              {
                index: 0,
                delta: { content },
                finish_reason: at === parts.length - 1 ? "stop" : null,
              },
            ],
          }))
          .map((event) => `data: ${JSON.stringify(event)}\n\n`)
          .join("");
        const shown = dataOf(maskedBody("text/event-stream", [Buffer.from(body)]).text);
        const spelled = shown.map((event) => event["choices"]?.[0]?.delta.content ?? "").join("");
        assert.equal(spelled, masker.whole(text, {}));
      }),
      { numRuns: 200 },
    );
  });

  test("says the same masked text streamed as it says whole, however it is cut", () => {
    fc.assert(
      fc.property(said, cuts, cuts, lineEnds, (what, cut, chunks, end) => {
        const whole = JSON.stringify({
          id: "chatcmpl-1",
          model: "gpt-5",
          choices: [
            {
              index: 0,
              message: {
                role: "assistant",
                content: what.content,
                refusal: what.refusal,
                tool_calls: what.calls.map((text, index) => ({
                  index,
                  id: `call_${index}`,
                  type: "function",
                  function: { name: "f", arguments: text },
                })),
              },
              finish_reason: "stop",
            },
          ],
          usage,
        });
        const json = maskedBody("application/json", chunksOf(whole, chunks));
        const body = sse(chatEvents(what, cut), end);
        const stream = maskedBody("text/event-stream", chunksOf(body, chunks));
        const message = JSON.parse(json.text).choices[0].message;
        const deltas = dataOf(stream.text).flatMap((event) => event["choices"]?.[0]?.delta ?? []);
        const spelled = (name: "content" | "refusal") =>
          deltas.map((delta) => delta[name] ?? "").join("");
        assert.equal(spelled("content"), message.content);
        assert.equal(spelled("refusal"), message.refusal);
        for (const [index, call] of message.tool_calls.entries()) {
          const pieces = deltas
            .flatMap((delta) => delta.tool_calls ?? [])
            .filter((one) => one.index === index)
            .map((one) => one.function.arguments);
          assert.equal(pieces.join(""), call.function.arguments);
        }
        assert.deepEqual(stream.counts, json.counts);
        for (const event of dataOf(stream.text)) assert.equal(event["id"], "chatcmpl-1");
        assert.ok(stream.text.endsWith("data: [DONE]\n\n"));
      }),
      { numRuns: 100 },
    );
  });

  test("gives out what was held back before it says why it finished, and spells nothing in logprobs", () => {
    const events = chatEvents(
      { content: "write to jane@example.com", refusal: "", calls: ['{"a":"4111 1111 1111 1111"}'] },
      "each",
    );
    const { text, counts } = maskedBody("text/event-stream; charset=utf-8", [
      Buffer.from(sse(events, "\n")),
    ]);
    const shown = dataOf(text);
    const finished = shown.findIndex((event) => event["choices"]?.[0]?.finish_reason === "stop");
    assert.deepEqual(shown[finished - 1]?.["choices"], [
      { index: 0, finish_reason: null, delta: { content: "[redacted]" } },
    ]);
    assert.deepEqual(shown.at(-1)?.["usage"], usage);
    assert.deepEqual(counts, { email: 1, "credit-card": 1 });
    for (const event of shown) assert.ok(!event["choices"]?.[0]?.logprobs);
    assert.doesNotMatch(text, /jane|4111/);
  });

  test("masks errors, and what is no JSON", () => {
    const { text } = maskedBody("text/event-stream", [
      Buffer.from(
        'data: {"error":{"message":"no jane\\u0040example.com","type":"x"}}\n\ndata: oops jane@example.com\n\nevent: note\ndata\n\ndata: {"a":1}',
      ),
    ]);
    assert.match(text, /^data: {"error":{"message":"no \[redacted\]","type":"x"}}\n\n/);
    assert.match(text, /data: oops \[redacted\]\n\nevent: note\ndata: \n\ndata: {"a":1}\n\n$/);
  });
});

describe("a response", () => {
  const events = (text: string, args: string, cut: "each" | readonly number[]): unknown[] => {
    let number = 0;
    const at = { item_id: "msg_1", output_index: 0, content_index: 0 };
    const call = { item_id: "fc_1", output_index: 1 };
    const output = [
      {
        type: "message",
        id: "msg_1",
        role: "assistant",
        content: [
          {
            type: "output_text",
            text,
            annotations: [
              {
                type: "url_citation",
                url: "https://a.example/?m=jane@example.com",
                title: "jane@example.com",
              },
            ],
          },
        ],
      },
      { type: "function_call", id: "fc_1", call_id: "call_1", name: "f", arguments: args },
    ];
    return [
      { type: "response.created", response: { id: "resp_1", status: "in_progress" } },
      ...cutAt(text, cut).map((delta) => ({
        type: "response.output_text.delta",
        ...at,
        delta,
        logprobs: [{ token: delta }],
      })),
      { type: "response.output_text.done", ...at, text },
      ...cutAt(args, cut).map((delta) => ({
        type: "response.function_call_arguments.delta",
        ...call,
        delta,
      })),
      { type: "response.function_call_arguments.done", ...call, arguments: args },
      {
        type: "response.completed",
        response: { id: "resp_1", output, usage: { input_tokens: 1, output_tokens: 2 } },
      },
    ].map((event) => ({ ...event, sequence_number: number++ }));
  };

  test("whose parts speak by turns gives out what was held of one under that part's own name", () => {
    const delta = (item: number, text: string): string =>
      `data: ${JSON.stringify({ type: "response.output_text.delta", item_id: `item_${item}`, delta: text })}\n\n`;
    const done = `data: ${JSON.stringify({ type: "response.output_text.done", item_id: "item_0", text: "" })}\n\n`;
    const events = [
      // What such events have in common is read once, from the third on; each digit gives out the one that was held longest.
      ...Array.from({ length: 400 }, () => [delta(0, "1"), delta(1, "and ")]).flat(),
      done,
    ].join("");
    const { text } = maskedBody("text/event-stream", [Buffer.from(events)]);
    const spelled: Record<string, string> = {};
    for (const [, json = ""] of text.matchAll(/^data: (.*)$/gm)) {
      const { type, item_id: item, delta: said } = JSON.parse(json) as Record<string, string>;
      if (type?.endsWith(".delta") === true)
        spelled[item ?? ""] = (spelled[item ?? ""] ?? "") + said;
    }
    assert.equal(spelled["item_0"], "1".repeat(400));
    assert.match(spelled["item_1"] ?? "", /^(?:and )*(?:and)? ?$/);
  });

  test("says in its deltas what its full texts say, numbered without a gap", () => {
    fc.assert(
      fc.property(texts, texts, cuts, cuts, (text, inner, deltas, chunks) => {
        const body = events(text, JSON.stringify({ inner }), deltas)
          .map(
            (event) =>
              `event: ${(event as { type: string }).type}\ndata: ${JSON.stringify(event)}\n\n`,
          )
          .join("");
        const shown = dataOf(maskedBody("text/event-stream", chunksOf(body, chunks)).text);
        assert.deepEqual(
          shown.map((event) => event["sequence_number"]),
          [...shown.keys()],
        );
        const spelled = (type: string) =>
          shown
            .filter((event) => event["type"] === type)
            .map((event) => event["delta"])
            .join("");
        const done = shown.find((event) => event["type"] === "response.output_text.done");
        assert.equal(spelled("response.output_text.delta"), done?.["text"]);
        assert.equal(done?.["text"], masker.whole(text, {}));
        const args = shown.find(
          (event) => event["type"] === "response.function_call_arguments.done",
        );
        assert.equal(spelled("response.function_call_arguments.delta"), args?.["arguments"]);
        assert.deepEqual(JSON.parse(args?.["arguments"] ?? ""), { inner: masker.whole(inner, {}) });
        const { response } = shown.at(-1) ?? {};
        const [message, call] = response?.output ?? [];
        assert.equal(message?.content?.[0]?.text, done?.["text"]);
        assert.equal(message?.content?.[0]?.annotations[0]?.title, "[redacted]");
        assert.equal(call?.arguments, args?.["arguments"]);
        assert.equal(response?.usage.output_tokens, 2);
      }),
      { numRuns: 100 },
    );
  });
});

describe("bodies of any server", () => {
  const one = (type: string, body: string): string =>
    maskedBody(type, chunksOf(body, "each"), "any").text;

  test("are masked by what they are", () => {
    assert.equal(one("text/plain", "mail jane@example.com é"), "mail [redacted] é");
    assert.equal(
      one("application/problem+json", '{"id":"jane@example.com"}'),
      '{"id":"[redacted]"}',
    );
    assert.equal(
      one("application/x-ndjson", '{"a":"a@b.io"}\n{"b":"\\u0061@b.io"}\n'),
      '{"a":"[redacted]"}\n{"b":"[redacted]"}\n',
    );
    assert.equal(
      one("text/event-stream", 'id: 7\ndata: {"a":"a@b.io"}\n\n'),
      'id: 7\ndata: {"a":"[redacted]"}\n\n',
    );
  });

  test("that nobody can look into are refused, but for pictures and sound", () => {
    const answer = (type: string) => bodyMasker(type, undefined, masker, {});
    assert.equal(answer("image/png"), "nothing to mask");
    for (const [type, reason] of [
      ["application/pdf", /application\/pdf is no text/],
      ["application/octet-stream", /is no text/],
      ["", /names no content-type/],
      ["text/plain; charset=utf-16", /written in utf-16/],
      ["multipart/byteranges; boundary=x", /is no text/],
    ] as const) {
      const answered = answer(type);
      assert.ok(typeof answered === "object" && "problem" in answered, type);
      assert.match(answered.problem, reason);
    }
  });

  test("that go on without end are bounded", () => {
    assert.throws(
      () =>
        one("text/event-stream", `data: ${"x".repeat(10)}`) &&
        maskedBody(
          "text/event-stream",
          Array.from({ length: 60 }, () => Buffer.alloc(1024 * 1024, "x")),
        ),
      NotMaskable,
    );
    assert.throws(
      () =>
        maskedBody(
          "application/jsonl",
          Array.from({ length: 60 }, () => Buffer.alloc(1024 * 1024, "x")),
        ),
      NotMaskable,
    );
  });
});
