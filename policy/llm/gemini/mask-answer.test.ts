import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { cutAt, cuts, texts } from "../../mask/stream-fixture.ts";
import { NotMaskable } from "../../mask/stream-json.ts";
import { bodyMasker } from "../mask-answer.ts";
import { chunksOf, eventsOf, maskedBody, masker } from "../mask-fixture.ts";
import { gemini } from "./provider.ts";

type Cut = "each" | readonly number[];

const signature = Buffer.from("only the provider reads this ".repeat(4)).toString("base64");
const usageMetadata = { promptTokenCount: 10, candidatesTokenCount: 20, totalTokenCount: 30 };

const said = fc.record({
  thought: texts,
  before: texts,
  after: texts,
  title: texts,
  args: fc.record({ to: texts, aws_secret: texts }),
});
type Said = typeof said extends fc.Arbitrary<infer T> ? T : never;

interface Part {
  readonly text?: string;
  readonly thought?: boolean;
  readonly functionCall?: unknown;
  readonly thoughtSignature?: string;
}

const call = (args: unknown): Part => ({
  functionCall: { name: "mail", args },
  thoughtSignature: signature,
});
const grounding = (title: string) => ({
  groundingChunks: [{ web: { uri: "https://x", title } }],
});

function answerOf({ thought, before, after, title, args }: Said) {
  return {
    candidates: [
      {
        content: {
          role: "model",
          parts: [{ text: thought, thought: true }, { text: before }, call(args), { text: after }],
        },
        finishReason: "STOP",
        index: 0,
        groundingMetadata: grounding(title),
      },
    ],
    usageMetadata,
    modelVersion: "gemini-2.5-flash",
    responseId: "4111111111111111",
  };
}

function chunksOfAnswer({ thought, before, after, title, args }: Said, cut: Cut): unknown[] {
  const chunk = (parts: readonly Part[], more: object = {}) => ({
    candidates: [{ content: { role: "model", parts }, index: 0, ...more }],
    usageMetadata,
    modelVersion: "gemini-2.5-flash",
    responseId: "4111111111111111",
  });
  return [
    ...cutAt(thought, cut).map((text) => chunk([{ text, thought: true }])),
    ...cutAt(before, cut).map((text) => chunk([{ text }])),
    chunk([call(args)]),
    ...cutAt(after, cut).map((text) => chunk([{ text }])),
    chunk([{ text: "" }], { finishReason: "STOP", groundingMetadata: grounding(title) }),
  ];
}

const written = {
  sse: (events: readonly unknown[], end: string) =>
    events.map((event) => `data: ${JSON.stringify(event)}${end}${end}`).join(""),
  array: (events: readonly unknown[]) =>
    `[${events.map((event) => JSON.stringify(event, undefined, 2)).join("\n,\r\n")}\n]`,
};

interface Shown {
  readonly candidates: readonly {
    readonly content: { readonly parts: readonly Part[] };
    readonly groundingMetadata?: unknown;
  }[];
}

/** Texts that follow each other are one, as an SDK's reader puts them together. */
function joined(chunks: readonly Shown[]): { parts: Part[]; grounding: unknown } {
  const parts: Part[] = [];
  let grounding: unknown;
  for (const { candidates } of chunks)
    for (const { content, groundingMetadata } of candidates) {
      grounding ??= groundingMetadata;
      for (const part of content.parts) {
        const last = parts.at(-1);
        if (part.text === "") continue;
        if (part.text !== undefined && last?.text !== undefined && last.thought === part.thought)
          parts[parts.length - 1] = { ...last, text: last.text + part.text };
        else parts.push(part);
      }
    }
  return { parts, grounding };
}

describe("an answer", () => {
  test("says the same masked text streamed as it says whole, as events and as an array, however it is cut", () => {
    fc.assert(
      fc.property(said, cuts, cuts, fc.constantFrom("\n", "\r\n"), (what, cut, chunks, end) => {
        const masked = (type: string, body: string) =>
          maskedBody(gemini, type, chunksOf(body, chunks)).text;
        const whole = joined([
          JSON.parse(masked("application/json", JSON.stringify(answerOf(what)))),
        ]);
        const events = chunksOfAnswer(what, cut);
        const sse = eventsOf(masked("text/event-stream", written.sse(events, end)));
        const array: Shown[] = JSON.parse(masked("application/json", written.array(events)));
        assert.deepEqual(joined(sse.map(({ data }) => data as Shown)), whole);
        assert.deepEqual(joined(array), whole);
        assert.ok(whole.parts.some((part) => part.thoughtSignature === signature));
      }),
      { numRuns: 300 },
    );
  });

  test("that ends without saying so still says what was held back", () => {
    const chunk = JSON.stringify({
      candidates: [{ content: { parts: [{ text: "mail jane@example.com" }] } }],
    });
    for (const [type, body] of [
      ["text/event-stream", `data: ${chunk}\n\n`],
      ["application/json", `[${chunk}]`],
    ] as const) {
      const { text } = maskedBody(gemini, type, chunksOf(body, "each"));
      assert.ok(!text.includes("jane") && text.includes("[redacted]"), text);
    }
    const cut = maskedBody(gemini, "application/json", [Buffer.from(`[${chunk}`)]);
    assert.ok(!cut.text.includes("jane") && !cut.text.endsWith("]"));
  });

  test("an array is passed on element by element", () => {
    const body = bodyMasker("application/json", gemini, masker, {});
    assert.ok(typeof body === "object" && "push" in body);
    const chunk = (text: string) =>
      JSON.stringify({ candidates: [{ content: { parts: [{ text }] } }] });
    assert.equal(body.push(Buffer.from(`[${chunk("All is well. ")}\n`)), "[");
    assert.match(String(body.push(Buffer.from(`,${chunk("Yes. ")}`))), /^\{.*All is well\. /);
    assert.match(String(body.push(Buffer.from("]"))), /^,\r\n\{.*Yes\. .*\]$/);
  });

  test("what is no array of JSON is refused", () => {
    for (const body of [
      '[{"a":1}}',
      "[{} {}]",
      "[{},]",
      "[,{}]",
      "[{}] x",
      '[{"a":jane@example.com}]',
      '[{"a":"b"',
      "nope",
    ])
      for (const cut of ["each", [0.5]] as const) {
        let shown = "";
        try {
          shown = maskedBody(gemini, "application/json", chunksOf(body, cut)).text;
          assert.equal(body, '[{"a":"b"', body);
        } catch (error) {
          assert.ok(error instanceof NotMaskable, String(error));
        }
        assert.ok(!shown.includes("jane"));
      }
  });
});
