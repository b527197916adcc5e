// The error object of the OpenAI API, so that its SDKs raise their own exception with our sentence in it.
import { isOllama } from "./ollama.ts";
import { finalStatus, type ProviderError, type SaidError } from "../provider.ts";

/** `x-should-retry` says the same to SDKs that read it. Clients of Ollama look for a text. */
export function openAiError(said: SaidError): ProviderError {
  const { message, code, more } = said;
  const object = { message, type: "chaperone_denied", param: null, code, ...more };
  return {
    status: finalStatus(said),
    headers: [["x-should-retry", String(said.isTransient)]],
    body: isOllama(said.path) ? { error: message, code, ...more } : { error: object },
  };
}
