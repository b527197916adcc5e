// The error object of the OpenAI API, so that its SDKs raise their own exception with our sentence in it.
import { finalStatus, type ProviderError, type SaidError } from "../provider.ts";

/** `x-should-retry` says the same to SDKs that read it. */
export function openAiError(said: SaidError): ProviderError {
  return {
    status: finalStatus(said),
    headers: [["x-should-retry", String(said.isTransient)]],
    body: {
      error: {
        message: said.message,
        type: "chaperone_denied",
        param: null,
        code: said.code,
        ...said.more,
      },
    },
  };
}
