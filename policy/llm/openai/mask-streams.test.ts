// Every text that a stream of an OpenAI-compatible server brings in pieces is masked as the same text that comes whole.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { detectorNames } from "../../mask/detectors.ts";
import { cutAt, cuts, texts } from "../../mask/stream-fixture.ts";
import { createStreamMasker } from "../../mask/stream.ts";
import { isObject } from "../json.ts";
import { bodyMasker } from "../mask-answer.ts";
import { openAi } from "./provider.ts";

const masker = createStreamMasker(
  detectorNames.map((detector) => ({ detector, transform: { kind: "redact" }, policy: "a/b" })),
  Buffer.alloc(32),
);

function masked(contentType: string, body: string, at: "each" | readonly number[] = []): string {
  const stream = bodyMasker(contentType, openAi, masker, {});
  assert.ok(typeof stream === "object" && "push" in stream);
  const parts = cutAt(Buffer.from(body).toString("latin1"), at);
  const shown = parts.map((part) => stream.push(Buffer.from(part, "latin1")));
  return shown.join("") + stream.end();
}

type Json = Record<string, unknown>;

function maskedEvents(events: readonly unknown[], at: "each" | readonly number[] = []): Json[] {
  const body = events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
  return masked("text/event-stream", `${body}data: [DONE]\n\n`, at)
    .split("\n\n")
    .map((event) => event.slice(event.indexOf("data: ") + 6))
    .filter((data) => data.startsWith("{"))
    .map((data): Json => JSON.parse(data));
}

/** At least one piece. */
function piecesOf(text: string, cut: "each" | readonly number[]): string[] {
  return text === "" ? [""] : cutAt(text, cut);
}

/** Everything that stands at this path, over lists too, put together. */
function spelled(events: readonly Json[], path: readonly string[]): string {
  const at = (value: unknown, rest: readonly string[]): string => {
    if (Array.isArray(value)) return value.map((one) => at(one, rest)).join("");
    const [name, ...further] = rest;
    if (name === undefined) return typeof value === "string" ? value : "";
    return isObject(value) ? at(value[name], further) : "";
  };
  return events.map((event) => at(event, path)).join("");
}

describe("a chat completion in pieces", () => {
  const head = { id: "c", object: "chat.completion.chunk", model: "m" };
  const fields: readonly (readonly string[])[] = [
    ["content"],
    ["refusal"],
    ["reasoning_content"],
    ["reasoning"],
    ["audio", "transcript"],
    ["function_call", "arguments"],
  ];
  const deltaOf = ([name = "", inner]: readonly string[], text: string): Json =>
    inner === undefined ? { [name]: text } : { [name]: { [inner]: text } };

  test("spells each of its texts masked, even where the last piece comes with the end of the choice", () => {
    fc.assert(
      fc.property(
        texts,
        cuts,
        cuts,
        fc.constantFrom(...fields),
        fc.boolean(),
        (text, cut, at, field, together) => {
          const pieces = piecesOf(text, cut);
          const chunks = pieces.map((piece, index) => ({
            ...head,
            choices: [
              {
                index: 0,
                delta: deltaOf(field, piece),
                finish_reason: together && index === pieces.length - 1 ? "stop" : null,
              },
            ],
            ...(together && index === pieces.length - 1 && { usage: { prompt_tokens: 1 } }),
          }));
          const last = { ...head, choices: [{ index: 0, delta: {}, finish_reason: "stop" }] };
          const shown = maskedEvents(together ? chunks : [...chunks, last], at);
          const expected = field.at(-1) === "arguments" ? undefined : masker.whole(text, {});
          if (expected !== undefined)
            assert.equal(spelled(shown, ["choices", "delta", ...field]), expected);
          const ends = shown.filter(
            (event) => spelled([event], ["choices", "finish_reason"]) !== "",
          );
          assert.deepEqual(ends, shown.slice(-1), "one end, the last of all");
          if (together) assert.deepEqual(shown.at(-1)?.["usage"], { prompt_tokens: 1 });
        },
      ),
      { numRuns: 100 },
    );
  });

  test("of the older kind spells its text masked, with an end in its last piece", () => {
    fc.assert(
      fc.property(texts, cuts, (text, cut) => {
        const pieces = piecesOf(text, cut);
        const shown = maskedEvents(
          pieces.map((piece, index) => ({
            object: "text_completion",
            choices: [
              {
                index: 0,
                text: piece,
                logprobs: { tokens: [piece] },
                finish_reason: index === pieces.length - 1 ? "length" : null,
              },
            ],
          })),
        );
        assert.equal(spelled(shown, ["choices", "text"]), masker.whole(text, {}));
        assert.equal(spelled(shown, ["choices", "finish_reason"]), "length");
        assert.equal(spelled(shown, ["choices", "logprobs", "tokens"]), "");
      }),
      { numRuns: 100 },
    );
  });

  test("keeps citations apart, each whole in an event of its own", () => {
    const cite = (title: string): Json => ({
      ...head,
      choices: [
        {
          index: 0,
          delta: {
            annotations: [{ type: "url_citation", url_citation: { title, start_index: 1 } }],
          },
          finish_reason: null,
        },
      ],
    });
    const shown = maskedEvents([cite("to jane@exam"), cite("ple.com"), cite("jane@example.com")]);
    const titles = shown.map((event) =>
      spelled([event], ["choices", "delta", "annotations", "url_citation", "title"]),
    );
    assert.deepEqual(titles, ["to jane@exam", "ple.com", "[redacted]"]);
  });

  test("keeps whole calls apart that come without an index", () => {
    const call = (id: string, args: string): Json => ({
      ...head,
      choices: [
        {
          index: 0,
          delta: { tool_calls: [{ id, function: { name: "f", arguments: args } }] },
          finish_reason: null,
        },
      ],
    });
    const shown = maskedEvents([
      call("a", '{"to":"jane@example.com"}'),
      call("b", '{"n":4111111111111111}'),
      { ...head, choices: [{ index: 0, delta: {}, finish_reason: "tool_calls" }] },
    ]);
    const said = new Map<string, string>();
    for (const event of shown) {
      const id = spelled([event], ["choices", "delta", "tool_calls", "id"]);
      const args = spelled([event], ["choices", "delta", "tool_calls", "function", "arguments"]);
      said.set(id, (said.get(id) ?? "") + args);
    }
    assert.deepEqual(JSON.parse(said.get("a") ?? ""), { to: "[redacted]" });
    assert.deepEqual(JSON.parse(said.get("b") ?? ""), { n: null });
  });
});

describe("a response in pieces", () => {
  /** Events of one text by the stem of their types, and what the event at its end calls the text. */
  const kinds: readonly (readonly [stem: string, done: string, where: Json])[] = [
    ["response.output_text", "text", { content_index: 0 }],
    ["response.refusal", "refusal", { content_index: 0 }],
    ["response.reasoning_text", "text", { content_index: 0 }],
    ["response.reasoning_summary_text", "text", { summary_index: 0 }],
    ["response.custom_tool_call_input", "input", {}],
    ["response.code_interpreter_call_code", "code", {}],
    ["response.audio.transcript", "transcript", {}],
    ["transcript.text", "text", {}],
    ["response.output_audio_transcript", "transcript", {}],
  ];
  for (const [stem, done, where] of kinds)
    test(`says in the pieces of ${stem} what it says at the end`, () => {
      fc.assert(
        fc.property(texts, cuts, cuts, (text, cut, at) => {
          const place = { item_id: "i", output_index: 0, ...where };
          const events = [
            ...cutAt(text, cut).map((delta) => ({ type: `${stem}.delta`, ...place, delta })),
            { type: `${stem}.done`, ...place, [done]: text },
          ].map((event, index) => ({ ...event, sequence_number: index }));
          const shown = maskedEvents(events, at);
          assert.equal(spelled(shown, ["delta"]), masker.whole(text, {}));
          assert.equal(spelled(shown.slice(-1), [done]), masker.whole(text, {}));
          assert.deepEqual(
            shown.map((event) => event["sequence_number"]),
            [...shown.keys()],
          );
        }),
        { numRuns: 30 },
      );
    });

  test("says in the pieces of arguments JSON that is masked inside", () => {
    for (const stem of ["response.function_call_arguments", "response.mcp_call_arguments"]) {
      const args = '{"to":"jane@example.com","card":4111111111111111}';
      const place = { item_id: "i", output_index: 0 };
      const shown = maskedEvents([
        ...args.split("").map((delta) => ({ type: `${stem}.delta`, ...place, delta })),
        { type: `${stem}.done`, ...place, arguments: args },
      ]);
      const expected = { to: "[redacted]", card: null };
      assert.deepEqual(JSON.parse(spelled(shown, ["delta"])), expected);
      assert.deepEqual(JSON.parse(spelled(shown.slice(-1), ["arguments"])), expected);
    }
  });

  test("says masked what comes in pieces that are objects", () => {
    fc.assert(
      fc.property(texts, cuts, (text, cut) => {
        const place = { item_id: "i" };
        const shown = maskedEvents([
          ...cutAt(text, cut).map((value) => ({
            type: "thread.message.delta",
            ...place,
            delta: { content: [{ index: 0, type: "text", text: { value } }] },
          })),
          { type: "thread.message.done", ...place },
        ]);
        assert.equal(spelled(shown, ["delta", "content", "text", "value"]), masker.whole(text, {}));
      }),
      { numRuns: 30 },
    );
  });

  test("leaves sound and pictures as they are, and what is said of them masked", () => {
    const shown = maskedEvents([
      { type: "response.audio.delta", delta: "aGVsbG8=" },
      { type: "speech.audio.delta", audio: "QUtJQUlPU0ZPRE5ON0VYQU1QTEU=" },
      { type: "image_generation.completed", b64_json: "aGk=", revised_prompt: "for a@b.io" },
    ]);
    assert.deepEqual(shown, [
      { type: "response.audio.delta", delta: "aGVsbG8=" },
      { type: "speech.audio.delta", audio: "QUtJQUlPU0ZPRE5ON0VYQU1QTEU=" },
      { type: "image_generation.completed", b64_json: "aGk=", revised_prompt: "for [redacted]" },
    ]);
  });
});

describe("an answer of Ollama", () => {
  const lines = (body: string): Json[] =>
    body
      .split("\n")
      .filter((line) => line !== "")
      .map((line): Json => JSON.parse(line));
  const shapes: readonly (readonly [
    name: string,
    path: readonly string[],
    line: (text: string) => Json,
  ])[] = [
    ["chat", ["message", "content"], (content) => ({ message: { role: "assistant", content } })],
    [
      "thinking",
      ["message", "thinking"],
      (thinking) => ({ message: { role: "assistant", content: "", thinking } }),
    ],
    ["generate", ["response"], (response) => ({ response })],
  ];
  for (const [name, path, line] of shapes)
    test(`${name}: says over its lines what it says in one`, () => {
      fc.assert(
        fc.property(
          texts,
          cuts,
          cuts,
          fc.boolean(),
          fc.boolean(),
          (text, cut, at, together, breaks) => {
            const head = { model: "m", created_at: "2026-11-30T00:00:00Z" };
            const pieces = piecesOf(text, cut);
            const all = pieces.map((piece, index) => ({
              ...head,
              ...line(piece),
              done: together && index === pieces.length - 1,
            }));
            const end = { ...head, ...line(""), done: true, eval_count: 3, context: [1, 2] };
            const sent = together || breaks ? all : [...all, end];
            const body = sent.map((one) => `${JSON.stringify(one)}\n`).join("");
            const shown = lines(masked("application/x-ndjson", body, at));
            assert.equal(spelled(shown, path), masker.whole(text, {}));
            const whole = masked(
              "application/json; charset=utf-8",
              JSON.stringify({ ...end, ...line(text) }),
            );
            assert.equal(spelled([JSON.parse(whole)], path), masker.whole(text, {}));
            assert.deepEqual(JSON.parse(whole)["context"], []);
            if (!together && !breaks) assert.deepEqual(shown.at(-1)?.["context"], []);
            for (const one of shown) assert.equal(one["model"], "m");
          },
        ),
        { numRuns: 30 },
      );
    });

  test("calls tools with masked arguments, and says its errors masked", () => {
    const shown = lines(
      masked(
        "application/x-ndjson",
        '{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"to":"a@b.io"}}}]},"done":false}\n{"error":"no a@b.io"}\n',
      ),
    );
    assert.deepEqual(shown, [
      {
        message: { tool_calls: [{ function: { name: "f", arguments: { to: "[redacted]" } } }] },
        done: false,
      },
      { error: "no [redacted]" },
    ]);
  });
});

test("embeddings, usage and identifiers stay byte for byte as they are", () => {
  const body =
    '{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.0023064255,-4.111e-05,1]},{"index":1,"embedding":"AACAPw=="}],"model":"m","usage":{"prompt_tokens":4111,"total_tokens":4111}}';
  assert.equal(masked("application/json", body), body);
});
