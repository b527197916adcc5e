// The story of what is said in a session with a model. From the agent: mask, recognise, decide, send or answer with an error. From the provider: mask, count, record,
// put back what stands for values of this pod.
import { randomUUID } from "node:crypto";

import type { DetectMask } from "../../../policy/bundle.ts";
import type { HoldTerms } from "../../../policy/decision.ts";
import type { Tokens } from "../../../policy/budget/price.ts";
import type { Counts } from "../../../policy/mask/stream.ts";
import { maskJson, NotMaskable } from "../../../policy/mask/stream-json.ts";
import { createRestorer } from "../../../policy/mask/restore.ts";
import { isObject } from "../../../policy/llm/json.ts";
import type { JsonObject } from "../../../policy/llm/json.ts";
import { openAiError } from "../../../policy/llm/openai/error.ts";
import { RealtimeEvents, realtimeShape } from "../../../policy/llm/openai/realtime-mask.ts";
import { RealtimeSession } from "../../../policy/llm/openai/realtime.ts";
import type { SaidEvent } from "../../../policy/llm/openai/realtime.ts";
import { RealtimeUsage } from "../../../policy/llm/openai/realtime-usage.ts";
import type { LlmOperation } from "../../../policy/operation.ts";
import { ProxyError } from "../../errors.ts";
import type { Content, GateSession, LiveGrant } from "../../pipeline.ts";
import type { ByteBudget } from "../byte-budget.ts";
import type { Granted } from "../exchange.ts";
import { maskerOf, sentMaskerOf } from "../mask-answer.ts";
import { findings, noMasks } from "../marks.ts";
import type { SeeFindings } from "../marks.ts";
import { closeCodes, WebSocketViolation } from "./frame.ts";
import { HeldTexts } from "./held-texts.ts";
import { KeptLines } from "./kept-lines.ts";

export interface RealtimeOptions {
  readonly operation: LlmOperation;
  readonly passage: Granted;
  readonly session: GateSession;
  /** The grant of now. */
  readonly live: () => LiveGrant;
  readonly budget: ByteBudget;
  /** Says something to the agent between two messages of the provider's. */
  readonly tell: (text: string) => void;
  /** The session is over. */
  readonly end: (cause: ProxyError) => void;
}

/** Sound would leave no room for words in a recording. */
const sound = /audio(?:_buffer\.append|\.delta)$/;

/** Errors that were asked to be recorded before they are said, and are not said yet. */
const maxRefusing = 64;

export class Realtime {
  readonly fromAgent: HeldTexts;
  readonly fromUpstream: HeldTexts;
  /** How often each detector spoke, in either direction. */
  readonly detected: Counts = {};
  readonly #options: RealtimeOptions;
  readonly #said: RealtimeSession;
  readonly #usage = new RealtimeUsage();
  readonly #ended = new AbortController();
  readonly #sentLines = new KeptLines("request");
  readonly #answerLines = new KeptLines("response");
  #masking: { readonly masks: readonly DetectMask[]; readonly events: RealtimeEvents } | undefined;
  #seeAnswers: SeeFindings | undefined;
  /** By how many detectors' tokens it looks for: another when there are more. */
  #restoring: { readonly names: number; readonly events: RealtimeEvents } | undefined;
  #refusing = 0;
  #limit: string | undefined;

  constructor(options: RealtimeOptions) {
    this.#options = options;
    this.#said = new RealtimeSession(options.operation);
    this.fromAgent = new HeldTexts(options.budget, (text) => this.#tried(() => this.#sent(text)));
    this.fromUpstream = new HeldTexts(options.budget, (text) =>
      this.#tried(() => this.#answered(text)),
    );
  }

  /** The session as it stands. */
  get operation(): LlmOperation {
    return this.#said.operation;
  }

  get tokens(): Tokens {
    return this.#usage.tokens;
  }

  /** The budget that it used up. */
  get limit(): string | undefined {
    return this.#limit;
  }

  contents(): readonly Content[] {
    return [this.#sentLines.content(), this.#answerLines.content()].filter(
      (one) => one !== undefined,
    );
  }

  close(): void {
    this.#ended.abort();
    this.fromAgent.close();
    this.fromUpstream.close();
  }

  /** What cannot be masked, or marked, must not go out. */
  #tried(say: () => readonly string[]): readonly string[] {
    try {
      return say();
    } catch (error) {
      if (!(error instanceof ProxyError)) throw error;
      this.#options.end(error);
      return [];
    }
  }

  #sent(text: string): readonly string[] {
    const masked = this.#maskedRequest(text);
    const event = this.#said.read(masked);
    const refused = event.operations.find((operation) => this.#refuses(operation));
    if (refused !== undefined) {
      this.#refuse(event, refused);
      return [];
    }
    this.#said.passed(event);
    this.#keep(this.#sentLines, event.type, masked);
    return [masked];
  }

  #refuses(operation: LlmOperation): boolean {
    const decision = this.#options.session.decideNow(operation);
    if (decision?.verdict !== "hold") return decision?.verdict !== "allow";
    // A person who let the session begin was asked by these rules, and knows no more of each event in it.
    return !(decision.approvals ?? []).every((asked) => this.#isApproved(asked));
  }

  #isApproved({ policy, rule }: HoldTerms): boolean {
    const { verdict, approvals = [] } = this.#options.passage.decision;
    return (
      verdict === "hold" && approvals.some((one) => one.policy === policy && one.rule === rule)
    );
  }

  /** What was refused is on record before the agent hears of it; the session goes on without it. */
  #refuse({ id }: SaidEvent, operation: LlmOperation): void {
    if (this.#refusing >= maxRefusing) {
      this.#options.end(
        new ProxyError("LimitExceeded", `${maxRefusing} events were refused faster than recorded`),
      );
      return;
    }
    const decision = this.#options.session.decideNow(operation);
    if (decision?.verdict === "hold") {
      const message = `this needs a person's approval, for which a session cannot wait: ${decision.message}`;
      this.#tell(new ProxyError("Denied", message), id);
      return;
    }
    this.#refusing += 1;
    const passing = this.#options.session.pass(operation, {
      exact: () => "",
      signal: this.#ended.signal,
    });
    void Promise.resolve(passing).then((passage) => {
      this.#refusing -= 1;
      if (!passage.go) return this.#tell(passage.error, id);
      // The rules changed in between: it was not sent, and the agent may say it again.
      passage.done({ status: "denied" });
      this.#tell(new ProxyError("Denied", "the rules changed; say it again"), id);
    });
  }

  /** As the API says what is wrong with an event. */
  #tell(error: ProxyError, id: string | undefined): void {
    const said = openAiError({
      path: this.#options.operation.http.path,
      code: error.code,
      message: error.message,
      status: error.status,
      isTransient: false,
      more: {},
    });
    const object = isObject(said.body["error"]) ? said.body["error"] : {};
    const event = {
      type: "error",
      event_id: `event_${randomUUID()}`,
      error: { ...object, event_id: id ?? null },
    };
    this.#options.tell(JSON.stringify(event));
  }

  #maskedRequest(text: string): string {
    const { session, operation } = this.#options;
    const { bundle } = this.#options.live();
    const masks = session.masksNow(bundle.requestMasks ?? noMasks);
    if (masks.length === 0) return text;
    const masker = sentMaskerOf(masks, bundle, session.vault);
    const counts: Counts = {};
    const masked = provable("sent", () =>
      maskJson({ masker, counts, shape: realtimeShape, otherwise: "refuse" }, text),
    );
    this.#count(counts);
    findings(masks, session, operation)?.(counts);
    return masked;
  }

  #answered(text: string): readonly string[] {
    const event = eventOf(text);
    this.#usage.take(event);
    const over = this.#options.passage.spending?.countAll(this.#usage.tokens);
    if (over !== undefined) {
      this.#limit = over;
      const cause = new ProxyError("BudgetExceeded", `the session used up limits.${over}`);
      this.#tell(cause, undefined);
      this.#options.end(cause);
      return [];
    }
    const masked = this.#maskedAnswer(event, text);
    for (const one of masked) this.#keep(this.#answerLines, String(one.event["type"]), one.text);
    return masked.flatMap((one) => this.#restored(one));
  }

  #maskedAnswer(event: JsonObject, text: string): readonly Said[] {
    const { session, operation } = this.#options;
    const { bundle } = this.#options.live();
    const masks = session.masksNow(bundle.detectMasks);
    const before = this.#masking?.masks === masks ? [] : this.#changeMasks(masks, bundle);
    if (this.#masking === undefined) return [...before, { event, text }];
    const { events } = this.#masking;
    const shown = provable("answered", () => events.event(event));
    this.#seeAnswers ??= findings(masks, session, operation);
    this.#seeAnswers?.(this.detected);
    return [...before, ...shown.map(written)];
  }

  /** What the ones before held back goes out as they would have said it. */
  #changeMasks(masks: readonly DetectMask[], bundle: LiveGrant["bundle"]): readonly Said[] {
    const rest = this.#masking?.events.end() ?? [];
    this.#seeAnswers = undefined;
    this.#masking =
      masks.length === 0
        ? undefined
        : { masks, events: new RealtimeEvents(maskerOf(masks, bundle), this.detected) };
    return rest.map(written);
  }

  #restored({ event, text }: Said): readonly string[] {
    const { vault } = this.#options.session;
    if (vault.isEmpty) return [text];
    const before = this.#restoring?.names === vault.names.length ? [] : this.#changeRestoring();
    const shown = this.#restoring?.events.event(event) ?? [event];
    return [...before, ...shown].map((one) => JSON.stringify(one));
  }

  #changeRestoring(): readonly JsonObject[] {
    const { vault } = this.#options.session;
    const rest = this.#restoring?.events.end() ?? [];
    this.#restoring = {
      names: vault.names.length,
      events: new RealtimeEvents(createRestorer(vault), {}),
    };
    return rest;
  }

  #count(counts: Counts): void {
    for (const [name, count] of Object.entries(counts))
      this.detected[name] = (this.detected[name] ?? 0) + count;
  }

  #keep(lines: KeptLines, type: string, text: string): void {
    const { detail } = this.#options.live().bundle.recording;
    if (detail === "Full" && !sound.test(type)) lines.add(Buffer.from(text), true);
  }
}

interface Said {
  readonly event: JsonObject;
  readonly text: string;
}

function written(event: JsonObject): Said {
  return { event, text: JSON.stringify(event) };
}

function eventOf(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (isObject(value)) return value;
  throw new WebSocketViolation(closeCodes.invalidText, "a message of the session is no event");
}

function provable<T>(what: string, mask: () => T): T {
  try {
    return mask();
  } catch (error) {
    if (!(error instanceof NotMaskable)) throw error;
    throw new ProxyError(
      "MaskNotProvable",
      `what is ${what} in the session cannot be masked: ${error.message}. Masks apply to everything of this connection`,
    );
  }
}
