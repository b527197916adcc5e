// Masks the events of Bedrock's streams: of ConverseStream as they are, of InvokeModelWithResponseStream as the model's own that each of
// them carries. What the pieces of one text spell together is masked as if it came whole.
import type { Counts, StreamMasker } from "../../mask/stream.ts";
import { NotMaskable } from "../../mask/stream-json.ts";
import type { KeptThinking } from "../anthropic/kept-thinking.ts";
import { AnthropicEvents } from "../anthropic/mask-event.ts";
import { isObject, maxDepth, type JsonObject } from "../json.ts";
import { RunningTexts } from "../mask-texts.ts";
import { tooDeep, ValueMasker } from "../mask-value.ts";
import type { EventMasker, NamedEvent } from "../provider.ts";
import { SignedThoughts } from "../signed-thoughts.ts";
import { bedrockShape } from "./mask-shape.ts";

export class BedrockEvents implements EventMasker {
  readonly #masker: StreamMasker;
  readonly #counts: Counts;
  readonly #converse: EventMasker;
  #model: EventMasker | undefined;
  readonly #kept: KeptThinking | undefined;

  /** @param kept keeps thinking of Claude's that is masked */
  constructor(masker: StreamMasker, counts: Counts, kept?: KeptThinking) {
    this.#kept = kept;
    this.#masker = masker;
    this.#counts = counts;
    this.#converse = new TextEvents(masker, counts, kept);
  }

  event(event: JsonObject, name: string | undefined): readonly NamedEvent[] {
    if (name !== "chunk" || typeof event["bytes"] !== "string")
      // An exception may come in the middle of a stream of either kind.
      return [...(this.#model?.end().map(carried) ?? []), ...this.#converse.event(event, name)];
    const inner = decoded(event["bytes"]);
    this.#model ??=
      typeof inner["type"] === "string"
        ? new AnthropicEvents(this.#masker, this.#counts, this.#kept)
        : new TextEvents(this.#masker, this.#counts);
    const shown = this.#model.event(inner, undefined).map(carried);
    const { bytes: _, ...rest } = event;
    const last = shown.at(-1);
    return last === undefined
      ? []
      : [...shown.slice(0, -1), { ...last, data: { ...last.data, ...rest } }];
  }

  end(): readonly NamedEvent[] {
    return [...(this.#model?.end().map(carried) ?? []), ...this.#converse.end()];
  }
}

function decoded(bytes: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes, "base64").toString("utf8"));
  } catch {
    value = undefined;
  }
  if (isObject(value)) return value;
  throw new NotMaskable("an event of the model is no JSON, so nobody can look into it");
}

function carried({ data }: NamedEvent): NamedEvent {
  return { name: "chunk", data: { bytes: Buffer.from(JSON.stringify(data)).toString("base64") } };
}

/** Members with texts that go on from event to event, of Converse and of the models that have no form of their own here. */
const growing: ReadonlySet<string> = new Set([
  "text",
  "input",
  "signature",
  "outputText",
  "generation",
  "completion",
  "content",
]);
const reasons: ReadonlySet<string> = new Set([
  "stopReason",
  "stop_reason",
  "completionReason",
  "finish_reason",
  "finishReason",
]);

type Step = string | number;

/** Events in which texts stand anywhere, told apart by their place and the block that the event names. */
class TextEvents implements EventMasker {
  readonly #values: ValueMasker;
  readonly #texts: RunningTexts<NamedEvent>;
  readonly #thoughts: SignedThoughts;

  constructor(masker: StreamMasker, counts: Counts, kept?: KeptThinking) {
    this.#thoughts = new SignedThoughts(kept);
    this.#values = new ValueMasker(masker, counts, bedrockShape);
    this.#texts = new RunningTexts(this.#values);
  }

  event(event: JsonObject, name: string | undefined): readonly NamedEvent[] {
    const block = `block ${JSON.stringify(blockOf(event))} `;
    const stops = name === "contentBlockStop" || isObject(event["contentBlockStop"]);
    // A signature is of what was thought, so that is said before it.
    const before =
      stops || JSON.stringify(event).includes('"signature"')
        ? this.#texts.flush((part) => part === block)
        : [];
    const isLast = !stops && isEnd(event, name);
    const shown = this.#object(event, [], { event, name, block, isLast });
    const rest = isLast ? this.end() : [];
    return [...before, ...rest, { data: shown }];
  }

  end(): readonly NamedEvent[] {
    return this.#texts.flush(() => true);
  }

  #object(object: JsonObject, steps: readonly Step[], of: Origin): JsonObject {
    if (steps.length > maxDepth) throw tooDeep();
    const path = steps.filter((step) => typeof step === "string");
    // Names are masked, too.
    const names = this.#values.members(
      Object.fromEntries(Object.keys(object).map((name) => [name, null])),
      path,
    );
    const shown = Object.keys(names);
    return Object.fromEntries(
      Object.entries(object).map(([name, value], at) => [
        shown[at] ?? "",
        this.#value(value, [...steps, name], of),
      ]),
    );
  }

  #value(value: unknown, steps: readonly Step[], of: Origin): unknown {
    const path = steps.filter((step) => typeof step === "string");
    if (typeof value === "string" && growing.has(path.at(-1) ?? ""))
      return this.#piece(value, steps, path, of);
    if (Array.isArray(value))
      return value.map((one: unknown, at) => this.#value(one, [...steps, at], of));
    return isObject(value) ? this.#object(value, steps, of) : this.#values.value(value, path);
  }

  #piece(value: string, steps: readonly Step[], path: readonly string[], of: Origin): string {
    const { event, name, block, isLast } = of;
    const [inside, member] = path.slice(-2);
    const thinks = inside === "reasoningContent" && member === "text";
    if (inside === "reasoningContent" && member === "signature")
      return this.#thoughts.signed(block, value);
    if (thinks) this.#thoughts.came(block, value);
    const piece = {
      key: block + JSON.stringify(steps),
      part: block,
      carry: (rest: string): NamedEvent => {
        if (thinks) this.#thoughts.goes(block, rest);
        return { ...(name !== undefined && { name }), data: skeleton(event, steps, rest) };
      },
    };
    const said = isLast
      ? this.#texts.last(value, path, piece)
      : this.#texts.piece(value, path, piece);
    if (thinks) this.#thoughts.goes(block, said);
    return said;
  }
}

interface Origin {
  readonly event: JsonObject;
  readonly name: string | undefined;
  readonly block: string;
  readonly isLast: boolean;
}

function blockOf(event: JsonObject): unknown {
  const inner =
    event["contentBlockDelta"] ?? event["contentBlockStop"] ?? event["contentBlockStart"];
  return (isObject(inner) ? inner : event)["contentBlockIndex"] ?? "";
}

const endings: readonly string[] = ["messageStop", "metadata"];

function isEnd(event: JsonObject, name: string | undefined): boolean {
  return (
    endings.some((one) => name === one || one in event) ||
    name?.endsWith("Exception") === true ||
    hasReason(event, 0)
  );
}

function hasReason(value: unknown, depth: number): boolean {
  if (depth > maxDepth) throw tooDeep();
  if (Array.isArray(value)) return value.some((one) => hasReason(one, depth + 1));
  return (
    isObject(value) &&
    Object.entries(value).some(
      ([name, one]) => (reasons.has(name) && typeof one === "string") || hasReason(one, depth + 1),
    )
  );
}

/** The event with nothing but this text in it, and the indexes on the way to it. */
function skeleton(event: JsonObject, steps: readonly Step[], text: string): JsonObject {
  const below = (value: unknown, at: number): unknown => {
    const step = steps[at];
    if (step === undefined) return text;
    if (typeof step === "number")
      return [below(Array.isArray(value) ? value[step] : undefined, at + 1)];
    const object = isObject(value) ? value : {};
    return {
      ...Object.fromEntries(
        Object.entries(object).filter(
          ([name, one]) => /index$/i.test(name) && typeof one === "number",
        ),
      ),
      [step]: below(object[step], at + 1),
    };
  };
  const made = below(event, 0);
  return isObject(made) ? made : {};
}
