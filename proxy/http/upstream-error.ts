// Translates what the upstream client reports into the proxy's own errors, once. Pure.
import { ProxyError } from "../errors.ts";
import type { ProxyErrorCode } from "../errors.ts";

const meanings: Readonly<Record<string, readonly [code: ProxyErrorCode, message: string]>> = {
  ECONNRESET: ["UpstreamUnreachable", "the upstream closed the connection before it had answered"],
  EPIPE: ["UpstreamUnreachable", "the upstream closed the connection before it had answered"],
};

/** With TLS 1.3 a server refuses a client's certificate, or that there is none, only after the handshake. */
export function endedTls(failure: Error | undefined): ProxyError | undefined {
  const code = failure !== undefined && "code" in failure ? String(failure.code) : "";
  if (!code.startsWith("ERR_SSL_")) return undefined;
  return new ProxyError(
    "UpstreamTls",
    `the upstream ended TLS (${code}): check endpoint.tls.clientCertificateSecretRef of the Connection`,
    { cause: failure },
  );
}

export function upstreamError(failure: Error): ProxyError {
  if (failure instanceof ProxyError) return failure;
  const ended = endedTls(failure);
  if (ended !== undefined) return ended;
  const code = "code" in failure ? String(failure.code) : "";
  const meaning = meanings[code];
  if (meaning !== undefined) return new ProxyError(meaning[0], meaning[1], { cause: failure });
  return new ProxyError("UpstreamProtocol", "the upstream did not answer in HTTP/1.1", {
    cause: failure,
  });
}
