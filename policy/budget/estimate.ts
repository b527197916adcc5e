// How many tokens a text will be, before and while the provider counts them. Nothing here is exact: what a request really used replaces it.
import type { LlmFacts } from "../operation.ts";

/** English has four bytes of UTF-8 a token, most other languages about as many. */
const bytesPerToken = 4;
/** A run this long without a space is an image or a file in base64, which is not read as text. */
const longRun = /[A-Za-z0-9+/=_-]{1024,}/g;
/** What providers make of a large image. */
const tokensOfAttachment = 1_500;

/** What an answer is given beforehand where its request names no limit: longer ones get more as they come. */
export const unnamedOutputTokens = 4_096;

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
