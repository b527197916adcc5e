import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { changeObjects } from "../change-objects.ts";
import {
  KeptThinking,
  maskedMark,
  maxKept,
  maxKeptLength,
  maxThinking,
  withMarks,
  withThinking,
} from "./kept-thinking.ts";

const signature = Buffer.from("what only the provider reads ".repeat(4)).toString("base64");

test("a text in which nothing changes keeps every character, and what is no JSON too", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 5 }), fc.nat(3), (text, blanks) => {
      const spaced = text.replaceAll(",", `,${" \n\t".slice(0, blanks)}`);
      const same = { change: <T>(object: T): T => object, instead: () => "null" };
      assert.equal(changeObjects(spaced, same), spaced);
    }),
  );
  for (const text of [
    "",
    "{",
    '[{"signature":01}]',
    '{"signature":1}{}',
    '{"signature"',
    "[1,]x",
    "nonsense}",
    "[".repeat(100_000),
  ])
    assert.equal(changeObjects(text, { change: () => undefined, instead: () => "null" }), text);
});

test("beside the block that changes everything stays as its author wrote it", () => {
  const kept = new KeptThinking();
  const marked = kept.keep(signature, "ask jane@example.com");
  const others = '{"type": "tool_use", "input": {"n": 12345678901234567890, "x": 1.0}}';
  const text = `{"max_tokens": 1e3, "messages": [{"role": "assistant", "content": [{"type":"thinking","thinking":"ask [redacted]","signature":"${marked}"}, ${others}]}]}`;
  const sent = withThinking(text, kept);
  assert.ok(sent.includes(others) && sent.includes('"max_tokens": 1e3'));
  const [block] =
    (JSON.parse(sent) as { messages: { content: unknown[] }[] }).messages[0]?.content ?? [];
  assert.deepEqual(block, { type: "thinking", thinking: "ask jane@example.com", signature });
});

test("whichever items of a list are left out, what is left is a list", () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 6 }), fc.boolean(), (left, isSpaced) => {
      const items = left.map((isLeft, at) => ({ at, ...(!isLeft && { signature: "x" }) }));
      const text = JSON.stringify({ list: items }, undefined, isSpaced ? 2 : undefined);
      const changed = changeObjects(text, { change: () => undefined, instead: () => "0" });
      const expected = items.filter(({ at }) => left[at] === true);
      const list = expected.length === 0 && items.length > 0 ? [0] : expected;
      assert.deepEqual(JSON.parse(changed), { list });
    }),
  );
});

test("ever so many blocks cost what they are, not their square", () => {
  const blocks = Array.from({ length: 60_000 }, (_, at) => ({
    signature: maskedMark + String(at),
  }));
  const kept = new KeptThinking();
  for (let at = 0; at < maxKept; at += 1) kept.keep(String(at), "t");
  const sent = JSON.parse(withThinking(JSON.stringify({ blocks }), kept)) as { blocks: unknown[] };
  assert.equal(sent.blocks.length, maxKept);
});

test("thinking that is not kept any more is left out, and a message of nothing else says so", () => {
  const thinking = { type: "thinking", thinking: "[redacted]", signature: maskedMark + signature };
  const text = { type: "text", text: "hi" };
  const messages = [
    { role: "user", content: "hi" },
    { role: "assistant", content: [thinking, text] },
    { role: "user", content: "and?" },
    { role: "assistant", content: [thinking] },
  ];
  const sent = JSON.parse(
    withThinking(JSON.stringify({ messages }), new KeptThinking()),
  ) as unknown;
  assert.deepEqual(sent, {
    messages: [
      messages[0],
      { role: "assistant", content: [text] },
      messages[2],
      { role: "assistant", content: [{ type: "text", text: "(thinking left out)" }] },
    ],
  });
});

test("in an answer only the signatures of thinking that was masked are marked", () => {
  const kept = new KeptThinking();
  const block = (thinking: string, of: string) => ({ type: "thinking", thinking, signature: of });
  const answer = (first: string, one: string) =>
    JSON.stringify({ content: [block(first, one), block("plain", `B${signature}`)] });
  const masked = answer("ask [redacted]", signature);
  const shown = withMarks(masked, answer("ask jane@example.com", signature), kept);
  assert.equal(shown, answer("ask [redacted]", maskedMark + signature));
  assert.equal(kept.original(maskedMark + signature)?.thinking, "ask jane@example.com");
  assert.equal(withMarks(masked, masked, kept), masked);
});

test("so many blocks are kept, so much of them, the ones used last; what is too long is marked and not kept", () => {
  const kept = new KeptThinking();
  for (let at = 0; at < maxKept; at += 1) kept.keep(`s${at}`, "t");
  assert.equal(kept.original(`${maskedMark}s0`)?.thinking, "t");
  kept.keep("one more", "t");
  assert.equal(kept.original(`${maskedMark}s1`), undefined);
  assert.equal(kept.original(`${maskedMark}s0`)?.signature, "s0");
  const long = "x".repeat(maxThinking);
  for (let at = 0; at <= maxKeptLength / maxThinking; at += 1) kept.keep(`long${at}`, long);
  assert.equal(kept.original(`${maskedMark}long0`), undefined);
  assert.equal(kept.original(`${maskedMark}s0`), undefined);
  assert.equal(kept.keep("too long", `${long}x`), `${maskedMark}too long`);
  assert.equal(kept.original(`${maskedMark}too long`), undefined);
});

test("thinking by Converse is marked, put back and left out with the blocks that hold it", () => {
  const kept = new KeptThinking();
  const block = (text: string, of: string) => ({
    reasoningContent: { reasoningText: { text, signature: of } },
  });
  const answer = (text: string) =>
    JSON.stringify({ output: { message: { content: [block(text, signature), { text: "hi" }] } } });
  const shown = withMarks(answer("ask [redacted]"), answer("ask jane@example.com"), kept);
  const marked = block("ask [redacted]", maskedMark + signature);
  assert.ok(shown.includes(JSON.stringify(marked)), shown);

  const asked = (...contents: unknown[][]) =>
    JSON.stringify({ messages: contents.map((content) => ({ role: "assistant", content })) });
  assert.equal(
    withThinking(asked([marked, { text: "hi" }]), kept),
    asked([block("ask jane@example.com", signature), { text: "hi" }]),
  );
  const forgotten = block("ask [redacted]", `${maskedMark}of another pod`);
  assert.equal(
    withThinking(asked([forgotten, { text: "hi" }], [forgotten]), kept),
    asked([{ text: "hi" }], [{ text: "(thinking left out)" }]),
  );
});

test("an object goes only where all that it holds is left out", () => {
  const gone = { signature: "x" };
  const text = JSON.stringify({ list: [{ a: gone, b: 1 }, { a: gone }, {}, { a: { b: gone } }] });
  const changed = changeObjects(text, { change: () => undefined, instead: () => "0" });
  assert.deepEqual(JSON.parse(changed), { list: [{ a: gone, b: 1 }, {}] });
});
