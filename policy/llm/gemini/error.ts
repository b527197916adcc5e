// The error object of Google's APIs, so that its SDKs raise their own exception with our sentence in it.
import { statusAlone, type ProviderError, type SaidError } from "../provider.ts";

/** Of google.rpc.Code, by HTTP status. */
const names: Readonly<Record<number, string>> = {
  400: "FAILED_PRECONDITION",
  403: "PERMISSION_DENIED",
  413: "OUT_OF_RANGE",
  501: "UNIMPLEMENTED",
  502: "UNAVAILABLE",
  503: "UNAVAILABLE",
};

export function geminiError(said: SaidError): ProviderError {
  const status = statusAlone(said, 400);
  return {
    status,
    headers: [],
    body: {
      error: {
        code: status,
        message: said.message,
        status: names[status] ?? "INTERNAL",
        details: [
          {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            reason: said.code,
            domain: "chaperone.dev",
            metadata: said.more,
          },
        ],
      },
    },
  };
}
