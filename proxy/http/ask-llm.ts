// What a request to a language model asks for: its JSON body is read before the decision, and the answer on its way back.
import { formTokens, inputTokens } from "../../policy/budget/estimate.ts";
import type { DetectMask, RecordingDetail } from "../../policy/bundle.ts";
import { maskedMark, withThinking } from "../../policy/llm/anthropic/kept-thinking.ts";
import type { KeptThinking } from "../../policy/llm/anthropic/kept-thinking.ts";
import { answerReader } from "../../policy/llm/answer.ts";
import type { AnswerReader } from "../../policy/llm/answer.ts";
import type { Answer } from "../../policy/llm/gathering.ts";
import { recogniseHttp } from "../../policy/http/recognise.ts";
import { isObject, parseStrict } from "../../policy/llm/json.ts";
import type { JsonObject } from "../../policy/llm/json.ts";
import { withMembers } from "../../policy/llm/members.ts";
import type { LlmProvider } from "../../policy/llm/provider.ts";
import { recogniseLlm } from "../../policy/llm/recognise.ts";
import type { LlmOperation } from "../../policy/operation.ts";
import type { Counts } from "../../policy/mask/stream.ts";
import { ProxyError } from "../errors.ts";
import { maxContentBytes } from "../pipeline.ts";
import type { Content, GateSession, LiveGrant } from "../pipeline.ts";
import { contentText, exactOf, literal, tooLarge } from "./asked.ts";
import type { Asked } from "./asked.ts";
import type { Exchange, Observer } from "./exchange.ts";
import type { RequestHead } from "./head.ts";
import { maskRequest } from "./mask-request.ts";
import { strictestOf } from "./batch-requests.ts";
import { decodedBody, decodedHead, settledJson, settledType } from "./request-text.ts";

/** Prompts with images in them run to a few megabytes; what is decided on has to be held while it is. */
const bodyLimit = 4 * 1024 * 1024;
/** Sound and pictures come in forms: OpenAI takes recordings of 25 MB. Larger files do not pass. */
const formLimit = 26 * 1024 * 1024;

export async function askLlm(
  provider: LlmProvider,
  exchange: Exchange,
  received: RequestHead,
  live: LiveGrant,
  masks: readonly DetectMask[],
  session: Pick<GateSession, "vault" | "thinking" | "decideNow">,
): Promise<Asked> {
  const { endpoint, bundle } = live;
  const { vault, thinking } = session;
  const sent = await wholeBody(exchange, received);
  const type = sent === undefined ? undefined : settledType(received, sent);
  const head =
    received.contentEncoding === undefined && type === undefined
      ? received
      : decodedHead(received, type);
  const masked: Counts = {};
  const body =
    sent === undefined ? undefined : maskRequest(sent, provider, masks, bundle, vault, masked);
  const http = recogniseHttp({
    method: head.method,
    host: literal(endpoint.host),
    target: head.target,
    headers: head.all,
  });
  const asked = recogniseLlm(provider, {
    http,
    basePath: endpoint.basePath,
    contentType: String(head.all["content-type"] ?? ""),
    headers: Object.keys(head.all),
    ...(body !== undefined && { body }),
  });
  const operation = strictestOf(asked, (one) => session.decideNow(one));
  if (masks.length > 0) refuseTokens(operation);
  return {
    operation,
    head,
    provider,
    inputTokens: () => tokensIn(operation, body),
    masked,
    exact: () => exactOf(head, body),
    content:
      body === undefined ? undefined : () => ({ part: "request", text: shown(operation, body) }),
    // Tokens are counted and answers recorded from the text on its way; on loopback the agent gains nothing from encoding.
    form: "readable",
    body: ({ maxOutputTokens }) => {
      if (body === undefined) return null;
      const sent = rewritten(provider, body, asked, maxOutputTokens);
      // Behind the decision and the record: what the model thought is the provider's own, and only it hears it again.
      return provider.signsThinking === true ? thoughtOf(sent, thinking) : sent;
    },
    observer: () =>
      new AnswerObserver(provider, requestContents(operation, body, bundle.recording.detail)),
  };
}

function tokensIn({ facts, http }: LlmOperation, body: Buffer | undefined): number {
  if (body === undefined) return 0;
  return http.contentType === "multipart/form-data"
    ? formTokens(facts)
    : inputTokens(body.toString("utf8"));
}

/** A person who is asked sees what the request says; of a form its sound and pictures would be in the way. */
function shown({ facts, http }: LlmOperation, body: Buffer): string {
  return http.contentType.startsWith("multipart/") ? facts.prompts.join("\n\n") : contentText(body);
}

/** They spell a text that no mask finds. Throws ProxyError. */
function refuseTokens({ facts }: LlmOperation): void {
  if (facts.promptsUnreadable !== true || !ofTokens.has(facts.operation)) return;
  throw new ProxyError(
    "MaskNotProvable",
    "the request cannot be masked, because it has numbers of tokens in the place of text; send text (LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)",
  );
}

/** Operations whose input may be tokens. */
const ofTokens: ReadonlySet<string> = new Set(["embeddings", "completions"]);

/** The body as the text that it is, whatever it was encoded in. */
async function wholeBody(exchange: Exchange, head: RequestHead): Promise<Buffer | undefined> {
  if (exchange.request.body.length === 0) return undefined;
  const what = "a request to a language model";
  const isForm = /^multipart\/form-data\b/i.test(String(head.all["content-type"] ?? ""));
  const limit = isForm ? formLimit : bodyLimit;
  const { bytes, complete } = await exchange.readPrefix(limit);
  if (!complete) throw tooLarge(limit, what);
  exchange.bytesIn = bytes.length;
  if (head.contentEncoding === undefined) return isForm ? bytes : settledJson(bytes);
  const decoded = await decodedBody(bytes, head.contentEncoding, limit, what);
  await exchange.hold(decoded.length);
  return isForm ? decoded : settledJson(decoded);
}

/** The request with the model that rules saw, and the limit that the rule sets on one that names none. */
function rewritten(
  provider: LlmProvider,
  body: Buffer,
  { facts, http, members = {} }: LlmOperation,
  maxOutputTokens: number | undefined,
): Buffer {
  const limit =
    maxOutputTokens === undefined || http.contentType !== "application/json"
      ? {}
      : limitOf(body, (value) =>
          provider.limited(facts.operation, value, maxOutputTokens, http.path),
        );
  const set = { ...members, ...limit };
  return Object.keys(set).length === 0
    ? body
    : Buffer.from(withMembers(body.toString("utf8"), set));
}

/** The request with the thinking that was masked as its model signed it. */
function thoughtOf(body: Buffer, thinking: KeptThinking): Buffer {
  return body.includes(maskedMark)
    ? Buffer.from(withThinking(body.toString("utf8"), thinking))
    : body;
}

/** The members that differ in the body with the limit. */
function limitOf(
  body: Buffer,
  limited: (value: JsonObject) => JsonObject | undefined,
): Record<string, unknown> {
  const value: unknown = JSON.parse(body.toString("utf8"));
  const sent = isObject(value) ? limited(value) : undefined;
  if (!isObject(value) || sent === undefined) return {};
  return Object.fromEntries(Object.entries(sent).filter(([name, one]) => one !== value[name]));
}

class AnswerObserver implements Observer {
  readonly #provider: LlmProvider;
  readonly #asked: readonly Content[] | undefined;
  #reader: AnswerReader | undefined;

  /** @param asked what is recorded of the request; undefined: texts are not recorded */
  constructor(provider: LlmProvider, asked: readonly Content[] | undefined) {
    this.#provider = provider;
    this.#asked = asked;
  }

  start(_status: number, headers: Readonly<Record<string, string | string[] | undefined>>): void {
    // It was asked for without encoding; from an upstream that encodes all the same nothing can be read.
    if (headers["content-encoding"] === undefined)
      this.#reader = answerReader(this.#provider, String(headers["content-type"] ?? ""));
  }

  take(chunk: Buffer): void {
    // A copy: the reader keeps what it is given, and the chunk is part of a larger buffer of the socket.
    this.#reader?.push(Buffer.from(chunk));
  }

  finish(): ReturnType<Observer["finish"]> {
    const answer = this.#reader?.finish();
    const asked = this.#asked ?? [];
    if (answer === undefined) return { contents: asked };
    return {
      contents: this.#asked === undefined ? [] : [...asked, ...answerContent(answer)],
      ...(answer.usage !== undefined && { tokens: answer.usage }),
    };
  }
}

/** What the request says, as its recogniser read it; where everything is recorded, also the terms: tools offered, forms, numbers. */
function requestContents(
  operation: LlmOperation,
  body: Buffer | undefined,
  detail: RecordingDetail,
): readonly Content[] | undefined {
  if (detail === "Metadata") return undefined;
  const prompts = content("request", operation.facts.prompts, false);
  return detail === "Full" ? [...prompts, ...termsOf(body)] : prompts;
}

/** Where conversations stand in the bodies of all providers: recorded as the texts that they are. */
const conversation: ReadonlySet<string> = new Set([
  "messages",
  "input",
  "prompt",
  "instructions",
  "system",
  "contents",
  "images",
  "documents",
]);

function termsOf(body: Buffer | undefined): readonly Content[] {
  const parsed = parseStrict(body ?? "");
  if ("problem" in parsed || !isObject(parsed.value)) return [];
  const terms = Object.entries(parsed.value).filter(([name]) => !conversation.has(name));
  return terms.length === 0
    ? []
    : content("params", [JSON.stringify(Object.fromEntries(terms))], false);
}

function answerContent({ thinking = "", text, toolCalls, error, truncated }: Answer): Content[] {
  const calls = toolCalls.map((call) => `${call.name}(${call.arguments})`);
  return content("response", [thinking, text, ...calls, error ?? ""], truncated);
}

function content(part: Content["part"], texts: readonly string[], truncated: boolean): Content[] {
  const whole = texts.filter((text) => text !== "").join("\n\n");
  if (whole === "") return [];
  const bytes = Buffer.from(whole);
  const isCut = truncated || bytes.length > maxContentBytes;
  return [{ part, text: contentText(bytes), ...(isCut && { truncated: true }) }];
}
