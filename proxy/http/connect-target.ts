// The place that a CONNECT asks for. Pure; what can be read in two ways is refused.
import { ProxyError } from "../errors.ts";
import { readAuthority } from "./head.ts";
import type { FlatHeaders } from "./inbound.ts";

/** RFC 1035 section 2.3.4. */
const maxHostLength = 253;

/**
 * RFC 9110 section 9.3.6: host and port, both said. Throws ProxyError MalformedRequest for what a second reader could take for
 * another place, or for a body.
 */
export function readConnect(
  target: string,
  headers: FlatHeaders,
): { readonly host: string; readonly port: number } {
  const { host, port } = readAuthority(target.toLowerCase());
  if (port === undefined) throw malformed("the target of CONNECT has no port: write host:port");
  const named: string[] = [];
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? "";
    if (name === "content-length" || name === "transfer-encoding")
      throw malformed("CONNECT has no body: leave Content-Length and Transfer-Encoding out");
    if (name === "host") named.push((headers[at + 1] ?? "").toLowerCase());
  }
  // Clients of HTTP/1.0 send no Host header, and some leave the port out of it; the target says it all.
  const [only, ...more] = named;
  if (more.length > 0) throw malformed("the request has several Host headers");
  if (only !== undefined) {
    const claimed = readAuthority(only);
    if (claimed.host !== host || (claimed.port !== undefined && claimed.port !== port))
      throw malformed("the target of CONNECT and the Host header name different places");
  }
  return { host: boundedHost(host), port };
}

/** Throws ProxyError MalformedRequest for a host that no DNS could hold. */
export function boundedHost(host: string): string {
  if (host.length <= maxHostLength) return host;
  throw malformed(`a host name has at most ${maxHostLength} characters`);
}

function malformed(message: string): ProxyError {
  return new ProxyError("MalformedRequest", message);
}
