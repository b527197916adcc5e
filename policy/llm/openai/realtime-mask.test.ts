import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createStreamMasker } from "../../mask/stream.ts";
import type { JsonObject } from "../json.ts";
import { RealtimeEvents } from "./realtime-mask.ts";

const masker = createStreamMasker(
  [{ detector: "email", transform: { kind: "redact" }, policy: "a/p" }],
  Buffer.from("key"),
);
const text = "é write to jane@example.com, or bob@example.org \u{1f600} today";
const masked = "é write to [redacted], or [redacted] \u{1f600} today";

/** The text in pieces that end at these places. */
function pieces(cuts: readonly number[]): string[] {
  const at = [0, ...cuts.toSorted((a, b) => a - b), text.length];
  return at.slice(1).map((end, index) => text.slice(at[index] ?? 0, end));
}

const cuts = fc.array(fc.nat(text.length), { maxLength: 8 });

test("each of two responses and a transcript at one time says its masked text, however each is cut and whichever ends first", () => {
  fc.assert(
    fc.property(cuts, cuts, cuts, fc.boolean(), (one, two, three, isFirst) => {
      const events = new RealtimeEvents(masker, {});
      const said: JsonObject[] = [];
      const queues = [
        pieces(one).map((delta) => of("response.output_text.delta", "r1", delta)),
        pieces(two).map((delta) => of("response.output_text.delta", "r2", delta)),
        pieces(three).map((delta) => ({
          type: "conversation.item.input_audio_transcription.delta",
          item_id: "i",
          delta,
        })),
      ];
      const most = Math.max(...queues.map(({ length }) => length));
      for (let at = 0; at < most; at += 1)
        for (const queue of queues) {
          const event = queue[at];
          if (event !== undefined) said.push(...events.event(event));
        }
      const ends = [
        { type: "response.done", response: { id: isFirst ? "r1" : "r2" } },
        { type: "conversation.item.input_audio_transcription.completed", item_id: "i" },
        { type: "response.done", response: { id: isFirst ? "r2" : "r1" } },
      ];
      for (const end of ends) said.push(...events.event(end));
      assert.equal(events.end().length, 0, "nothing is left of what has ended");
      assert.equal(
        spelt(said, (event) => event["response_id"] === "r1"),
        masked,
      );
      assert.equal(
        spelt(said, (event) => event["response_id"] === "r2"),
        masked,
      );
      assert.equal(
        spelt(said, (event) => event["item_id"] === "i"),
        masked,
      );
    }),
  );
});

const of = (type: string, response: string, delta: string): JsonObject => ({
  type,
  event_id: "e",
  response_id: response,
  item_id: `item of ${response}`,
  output_index: 0,
  content_index: 0,
  delta,
});

function spelt(events: readonly JsonObject[], isOf: (event: JsonObject) => boolean): string {
  return events
    .filter(isOf)
    .map(({ delta }) => (typeof delta === "string" ? delta : ""))
    .join("");
}

test("an event that carries what was held back has a name of its own, and comes before the text is over", () => {
  const events = new RealtimeEvents(masker, {});
  const [shown] = events.event(of("response.output_text.delta", "r", "to jane@example.com"));
  assert.notEqual(shown?.["delta"], "to jane@example.com");
  const { delta: _, ...done } = of("response.output_text.done", "r", "");
  const [rest, last] = events.event({ ...done, text: "to jane@example.com" });
  assert.equal(rest?.["event_id"], "e_rest");
  assert.equal(`${String(shown?.["delta"])}${String(rest?.["delta"])}`, "to [redacted]");
  assert.equal(last?.["text"], "to [redacted]");
});
