// The error object of Google's APIs, so that its SDKs raise their own exception with our sentence in it.
import { finalStatus, type ProviderError, type SaidError } from "../provider.ts";

/** Of google.rpc.Code, by HTTP status. */
const names: Readonly<Record<number, string>> = {
  400: "FAILED_PRECONDITION",
  403: "PERMISSION_DENIED",
  413: "OUT_OF_RANGE",
  501: "UNIMPLEMENTED",
  502: "UNAVAILABLE",
  503: "UNAVAILABLE",
};

/** Its SDKs know no header that says whether to send again: where it does not help, the status says so. */
export function geminiError(said: SaidError): ProviderError {
  const final = finalStatus(said);
  const status = final >= 500 && final !== 501 && !said.isTransient ? 400 : final;
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
