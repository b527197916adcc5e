// What a request to a language model asks for: its JSON body is read before the decision, and the answer on its way back.
import type { DetectMask } from "../../policy/bundle.ts";
import { answerReader } from "../../policy/llm/answer.ts";
import type { AnswerReader } from "../../policy/llm/answer.ts";
import type { Answer } from "../../policy/llm/gathering.ts";
import { recogniseHttp } from "../../policy/http/recognise.ts";
import { isObject } from "../../policy/llm/json.ts";
import type { JsonObject } from "../../policy/llm/json.ts";
import { withMembers } from "../../policy/llm/members.ts";
import type { LlmProvider } from "../../policy/llm/provider.ts";
import { recogniseLlm } from "../../policy/llm/recognise.ts";
import type { LlmOperation } from "../../policy/operation.ts";
import type { Counts } from "../../policy/mask/stream.ts";
import { maxContentBytes } from "../pipeline.ts";
import type { Content, LiveGrant } from "../pipeline.ts";
import { contentText, exactOf, literal, tooLarge } from "./asked.ts";
import type { Asked } from "./asked.ts";
import type { Exchange, Observer } from "./exchange.ts";
import type { RequestHead } from "./head.ts";
import { maskRequest } from "./mask-request.ts";
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
): Promise<Asked> {
  const { endpoint, bundle } = live;
  const sent = await wholeBody(exchange, received);
  const type = sent === undefined ? undefined : settledType(received, sent);
  const head =
    received.contentEncoding === undefined && type === undefined
      ? received
      : decodedHead(received, type);
  const masked: Counts = {};
  const body = sent === undefined ? undefined : maskRequest(sent, provider, masks, bundle, masked);
  const http = recogniseHttp({
    method: head.method,
    host: literal(endpoint.host),
    target: head.target,
    headers: head.all,
  });
  const operation = recogniseLlm(provider, {
    http,
    basePath: endpoint.basePath,
    contentType: String(head.all["content-type"] ?? ""),
    ...(body !== undefined && { body }),
  });
  const keepsText = bundle.recording.detail !== "Metadata";
  return {
    operation,
    head,
    provider,
    masked,
    exact: () => exactOf(head, body),
    content: body === undefined ? undefined : () => ({ part: "request", text: contentText(body) }),
    // Tokens are counted and answers recorded from the text on its way; on loopback the agent gains nothing from encoding.
    form: "readable",
    body: ({ maxOutputTokens }) => {
      if (body === undefined) return null;
      return rewritten(provider, body, operation, maxOutputTokens);
    },
    observer: () => new AnswerObserver(provider, keepsText ? operation.facts.prompts : undefined),
  };
}

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
    maxOutputTokens === undefined
      ? {}
      : limitOf(body, (value) =>
          provider.limited(facts.operation, value, maxOutputTokens, http.path),
        );
  const set = { ...members, ...limit };
  return Object.keys(set).length === 0
    ? body
    : Buffer.from(withMembers(body.toString("utf8"), set));
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
  readonly #prompts: readonly string[] | undefined;
  #reader: AnswerReader | undefined;

  /** @param prompts undefined: texts are not recorded */
  constructor(provider: LlmProvider, prompts: readonly string[] | undefined) {
    this.#provider = provider;
    this.#prompts = prompts;
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
    const asked = this.#prompts === undefined ? [] : content("request", this.#prompts, false);
    if (answer === undefined) return { contents: asked };
    return {
      contents: this.#prompts === undefined ? [] : [...asked, ...answerContent(answer)],
      ...(answer.usage !== undefined && { tokens: answer.usage }),
    };
  }
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
