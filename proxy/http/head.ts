// Reads the head of a request once: what it asks for, how its body is framed, and which headers may travel on. Pure; what is ambiguous is refused.
import { normalisePath } from "../../policy/http/path.ts";
import { overrideHeaders } from "../../policy/http/recognise.ts";
import { spellTarget } from "../../policy/http/target.ts";
import { ProxyError } from "../errors.ts";
import { claimHeaders, claimPrefixes, credentialHeaders } from "./credential/reserved.ts";

export interface RequestHead {
  readonly method: string;
  /** Lower case, without port. */
  readonly host: string;
  /** As the Host header says it; undefined for the scheme's own. */
  readonly port: number | undefined;
  /** Of an absolute target, which has to be the listener's. */
  readonly scheme: string | undefined;
  /** Path and query in the one spelling that goes on; a path with two readings as it came. */
  readonly target: string;
  /** The same without query. */
  readonly path: string;
  /** Undefined when there is no body or its length is not known beforehand. */
  readonly contentLength: number | undefined;
  readonly chunked: boolean;
  readonly contentEncoding: string | undefined;
  readonly chain: string | undefined;
  /** Lower-case names and values that may travel on, flat: hop-by-hop, credentials and ours are gone. */
  readonly kept: readonly string[];
  /** Every end-to-end header by lower-case name, for the recogniser; a list when it came several times. */
  readonly all: Readonly<Record<string, string | readonly string[]>>;
  /** Of what was removed: the placeholder credentials, for the guard of local mode. */
  readonly credentials: readonly string[];
  /** What the connection is to become, as sent; several headers are joined. */
  readonly upgrade: string | undefined;
  /** `Connection: upgrade`, without which an Upgrade header means nothing. */
  readonly wantsUpgrade: boolean;
  readonly browser: { readonly origin: string | undefined; readonly site: string | undefined };
  /** The Connection header, as sent; several are joined. */
  readonly connection: string | undefined;
  /** What the client says will follow its body: the Trailer header, as sent. */
  readonly announced: string | undefined;
}

/** What happens to a header that is not simply kept. */
type Treatment =
  | "host"
  | "length"
  | "transfer"
  | "connection"
  | "upgrade"
  | "hop"
  | "trailer"
  | "expect"
  | "credential"
  | "removed"
  | "chain"
  | "encoding"
  | "browser";

const treatments: ReadonlyMap<string, Treatment> = new Map<string, Treatment>([
  ["host", "host"],
  ["content-length", "length"],
  ["transfer-encoding", "transfer"],
  ["connection", "connection"],
  ["upgrade", "upgrade"],
  // RFC 9110 section 7.6.1, and what older clients send.
  ["keep-alive", "hop"],
  ["proxy-connection", "hop"],
  ["te", "hop"],
  ["trailer", "trailer"],
  ["expect", "expect"],
  ["http2-settings", "hop"],
  ["proxy-authenticate", "hop"],
  ...credentialHeaders.map((name) => [name, "credential"] as const),
  ...claimHeaders.map((name) => [name, "removed"] as const),
  ["chaperone-chain", "chain"],
  ["content-encoding", "encoding"],
  ["origin", "browser"],
  ["sec-fetch-site", "browser"],
]);

/** RFC 9112 section 3.2: a name, an IPv4 address or a bracketed IPv6 address, with or without port. */
const hostPattern = /^([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?$/;
const absolutePattern = /^(https?):\/\/([^/?#]+)(\/[^#]*|\?[^#]*|)$/i;
const targetPattern = /^\/[!-"$-~]*$/;
/** Methods are case-sensitive, but some servers take `get` for `GET`. */
const methodPattern = /^[A-Z][A-Z0-9_-]{0,31}$/;
const digits = /^\d{1,15}$/;
/** What is not a letter, a digit or a hyphen: rare in names of headers. */
const unusual = /[^-a-z0-9]/;
const notInNames = /[^-a-z0-9]/g;
/** What says whom a request is for and where it ends; a `Connection` that names one of them wants it read differently further on. */
const unnameable: ReadonlySet<string> = new Set(["host", "content-length", "transfer-encoding"]);
const maxChainLength = 128;
/** Node's parser drops what exceeds its own count without a word, so it is told one more, and more than this is refused. */
export const maxHeaders = 200;

/**
 * @param url the request target: a path, or an absolute URL whose authority then has to be the Host header's
 * @param rawHeaders names and values as they came, flat
 * @param named `:authority`, which HTTP/2 has; a Host header beside it has to say the same (RFC 9113 section 8.3.1)
 * @param read `readFields`, or what remembers its answer
 */
export function readHead(
  method: string,
  url: string,
  rawHeaders: readonly string[],
  named?: string,
  read: (rawHeaders: readonly string[]) => HeadFields = readFields,
): RequestHead {
  if (rawHeaders.length > 2 * maxHeaders)
    throw new ProxyError("TooLarge", `a request may have at most ${maxHeaders} headers`);
  if (!methodPattern.test(method)) throw malformed("the method is not one word in capital letters");
  // Its answer is the request as it arrived, our credential included (RFC 9110 section 9.3.8).
  if (method === "TRACE")
    throw new ProxyError(
      "NotSupported",
      "TRACE is not supported: its answer would show the credential",
    );
  const fields = read(rawHeaders);
  const { authority, host, port } = placeOf(fields.place, named?.toLowerCase());
  const { scheme, target } = readTarget(url, authority);
  const mark = target.indexOf("?");
  return {
    method,
    host,
    port,
    scheme,
    target,
    path: mark < 0 ? target : target.slice(0, mark),
    contentLength: fields.contentLength,
    chunked: fields.chunked,
    contentEncoding: fields.contentEncoding,
    chain: fields.chain,
    kept: fields.kept,
    upgrade: fields.upgrade,
    wantsUpgrade: fields.wantsUpgrade,
    all: fields.all,
    credentials: fields.credentials,
    browser: fields.browser,
    connection: fields.connection,
    announced: fields.announced,
  };
}

/** What the headers say, whatever the request is for. */
export interface HeadFields extends Omit<
  RequestHead,
  "method" | "host" | "port" | "scheme" | "target" | "path"
> {
  /** As the Host header says it. */
  readonly place: Place | undefined;
}

interface Place {
  /** Lower case. */
  readonly authority: string;
  readonly host: string;
  readonly port: number | undefined;
}

function placeOf(said: Place | undefined, named: string | undefined): Place {
  if (named !== undefined && named !== (said?.authority ?? named))
    throw malformed("the request's :authority and its Host header name different hosts");
  if (said !== undefined) return said;
  if (named === undefined) throw malformed("the request has no Host header");
  return { authority: named, ...readAuthority(named) };
}

/** Remembers what the headers of one connection said last: a client sends the same ones again and again, and its leg hands up the same list then. */
export class FieldMemory {
  #headers: readonly string[] | undefined;
  #fields: HeadFields | undefined;

  /** As `readFields`. */
  readonly read = (rawHeaders: readonly string[]): HeadFields => {
    if (this.#fields !== undefined && this.#headers === rawHeaders) return this.#fields;
    const fields = readFields(rawHeaders);
    this.#headers = rawHeaders;
    this.#fields = fields;
    return fields;
  };
}

function readFields(rawHeaders: readonly string[]): HeadFields {
  const kept: string[] = [];
  const all: Record<string, string | string[]> = Object.create(null);
  const credentials: string[] = [];
  let hostHeader: string | undefined;
  let contentLength: number | undefined;
  let chunked = false;
  let options: string | undefined;
  let upgrade: string | undefined;
  let chain: string | undefined;
  let announced: string | undefined;
  let contentEncoding: string | undefined;
  let origin: string | undefined;
  let site: string | undefined;

  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] ?? "").toLowerCase();
    const value = rawHeaders[at + 1] ?? "";
    const treatment = treatments.get(name) ?? (isOurs(name) ? "removed" : undefined);
    if (treatment === undefined && unusual.test(name)) refuseTwin(name);
    switch (treatment) {
      case undefined:
        kept.push(name, value);
        note(all, name, value);
        break;
      case "host":
        if (hostHeader !== undefined) throw malformed("the request has several Host headers");
        hostHeader = value.toLowerCase();
        break;
      case "length":
        if (contentLength !== undefined || !digits.test(value))
          throw malformed("the Content-Length is not one number");
        contentLength = Number(value);
        break;
      case "transfer":
        if (chunked || value.toLowerCase() !== "chunked")
          throw malformed("the Transfer-Encoding is not exactly `chunked`");
        chunked = true;
        break;
      case "connection":
        options = options === undefined ? value : `${options},${value}`;
        break;
      case "upgrade":
        // Java's HttpClient offers it with every first request in clear text, curl with --http2. Declined (RFC 9110 section 7.8): the
        // answer is HTTP/1.1, and no upstream hears of the offer.
        if (value.toLowerCase() === "h2c") break;
        upgrade = upgrade === undefined ? value : `${upgrade}, ${value}`;
        break;
      case "credential":
        credentials.push(value);
        break;
      case "chain":
        if (chain !== undefined || value.length > maxChainLength)
          throw malformed(
            `the Chaperone-Chain header is not one name of at most ${maxChainLength} characters`,
          );
        chain = value;
        break;
      case "encoding":
        contentEncoding =
          contentEncoding === undefined
            ? value.toLowerCase()
            : `${contentEncoding}, ${value.toLowerCase()}`;
        kept.push(name, value);
        note(all, name, value);
        break;
      case "browser":
        if (name === "origin") origin = value;
        else site = value;
        kept.push(name, value);
        note(all, name, value);
        break;
      case "expect":
        // Answered by this hop (RFC 9110 section 10.1.1).
        if (value.toLowerCase() !== "100-continue")
          throw malformed("the Expect header is not exactly `100-continue`");
        break;
      case "trailer":
        announced = announced === undefined ? value : `${announced}, ${value}`;
        break;
      case "hop":
      case "removed":
        break;
      default:
        treatment satisfies never;
    }
  }

  if (chunked && contentLength !== undefined)
    throw malformed("the request has both Content-Length and Transfer-Encoding");
  return {
    place:
      hostHeader === undefined
        ? undefined
        : { authority: hostHeader, ...readAuthority(hostHeader) },
    contentLength,
    chunked,
    contentEncoding,
    chain,
    kept: options === undefined ? kept : dropNamed(kept, all, options),
    upgrade,
    wantsUpgrade: options !== undefined && upgradeOption.test(options),
    all,
    credentials,
    browser: { origin, site },
    connection: options,
    announced,
  };
}

const upgradeOption = /(^|,)\s*upgrade\s*(,|$)/i;

export function readAuthority(authority: string): { host: string; port: number | undefined } {
  const [, host, port] = hostPattern.exec(authority) ?? [];
  if (host === undefined || Number(port ?? 1) < 1 || Number(port ?? 1) > 65_535)
    throw malformed("the Host header is not a name or address with an optional port");
  return {
    host: host.endsWith(".") ? host.slice(0, -1) : host,
    port: port === undefined ? undefined : Number(port),
  };
}

/**
 * True when the path lies under the base path of the endpoint in whatever way a server reads it, so it has to have one reading.
 *
 * @param path in the spelling that goes on
 */
export function liesUnder(path: string, basePath: string): boolean {
  if (basePath === "") return true;
  const base = spellTarget(basePath);
  const isBelow =
    path.startsWith(base) && (path.length === base.length || path[base.length] === "/");
  return isBelow && "path" in normalisePath(path);
}

/**
 * CGI, WSGI, PHP and their like read every character of a name but letters and digits as `_`: `x_api_key` is `x-api-key` to
 * them, and `transfer_encoding` a framing. No client writes one for the other, so it is refused rather than dropped.
 */
function refuseTwin(name: string): void {
  const twin = name.replace(notInNames, "-");
  if (treatments.has(twin) || isOurs(twin) || twin === "content-type" || overrideHeaders.has(twin))
    throw malformed(`some servers read the header ${name} as ${twin}; send it under that name`);
}

/**
 * Whether a name means something in a head alone, or nothing an agent may say; such a field is left out of trailers. Throws
 * ProxyError MalformedRequest for its twin.
 */
export function isForHead(name: string): boolean {
  if (treatments.has(name) || isOurs(name)) return true;
  if (unusual.test(name)) refuseTwin(name);
  return false;
}

function isOurs(name: string): boolean {
  return name.startsWith("chaperone-") || claimPrefixes.some((prefix) => name.startsWith(prefix));
}

/** What `Connection` names is for this hop alone (RFC 9110 section 7.6.1). Done before a credential is added, so it can never name that away. */
function dropNamed(
  kept: string[],
  all: Record<string, string | string[]>,
  options: string,
): string[] {
  const named = options
    .toLowerCase()
    .split(",")
    .map((option) => option.trim());
  if (named.every((option) => option === "" || option === "close" || option === "keep-alive"))
    return kept;
  if (named.some((option) => unnameable.has(option)))
    throw malformed("the Connection header names a header that is not for one hop alone");
  const result: string[] = [];
  for (let at = 0; at + 1 < kept.length; at += 2) {
    const name = kept[at] ?? "";
    if (named.includes(name)) delete all[name];
    else result.push(name, kept[at + 1] ?? "");
  }
  return result;
}

function readTarget(
  url: string,
  authority: string,
): { readonly scheme: string | undefined; readonly target: string } {
  if (targetPattern.test(url)) return { scheme: undefined, target: spellTarget(url) };
  const [, scheme, named, rest = ""] = absolutePattern.exec(url) ?? [];
  if (scheme === undefined || named === undefined)
    throw malformed("the request target is neither a path nor an http URL");
  if (named.toLowerCase() !== authority)
    throw malformed("the request target and the Host header name different hosts");
  const target = rest.startsWith("/") ? rest : `/${rest}`;
  if (!targetPattern.test(target))
    throw malformed("the request target contains characters that have to be percent-encoded");
  return { scheme: scheme.toLowerCase(), target: spellTarget(target) };
}

function note(all: Record<string, string | string[]>, name: string, value: string): void {
  const before = all[name];
  if (before === undefined) all[name] = value;
  else if (typeof before === "string") all[name] = [before, value];
  else before.push(value);
}

function malformed(message: string): ProxyError {
  return new ProxyError("MalformedRequest", message);
}
