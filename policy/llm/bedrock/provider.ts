// Amazon Bedrock: Converse, and InvokeModel for the models whose own form is known.
import { isObject } from "../json.ts";
import type { JsonObject } from "../json.ts";
import type { LlmProvider } from "../provider.ts";
import { readBedrockBody, readBedrockEvent } from "./answer.ts";
import { bedrockError } from "./error.ts";
import { limitedInvoke } from "./invoke.ts";
import { BedrockEvents } from "./mask-event.ts";
import { bedrockShape } from "./mask-shape.ts";
import { bedrockRoute } from "./routes.ts";

export const bedrock: LlmProvider = {
  protocol: "bedrock",
  route: bedrockRoute,
  limited,
  shape: bedrockShape,
  framing: (media) => (media === "application/vnd.amazon.eventstream" ? "frames" : undefined),
  maskEvents: (masker, counts, kept) => new BedrockEvents(masker, counts, kept),
  signsThinking: true,
  readBody: readBedrockBody,
  readEvent: readBedrockEvent,
  error: bedrockError,
};

function limited(
  operation: string,
  body: JsonObject,
  tokens: number,
  path: string,
): JsonObject | undefined {
  if (operation !== "chat") return undefined;
  const [, model = "", action = ""] = /\/model\/([^/]+)\/([a-z-]+)$/.exec(path) ?? [];
  if (action.startsWith("invoke")) return limitedInvoke(body, model, tokens);
  const config = isObject(body["inferenceConfig"]) ? body["inferenceConfig"] : {};
  return { ...body, inferenceConfig: { ...config, maxTokens: tokens } };
}
