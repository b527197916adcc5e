// Translates what the upstream client reports into the proxy's own errors, once. Pure.
import { ProxyError } from "../errors.ts";
import type { ProxyErrorCode } from "../errors.ts";

const meanings: Readonly<Record<string, readonly [code: ProxyErrorCode, message: string]>> = {
  UND_ERR_HEADERS_TIMEOUT: ["UpstreamUnreachable", "the upstream did not begin to answer in time"],
  UND_ERR_BODY_TIMEOUT: ["UpstreamUnreachable", "the upstream stopped in the middle of its answer"],
  UND_ERR_SOCKET: [
    "UpstreamUnreachable",
    "the upstream closed the connection before it had answered",
  ],
  ECONNRESET: ["UpstreamUnreachable", "the upstream closed the connection before it had answered"],
  EPIPE: ["UpstreamUnreachable", "the upstream closed the connection before it had answered"],
  UND_ERR_HEADERS_OVERFLOW: [
    "UpstreamProtocol",
    "the headers of the upstream's answer are too large",
  ],
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: [
    "UpstreamProtocol",
    "the upstream's answer is not as long as it said",
  ],
  UND_ERR_REQ_CONTENT_LENGTH_MISMATCH: [
    "MalformedRequest",
    "the request's body is not as long as its Content-Length says",
  ],
  UND_ERR_INVALID_ARG: ["MalformedRequest", "the request cannot be written as HTTP/1.1"],
  UND_ERR_DESTROYED: [
    "GrantEnded",
    "the endpoint of the connection changed; send the request again",
  ],
  UND_ERR_CLOSED: ["GrantEnded", "the endpoint of the connection changed; send the request again"],
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
