import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import fc from "fast-check";
import { bodyMasker } from "../llm/mask-answer.ts";
import { providers } from "../llm/providers.ts";
import { detectorNames } from "./detectors.ts";
import { createRestorer } from "./restore.ts";
import { cutAt, cuts, texts } from "./stream-fixture.ts";
import { createStreamMasker, type Counts } from "./stream.ts";
import { maxValueLength, maxValues, TokenVault } from "./token-vault.ts";

const key = (seed: string): Buffer => createHash("sha256").update(seed).digest();
const vault = new TokenVault(key("this pod"));
const stranger = new TokenVault(key("another pod"));
const values = [
  "jane.doe@example.com",
  'quo"te\\@x.io',
  "4111 1111 1111 1111",
  "møller@bücher.example",
];
const known = values.flatMap((value) =>
  ["email", "credit-card", "card"].map((name) => [vault.token(name, value) ?? "", value] as const),
);
const foreign = values.map((value) => stranger.token("email", value) ?? "");

const token = fc.constantFrom(...known.map(([written]) => written));
const parts = fc.oneof(
  token,
  token.map((written) => written.toUpperCase()),
  token.chain((written) => fc.nat(written.length).map((end) => written.slice(0, end))),
  token.chain((written) => fc.nat(written.length).map((from) => written.slice(from))),
  fc.constantFrom(
    ...foreign,
    "email-",
    "card",
    "credit-",
    "-bcdfghjklmnp",
    "email-email-",
    " ",
    "x",
  ),
  texts,
);
const mixed = fc.array(parts, { maxLength: 8 }).map((all) => all.join(""));

/** By the book: from the left, every token that is known, in whichever case. */
function expected(text: string): string {
  let shown = "";
  for (let at = 0; at < text.length;) {
    const found = known.find(
      ([written]) => text.slice(at, at + written.length).toLowerCase() === written,
    );
    shown += found === undefined ? (text[at] ?? "") : found[1];
    at += found === undefined ? 1 : found[0].length;
  }
  return shown;
}

function streamed(pieces: readonly string[]): string {
  const stream = createRestorer(vault).open({});
  return pieces.map((piece) => stream.push(piece)).join("") + stream.end();
}

test("wherever a text is cut, every token of this vault is its value again, and nothing else changes", () => {
  fc.assert(
    fc.property(mixed, cuts, (text, cut) => {
      assert.equal(createRestorer(vault).whole(text, {}), expected(text));
      assert.equal(streamed(cutAt(text, cut)), expected(text));
    }),
    { numRuns: 3_000 },
  );
});

test("a token that was made elsewhere, or that nobody made, stays what it is", () => {
  for (const text of [...foreign, "email-bcdfghjklmnp", "email-", "credit-card-xxxxxxxxxxxx"])
    assert.equal(createRestorer(vault).whole(text, {}), text);
});

test("one value has one token, others have others, and none is anything that a detector finds", () => {
  assert.equal(vault.token("email", "a@b.io"), vault.token("email", "a@b.io"));
  assert.notEqual(vault.token("email", "a@b.io"), vault.token("phone", "a@b.io"));
  assert.notEqual(vault.token("email", "a@b.io"), stranger.token("email", "a@b.io"));
  const finder = createStreamMasker(
    detectorNames.map((detector) => ({ detector, transform: { kind: "redact" }, policy: "p" })),
    key("mask"),
  );
  fc.assert(
    fc.property(fc.constantFrom(...detectorNames), fc.string(), (name, value) => {
      const made = vault.token(name, value) ?? "";
      assert.match(made, /^[a-z-]+-[bcdfghjklmnpqrstvwxz]{12}$/);
      assert.equal(finder.whole(`see ${made}, please`, {}), `see ${made}, please`);
    }),
  );
});

test("what is held back is shorter than a token, and prose is given out as it comes", () => {
  const longest = Math.max(...known.map(([written]) => written.length));
  const unknown = fc.array(
    fc.oneof(fc.constantFrom(...foreign, "credit-card-bcdf", "email-", "card", " "), texts),
    { maxLength: 8 },
  );
  fc.assert(
    fc.property(unknown, (all) => {
      const stream = createRestorer(vault).open({});
      let held = 0;
      for (const piece of all.join("")) {
        held += piece.length - stream.push(piece).length;
        assert.ok(held < longest);
      }
    }),
    { numRuns: 300 },
  );
  const stream = createRestorer(vault).open({});
  const words = ["The ", "answer ", "is ", "here."];
  assert.deepEqual(
    words.map((word) => stream.push(word)),
    words,
  );
});

test("a vault keeps so many values and so much of them, the last ones; what is too long has no token", () => {
  const small = new TokenVault(key("small"));
  const first = small.token("email", "first") ?? "";
  assert.equal(small.value(first), "first");
  for (let at = 0; at < maxValues; at++) small.token("email", `${at}`);
  assert.equal(small.value(first), undefined);
  assert.equal(small.token("email", "first"), first, "the same again when it is sent again");
  const large = new TokenVault(key("large"));
  assert.equal(large.token("jwt", "x".repeat(maxValueLength + 1)), undefined);
  const oldest = large.token("jwt", `0${"x".repeat(60_000)}`) ?? "";
  for (let at = 1; at < 80; at++) large.token("jwt", `${at}${"x".repeat(60_000)}`);
  assert.equal(large.value(oldest), undefined);
});

test("what a request was masked with is what an answer is restored by", () => {
  const own = new TokenVault(key("own"));
  const masker = createStreamMasker(
    ["email", "credit-card"].map((detector) => ({
      detector,
      transform: { kind: "restore" as const, detector },
      policy: "p",
    })),
    key("mask"),
    own,
  );
  fc.assert(
    fc.property(texts, (text) => {
      const sent = masker.whole(text, {});
      if (own.isEmpty) return;
      assert.equal(createRestorer(own).whole(sent, {}), text);
    }),
    { numRuns: 1_000 },
  );
});

const delta = (content: string) => ({
  id: "c1",
  object: "chat.completion.chunk",
  model: "gpt-5",
  choices: [{ index: 0, delta: { content }, finish_reason: null }],
});

function sseTexts(body: string): string {
  return body
    .split("\n")
    .filter((line) => line.startsWith("data: {"))
    .map((line) => {
      const { choices } = JSON.parse(line.slice(6)) as {
        choices: { delta?: { content?: string } }[];
      };
      return choices[0]?.delta?.content ?? "";
    })
    .join("");
}

test("over any deltas of a model's stream and any chunks of its bytes the agent reads the restored text", () => {
  fc.assert(
    fc.property(mixed, cuts, cuts, (text, cut, chunks) => {
      const whole = text.toWellFormed();
      const events = [
        ...cutAt(whole, cut).map((piece) => JSON.stringify(delta(piece))),
        JSON.stringify({
          ...delta(""),
          choices: [{ index: 0, delta: {}, finish_reason: "stop" }],
        }),
        "[DONE]",
      ];
      const bytes = Buffer.from(events.map((data) => `data: ${data}\n\n`).join(""));
      const counts: Counts = {};
      const masker = bodyMasker(
        "text/event-stream",
        providers.openai,
        createRestorer(vault),
        counts,
        "restored",
      );
      assert.ok(masker !== "nothing to mask" && !("problem" in masker));
      const shown = cutAt(bytes.toString("latin1"), chunks).map((piece) =>
        String(masker.push(Buffer.from(piece, "latin1"))),
      );
      const body = shown.join("") + String(masker.end());
      assert.equal(sseTexts(body), expected(whole));
      assert.ok(body.endsWith("data: [DONE]\n\n"));
    }),
    { numRuns: 300 },
  );
});

test("arguments of a tool stay JSON when a value with quotes is put back", () => {
  const written = vault.token("email", 'quo"te\\@x.io') ?? "";
  const answer = {
    choices: [
      {
        index: 0,
        message: {
          role: "assistant",
          content: null,
          tool_calls: [
            {
              id: "t1",
              type: "function",
              function: { name: "mail", arguments: JSON.stringify({ to: written }) },
            },
          ],
        },
        finish_reason: "tool_calls",
      },
    ],
  };
  const masker = bodyMasker(
    "application/json",
    providers.openai,
    createRestorer(vault),
    {},
    "restored",
  );
  assert.ok(masker !== "nothing to mask" && !("problem" in masker));
  const body = String(masker.push(Buffer.from(JSON.stringify(answer)))) + String(masker.end());
  const read = JSON.parse(body) as typeof answer;
  const said = read.choices[0]?.message.tool_calls[0]?.function.arguments ?? "";
  assert.deepEqual(JSON.parse(said), { to: 'quo"te\\@x.io' });
});
