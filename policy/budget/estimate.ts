// How many tokens a text will be, before and while the provider counts them. Nothing here is exact: what a request really used replaces it.
import { generates } from "../match/llm.ts";
import type { LlmFacts, LlmOperation } from "../operation.ts";
import type { Price } from "./price.ts";

/** English has four bytes of UTF-8 a token, most other languages about as many. */
export const bytesPerToken = 4;
/** A run this long without a space is an image or a file in base64, which is not read as text. */
const longRun = /[A-Za-z0-9+/=_-]{1024,}/g;
/** What providers make of a large image. */
const tokensOfAttachment = 1_500;

/** What an answer is given beforehand where nobody says how long it may be: longer ones get more as they come. */
export const unnamedOutputTokens = 4_096;

/** Tokens of answer that are reserved before a request is sent. */
export interface ExpectedOutput {
  readonly tokens: number;
  /** The request names them, so that the provider keeps to them. */
  readonly isNamed: boolean;
}

/**
 * By what the request says, else the rule that is written into it, else the table's word on its model, else a number of ours, which alone can be passed.
 *
 * @param ofRule `maxOutputTokens` of the rule that allowed it
 */
export function expectedOutput(
  { facts, answers = 1 }: LlmOperation,
  ofRule: number | undefined,
  entry: Price | undefined,
): ExpectedOutput {
  if (!generates(facts)) return { tokens: 0, isNamed: true };
  const named = facts.maxOutputTokens ?? ofRule;
  if (named !== undefined) return { tokens: named, isNamed: true };
  // What streams is given more as it comes, and cut: it need not have all of it beforehand.
  const each = facts.stream ? unnamedOutputTokens : (entry?.maxOutputTokens ?? unnamedOutputTokens);
  return { tokens: Math.min(each * answers, Number.MAX_SAFE_INTEGER), isNamed: false };
}

export function tokensOf(bytes: number): number {
  return Math.ceil(bytes / bytesPerToken);
}

/** Of a request that is a form: its texts, and the files in it as so many attachments. */
export function formTokens({ prompts, attachments }: LlmFacts): number {
  const bytes = prompts.reduce((sum, prompt) => sum + Buffer.byteLength(prompt), 0);
  return tokensOf(bytes) + Math.max(1, attachments.length) * tokensOfAttachment;
}

/** Of the body of a request, names and braces included. */
export function inputTokens(body: string): number {
  let attachments = 0;
  const text = body.replaceAll(longRun, () => {
    attachments += 1;
    return "";
  });
  return tokensOf(Buffer.byteLength(text)) + attachments * tokensOfAttachment;
}
