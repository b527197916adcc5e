// The error of AWS's JSON protocols, so that its SDKs raise their own exception with our sentence in it.
import { finalStatus, type ProviderError, type SaidError } from "../provider.ts";

const types: Readonly<Record<number, string>> = {
  400: "ValidationException",
  403: "AccessDeniedException",
  413: "ValidationException",
  424: "ModelErrorException",
  502: "ServiceUnavailableException",
  503: "ServiceUnavailableException",
};

/** Its SDKs know no header that says whether to send again: where it does not help, the status says so. */
export function bedrockError(said: SaidError): ProviderError {
  const final = finalStatus(said);
  const status = final >= 500 && final !== 501 && !said.isTransient ? 424 : final;
  return {
    status,
    headers: [["x-amzn-errortype", types[status] ?? "ValidationException"]],
    body: { message: said.message, code: said.code, ...said.more },
  };
}
