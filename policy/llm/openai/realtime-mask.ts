// Masks what a model says in a session: texts and transcripts come in deltas, several responses and transcripts at one time, each told apart
// by its item; what was held back goes out before the text is said to be over. Sound passes, as elsewhere.
import type { Shape } from "../../mask/stream-json.ts";
import type { Counts, StreamMasker } from "../../mask/stream.ts";
import { isObject, type JsonObject } from "../json.ts";
import { RunningTexts } from "../mask-texts.ts";
import { ValueMasker } from "../mask-value.ts";
import { openAiShape } from "./mask-shape.ts";

const kept: ReadonlySet<string> = new Set([
  "event_id",
  "previous_item_id",
  "voice",
  "client_secret",
]);

export const realtimeShape: Shape = (path) => {
  const known = openAiShape(path);
  return known === "text" && kept.has(path.at(-1) ?? "") && path.length <= maxPlace
    ? "keep"
    : known;
};

/** Of a name that the protocol means something by: `session.audio.output.voice`. Deeper ones are an agent's. */
const maxPlace = 4;

export class RealtimeEvents {
  readonly #values: ValueMasker;
  readonly #texts: RunningTexts<JsonObject>;

  constructor(masker: StreamMasker, counts: Counts) {
    this.#values = new ValueMasker(masker, counts, realtimeShape);
    this.#texts = new RunningTexts(this.#values);
  }

  /** The events to send in the place of this one. Throws NotMaskable. */
  event(event: JsonObject): readonly JsonObject[] {
    const type = typeof event["type"] === "string" ? event["type"] : "";
    const { delta, ...rest } = event;
    const shown = this.#values.members(rest, []);
    const base = type.replace(/\.[a-z_]+$/, "");
    const part = partOf(event, base);
    if (type.endsWith(".delta") && typeof delta === "string") {
      const carry = (held: string): JsonObject => ({ ...own(shown), delta: held });
      const said = this.#texts.piece(delta, [placeOf(base)], { key: part, part, carry });
      return [{ ...shown, delta: said }];
    }
    const all =
      delta === undefined ? shown : { ...shown, delta: this.#values.value(delta, ["delta"]) };
    return [...this.#texts.flush(endedBy(event, type, part)), all];
  }

  /** Nothing follows, or another mask: what was held back. */
  end(): readonly JsonObject[] {
    return this.#texts.flush(() => true);
  }
}

/** An event of ours has a name of its own. */
function own(event: JsonObject): JsonObject {
  const id = event["event_id"];
  return typeof id === "string" ? { ...event, event_id: `${id}_rest` } : event;
}

/** The response that a text is of comes first, so that its end ends all of them. */
function partOf(event: JsonObject, base: string): string {
  const { response_id: response, item_id: item, content_index: index } = event;
  return `${responseOf(response)}${JSON.stringify([base, item, index])}`;
}

function responseOf(id: unknown): string {
  return `${JSON.stringify(id ?? null)} `;
}

/** Which texts are over: that of the event, or all of the response that ends. An error ends none: it may be of something else. */
function endedBy(event: JsonObject, type: string, part: string): (one: string) => boolean {
  if (type !== "response.done") return (one) => one === part;
  const { response } = event;
  const begin = responseOf(isObject(response) ? response["id"] : undefined);
  return (one) => one.startsWith(begin);
}

/** Where the text of such events stands in an item that is whole. */
function placeOf(base: string): string {
  if (base.endsWith("arguments")) return "arguments";
  return base.endsWith("audio") ? "data" : "text";
}
