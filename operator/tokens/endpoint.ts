// One POST to a token endpoint, bounded in time and size: TLS verified, no redirect followed, no address dialled that the operator must not knock at.
import { request } from "node:https";
import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";
import type { ForbiddenAddresses } from "../connections/forbidden.ts";

/** How the operator reaches authorization servers. */
export interface TokenAccess {
  /** Every address of a name. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
  /** Addresses that are never dialled; none in local mode. */
  readonly forbidden?: ForbiddenAddresses;
  /** PEM, for Connections that name no CA; undefined means Node's own roots. */
  readonly roots?: string;
}

/** An answer of more is no token: the largest signed ones have some kilobytes. */
const maxAnswerBytes = 64 * 1024;
/** A name with more addresses is a content network; the first ones stand for all. */
const maxAddresses = 4;

export type EndpointFailure =
  | "TokenEndpointUnreachable"
  | "TokenEndpointUntrusted"
  | "TokenUnusable";

/** @param message what is wrong, to follow the name of the endpoint in a sentence */
export class EndpointFailed extends Error {
  readonly reason: EndpointFailure;

  constructor(reason: EndpointFailure, message: string) {
    super(message);
    this.name = "EndpointFailed";
    this.reason = reason;
  }
}

export interface Posted {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** PEM. */
  readonly ca: string | undefined;
}

/**
 * Throws EndpointFailed, which says nothing of what the server answered: whoever writes a Connection must not be able to
 * read through the operator.
 */
export async function post(
  posted: Posted,
  access: TokenAccess,
  signal: AbortSignal,
): Promise<Response> {
  const host = posted.url.hostname.replace(/^\[|\]$/g, "");
  const addresses = await allowedAddresses(host, access, signal);
  let failure: unknown;
  for (const address of addresses) {
    try {
      return await postTo(address, host, posted, access.roots, signal);
    } catch (error) {
      failure = error;
      // Only what was never heard may be said again elsewhere.
      if (!isUnheard(error)) break;
    }
  }
  throw translated(failure, signal);
}

/** All of them must be allowed, as for a probe. */
async function allowedAddresses(
  host: string,
  { resolve, forbidden }: TokenAccess,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const addresses = isIP(host) > 0 ? [host] : await named(host, resolve, signal);
  for (const address of addresses) {
    const why = forbidden?.reason(address);
    if (why !== undefined)
      throw new EndpointFailed(
        "TokenEndpointUnreachable",
        `is ${why}, which the operator never dials`,
      );
  }
  return addresses.slice(0, maxAddresses);
}

async function named(
  host: string,
  resolve: TokenAccess["resolve"],
  signal: AbortSignal,
): Promise<readonly string[]> {
  // A resolver cannot be told to stop, so nobody waits for it longer than they want to.
  const aborted = Promise.withResolvers<never>();
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const addresses = await Promise.race([resolve(host), aborted.promise]);
    if (addresses.length > 0) return addresses;
  } catch {
    if (signal.aborted) throw translated(undefined, signal);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
  throw new EndpointFailed("TokenEndpointUnreachable", "has a name that cannot be resolved");
}

function postTo(
  address: string,
  host: string,
  { url, headers, body, ca }: Posted,
  roots: string | undefined,
  signal: AbortSignal,
): Promise<Response> {
  const trusted = ca ?? roots;
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        host: address,
        port: url.port === "" ? 443 : Number(url.port),
        method: "POST",
        path: url.pathname,
        headers: { ...headers, host: url.host, "content-length": Buffer.byteLength(body) },
        // The certificate is held against the name in the Connection, not against the address it led to.
        servername: isIP(host) > 0 ? "" : host,
        ...(trusted === undefined ? {} : { ca: trusted }),
        minVersion: "TLSv1.2",
        rejectUnauthorized: true,
        agent: false,
        signal,
      },
      (answer) => void readAnswer(answer).then(resolve, reject),
    );
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

async function readAnswer(answer: IncomingMessage): Promise<Response> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of answer) {
    if (!Buffer.isBuffer(chunk)) continue;
    length += chunk.length;
    if (length > maxAnswerBytes) {
      answer.destroy();
      throw new EndpointFailed(
        "TokenUnusable",
        `answered with more than ${maxAnswerBytes / 1024} KiB`,
      );
    }
    chunks.push(chunk);
  }
  const status = answer.statusCode ?? 0;
  if (status < 200 || status > 599 || status === 204 || status === 304)
    throw new EndpointFailed("TokenUnusable", `answered with status ${status}`);
  // Nothing else of the head counts: a challenge would hide the error code in the body.
  const type = answer.headers["content-type"];
  return new Response(Buffer.concat(chunks), {
    status,
    headers: type === undefined ? {} : { "content-type": type },
  });
}

function isUnheard(error: unknown): boolean {
  return ["ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "EADDRNOTAVAIL"].includes(codeOf(error));
}

const untrusted = /^(CERT_|ERR_TLS_CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_)/;

function translated(error: unknown, signal: AbortSignal): EndpointFailed {
  if (error instanceof EndpointFailed) return error;
  if (signal.aborted)
    return new EndpointFailed("TokenEndpointUnreachable", "did not answer in time");
  const code = codeOf(error);
  if (untrusted.test(code))
    return new EndpointFailed(
      "TokenEndpointUntrusted",
      `shows a certificate that is not to be trusted (${code}); see credential.oauth2.caSecretRef`,
    );
  const why = code === "" ? "" : ` (${code})`;
  return new EndpointFailed("TokenEndpointUnreachable", `cannot be reached over TLS${why}`);
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : "";
}
