// What a request to a language model asks for: its JSON body is read before the decision, and the answer on its way back.
import type { DetectMask } from "../../policy/bundle.ts";
import { answerReader } from "../../policy/llm/answer.ts";
import type { AnswerReader } from "../../policy/llm/answer.ts";
import type { Answer } from "../../policy/llm/gathering.ts";
import { recogniseHttp } from "../../policy/http/recognise.ts";
import { isObject } from "../../policy/llm/json.ts";
import type { LlmProvider } from "../../policy/llm/provider.ts";
import { recogniseLlm } from "../../policy/llm/recognise.ts";
import type { LlmOperation } from "../../policy/operation.ts";
import type { Counts } from "../../policy/mask/stream.ts";
import type { TokenVault } from "../../policy/mask/token-vault.ts";
import { maxContentBytes } from "../pipeline.ts";
import type { Content, LiveGrant } from "../pipeline.ts";
import { contentText, exactOf, literal, tooLarge } from "./asked.ts";
import type { Asked } from "./asked.ts";
import type { Exchange, Observer } from "./exchange.ts";
import type { RequestHead } from "./head.ts";
import { maskRequest } from "./mask-request.ts";

/** Prompts with images in them run to a few megabytes; what is decided on has to be held while it is. */
const bodyLimit = 4 * 1024 * 1024;

export async function askLlm(
  provider: LlmProvider,
  exchange: Exchange,
  head: RequestHead,
  live: LiveGrant,
  masks: readonly DetectMask[],
  vault: TokenVault,
): Promise<Asked> {
  const { endpoint, bundle } = live;
  const prefix =
    exchange.request.body.length !== 0 ? await exchange.readPrefix(bodyLimit) : undefined;
  if (prefix?.complete === false) throw tooLarge(bodyLimit, "a request to a language model");
  exchange.bytesIn = prefix?.bytes.length ?? 0;
  const masked: Counts = {};
  // An encoded body is refused below.
  const body =
    prefix === undefined || head.contentEncoding !== undefined
      ? prefix?.bytes
      : maskRequest(prefix.bytes, provider, masks, bundle, vault, masked);
  const http = recogniseHttp({
    method: head.method,
    host: literal(endpoint.host),
    target: head.target,
    headers: head.all,
  });
  const operation = recogniseLlm(provider, {
    http,
    basePath: endpoint.basePath,
    // An encoded body is not looked into: without its text the recogniser refuses what needs one.
    ...(body !== undefined && head.contentEncoding === undefined && { body }),
  });
  const keepsText = bundle.recording.detail !== "Metadata";
  return {
    operation,
    provider,
    masked,
    exact: () => exactOf(head, body),
    content: body === undefined ? undefined : () => ({ part: "request", text: contentText(body) }),
    // Tokens are counted and answers recorded from the text on its way; on loopback the agent gains nothing from encoding.
    form: "readable",
    body: ({ maxOutputTokens }) => {
      if (body === undefined) return null;
      return maxOutputTokens === undefined
        ? body
        : limited(provider, body, operation, maxOutputTokens);
    },
    observer: () => new AnswerObserver(provider, keepsText ? operation.facts.prompts : undefined),
  };
}

/** The request with the limit that the rule sets on one that names none. */
function limited(
  provider: LlmProvider,
  body: Buffer,
  operation: LlmOperation,
  maxOutputTokens: number,
): Buffer {
  const value: unknown = JSON.parse(body.toString("utf8"));
  const sent = isObject(value)
    ? provider.limited(operation.facts.operation, value, maxOutputTokens)
    : undefined;
  return sent === undefined ? body : Buffer.from(JSON.stringify(sent));
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
