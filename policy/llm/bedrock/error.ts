// The error of AWS's JSON protocols, so that its SDKs raise their own exception with our sentence in it.
import { statusAlone, type ProviderError, type SaidError } from "../provider.ts";

const types: Readonly<Record<number, string>> = {
  400: "ValidationException",
  403: "AccessDeniedException",
  413: "ValidationException",
  424: "ModelErrorException",
  502: "ServiceUnavailableException",
  503: "ServiceUnavailableException",
};

export function bedrockError(said: SaidError): ProviderError {
  const status = statusAlone(said, 424);
  return {
    status,
    headers: [["x-amzn-errortype", types[status] ?? "ValidationException"]],
    body: { message: said.message, code: said.code, ...said.more },
  };
}
