// Anthropic's error object, so that its SDKs raise their own exception with our sentence in it.
import { finalStatus, type ProviderError, type SaidError } from "../provider.ts";

const types: Readonly<Record<number, string>> = {
  400: "invalid_request_error",
  403: "permission_error",
  413: "request_too_large",
  429: "rate_limit_error",
};

/** `x-should-retry` says to its SDKs what the status says to others. */
export function anthropicError(said: SaidError): ProviderError {
  const status = finalStatus(said);
  return {
    status,
    headers: [["x-should-retry", String(said.isTransient)]],
    body: {
      type: "error",
      error: {
        type: types[status] ?? "api_error",
        message: said.message,
        code: said.code,
        ...said.more,
      },
    },
  };
}
