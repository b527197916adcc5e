// The providers by the protocol of the Connection that speaks to them.
import type { LlmProtocol, Protocol } from "../operation.ts";
import { anthropic } from "./anthropic/provider.ts";
import { bedrock } from "./bedrock/provider.ts";
import { gemini } from "./gemini/provider.ts";
import { openAi } from "./openai/provider.ts";
import type { LlmProvider } from "./provider.ts";

export const providers: Readonly<Record<LlmProtocol, LlmProvider>> = {
  openai: openAi,
  anthropic,
  gemini,
  bedrock,
};

/** Undefined for a protocol that is not spoken with a language model. */
export function providerOf(protocol: Protocol | undefined): LlmProvider | undefined {
  for (const [known, provider] of Object.entries(providers))
    if (known === protocol) return provider;
  return undefined;
}
