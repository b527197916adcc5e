// AWS Signature Version 4 (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html): the signature of one request, and those of its chunks. Pure.
import { createHash, createHmac } from "node:crypto";

export interface SigningKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface Scope {
  readonly service: string;
  readonly region: string;
}

export interface ToSign {
  readonly method: string;
  /** Path and query, exactly as they are sent. */
  readonly target: string;
  /** Lower-case names and values, flat: the headers that the signature covers, `host` and `x-amz-date` among them. */
  readonly headers: readonly string[];
  /** What `x-amz-content-sha256` says: hex of the body's SHA-256, or a name. */
  readonly payload: string;
  /** `20150830T123600Z` */
  readonly date: string;
}

export interface Signature {
  /** Value of Authorization. */
  readonly authorization: string;
  /** Hex; the first chunk's signature builds on it. */
  readonly signature: string;
  readonly key: Buffer;
  /** `20150830/us-east-1/s3/aws4_request` */
  readonly scope: string;
}

export const unsignedPayload = "UNSIGNED-PAYLOAD";
export const streamingPayload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
export const emptySha256 = sha256("");

export function amzDate(nowMs: number): string {
  return `${new Date(nowMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, "")}Z`;
}

export function sign(request: ToSign, keys: SigningKeys, { service, region }: Scope): Signature {
  const day = request.date.slice(0, 8);
  const scope = `${day}/${region}/${service}/aws4_request`;
  const { text, signedHeaders } = canonicalRequest(request, isS3(service));
  const toSign = `AWS4-HMAC-SHA256\n${request.date}\n${scope}\n${sha256(text)}`;
  const key = [day, region, service, "aws4_request"].reduce<Buffer>(
    (before, part) => hmac(before, part),
    Buffer.from(`AWS4${keys.secretAccessKey}`),
  );
  const signature = hmac(key, toSign).toString("hex");
  return {
    authorization: `AWS4-HMAC-SHA256 Credential=${keys.accessKeyId}/${scope}, SignedHeaders=${signedHeaders}, Signature=${signature}`,
    signature,
    key,
    scope,
  };
}

/** The signature of one chunk of a body, from that of the one before or, for the first, of the request. */
export function signChunk(
  { key, scope }: Signature,
  date: string,
  before: string,
  chunk: Buffer,
): string {
  const toSign = `AWS4-HMAC-SHA256-PAYLOAD\n${date}\n${scope}\n${before}\n${emptySha256}\n${sha256(chunk)}`;
  return hmac(key, toSign).toString("hex");
}

/** Services that take the path as it is, where the others encode it once more. */
export function isS3(service: string): boolean {
  return /^s3(-|$)/.test(service);
}

export function sha256(data: string | Buffer): string {
  return createHash("sha256").update(data).digest("hex");
}

function canonicalRequest(
  { method, target, headers, payload }: ToSign,
  rawPath: boolean,
): { readonly text: string; readonly signedHeaders: string } {
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const fields = canonicalHeaders(headers);
  const signedHeaders = [...fields.keys()].join(";");
  const lines = [...fields].map(([name, values]) => `${name}:${values.join(",")}\n`).join("");
  const uri = rawPath ? encoded(decoded(path), "/") : encoded(Buffer.from(path), "/");
  const query = mark < 0 ? "" : canonicalQuery(target.slice(mark + 1));
  return {
    text: `${method}\n${uri}\n${query}\n${lines}\n${signedHeaders}\n${payload}`,
    signedHeaders,
  };
}

/** In the order of their names, values of one name in the order they are sent. */
function canonicalHeaders(headers: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const byName = new Map<string, string[]>();
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at] ?? "";
    const value = (headers[at + 1] ?? "").trim().replaceAll(/ +/g, " ");
    const known = byName.get(name);
    if (known === undefined) byName.set(name, [value]);
    else known.push(value);
  }
  return new Map([...byName].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** Each name and value decoded and encoded anew, in the order of what comes out. */
function canonicalQuery(query: string): string {
  const pairs = query
    .split("&")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const equals = pair.indexOf("=");
      const name = equals < 0 ? pair : pair.slice(0, equals);
      const value = equals < 0 ? "" : pair.slice(equals + 1);
      return [encoded(decoded(name), ""), encoded(decoded(value), "")] as const;
    });
  return pairs
    .toSorted(([a, x], [b, y]) => (a === b ? compare(x, y) : compare(a, b)))
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The bytes behind the escapes; what is no escape stands for itself. */
function decoded(text: string): Buffer {
  const bytes: number[] = [];
  for (let at = 0; at < text.length; at += 1) {
    const hex = text[at] === "%" ? text.slice(at + 1, at + 3) : "";
    const isEscape = /^[0-9A-Fa-f]{2}$/.test(hex);
    bytes.push(isEscape ? Number.parseInt(hex, 16) : text.charCodeAt(at));
    if (isEscape) at += 2;
  }
  return Buffer.from(bytes);
}

/** AWS's UriEncode: unreserved characters and those given stay, all other bytes become `%XX`. */
function encoded(bytes: Buffer, kept: string): string {
  let text = "";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    text +=
      /[A-Za-z0-9._~-]/.test(character) || (kept !== "" && character === kept)
        ? character
        : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return text;
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
