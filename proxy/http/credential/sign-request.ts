// Signs one request for AWS over exactly what is sent: what the agent's own SDK signed goes, bodies that stream are signed chunk by chunk where the service takes that.
import { pipeline, Readable } from "node:stream";

import type { AwsLease } from "../../../contract/control.ts";
import { ProxyError } from "../../errors.ts";
import { AwsChunkedDecoder, AwsChunkedEncoder, encodedLength } from "./aws-chunked.ts";
import {
  amzDate,
  emptySha256,
  isS3,
  sha256,
  sign,
  streamingPayload,
  unsignedPayload,
} from "./sigv4.ts";
import type { Signature } from "./sigv4.ts";

export interface Sendable {
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  /** Names and values, flat, without host and framing. */
  readonly headers: readonly string[];
  readonly body: Buffer | Readable | null;
  /** Of a body that streams, where it is known beforehand. */
  readonly length: number | undefined;
}

export interface SigningContext {
  readonly lease: AwsLease;
  /** As the Host header says it. */
  readonly authority: string;
  readonly now: number;
}

/** Where a service takes no chunks, a body that streams is held until it is whole: as long as one for a language model. */
const heldLimit = 4 * 1024 * 1024;

/** What an SDK adds by signing or framing; all of it is ours to say. */
const dropped: ReadonlySet<string> = new Set([
  "authorization",
  "x-amz-date",
  "x-amz-content-sha256",
  "x-amz-security-token",
  "x-amz-decoded-content-length",
  "x-amz-region-set",
  "x-amz-trailer",
  "content-length",
]);

/** Throws ProxyError MalformedRequest or TooLarge. */
export async function signRequest(
  request: Sendable,
  context: SigningContext,
): Promise<Sendable & { readonly headers: string[] }> {
  const { lease } = context;
  requireOneReading(request.path, lease.service);
  const own = readOwn(request.headers);
  const body = await signable(own.isChunked ? plain(request.body, own.length) : request.body, {
    lease,
    length: own.isChunked ? own.length : request.length,
  });
  const date = amzDate(context.now);
  const headers = [
    ...own.kept,
    ...coding(own.encodings, body),
    "x-amz-date",
    date,
    "x-amz-content-sha256",
    body.payload,
    ...(lease.sessionToken === undefined ? [] : ["x-amz-security-token", lease.sessionToken]),
  ];
  const signature = sign(
    {
      method: request.method,
      target: request.path,
      headers: ["host", context.authority, ...covered(headers)],
      payload: body.payload,
      date,
    },
    lease,
    lease,
  );
  return {
    method: request.method,
    path: request.path,
    headers: [...headers, "authorization", signature.authorization],
    body: sent(body, signature, date),
    length: sentLength(body),
  };
}

/** All but S3 drop empty and dot segments before they check the signature, and would answer for another path than was decided on. */
function requireOneReading(target: string, service: string): void {
  const [path = ""] = target.split("?", 1);
  if (isS3(service) || !/\/\/|\/\.{1,2}(\/|$)/.test(path)) return;
  throw new ProxyError(
    "MalformedRequest",
    "the path has empty segments or dots, which AWS services read in another way than it stands there",
  );
}

interface Own {
  /** Lower-case names and values that stay. */
  readonly kept: readonly string[];
  /** Content codings but `aws-chunked`. */
  readonly encodings: readonly string[];
  readonly isChunked: boolean;
  /** `x-amz-decoded-content-length`. */
  readonly length: number | undefined;
}

function readOwn(headers: readonly string[]): Own {
  const kept: string[] = [];
  const encodings: string[] = [];
  let isChunked = false;
  let hasTrailer = false;
  let length: number | undefined;
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = (headers[at] ?? "").toLowerCase();
    const value = headers[at + 1] ?? "";
    if (name === "content-encoding") encodings.push(...codings(value));
    else if (!dropped.has(name)) kept.push(name, value);
    if (name === "x-amz-content-sha256" && value.startsWith("STREAMING-")) isChunked = true;
    if (name === "x-amz-trailer") hasTrailer = true;
    if (name === "x-amz-decoded-content-length" && /^\d{1,15}$/.test(value)) length = Number(value);
  }
  const others = encodings.filter((coding) => coding !== "aws-chunked");
  return {
    // The checksum behind the last chunk goes with its coding, and S3 refuses the name of one that is not there.
    kept: hasTrailer ? without(kept, "x-amz-sdk-checksum-algorithm") : kept,
    encodings: others,
    isChunked: isChunked || others.length < encodings.length,
    length,
  };
}

function codings(value: string): string[] {
  return value
    .toLowerCase()
    .split(",")
    .map((coding) => coding.trim())
    .filter((coding) => coding !== "");
}

function without(headers: readonly string[], name: string): string[] {
  return headers.filter((_, at) => headers[at - (at % 2)] !== name);
}

function plain(body: Sendable["body"], length: number | undefined): Readable | null {
  if (body === null) return null;
  const decoder = new AwsChunkedDecoder(length);
  pipeline(body instanceof Readable ? body : Readable.from([body]), decoder, () => {});
  return decoder;
}

type Signable =
  | { readonly kind: "whole"; readonly bytes: Buffer | null; readonly payload: string }
  | {
      readonly kind: "stream";
      readonly stream: Readable;
      readonly length: number | undefined;
      readonly payload: string;
    }
  | {
      readonly kind: "chunks";
      readonly stream: Readable;
      readonly length: number;
      readonly payload: string;
    };

async function signable(
  body: Sendable["body"],
  { lease, length }: { readonly lease: AwsLease; readonly length: number | undefined },
): Promise<Signable> {
  if (body === null) return { kind: "whole", bytes: null, payload: emptySha256 };
  if (!(body instanceof Readable)) return { kind: "whole", bytes: body, payload: sha256(body) };
  if (lease.payload === "Unsigned")
    return { kind: "stream", stream: body, length, payload: unsignedPayload };
  if (isS3(lease.service) && length !== undefined && length > 0)
    return { kind: "chunks", stream: body, length, payload: streamingPayload };
  const bytes = await whole(body);
  return { kind: "whole", bytes, payload: sha256(bytes) };
}

async function whole(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    if (!Buffer.isBuffer(chunk)) continue;
    length += chunk.length;
    if (length > heldLimit)
      throw new ProxyError(
        "TooLarge",
        `a body that has to be signed whole may have at most ${heldLimit} bytes; s3 takes longer ones with a Content-Length, and credential.awsSigV4.payload: Unsigned leaves them to TLS`,
      );
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, length);
}

function coding(encodings: readonly string[], body: Signable): string[] {
  if (body.kind !== "chunks")
    return encodings.length === 0 ? [] : ["content-encoding", encodings.join(",")];
  return [
    "content-encoding",
    ["aws-chunked", ...encodings].join(","),
    "x-amz-decoded-content-length",
    String(body.length),
  ];
}

/** Of what streams. */
function sentLength(body: Signable): number | undefined {
  if (body.kind === "whole" || body.length === undefined) return undefined;
  return body.kind === "chunks" ? encodedLength(body.length) : body.length;
}

/** `host` besides. What proxies on the way may change is left out. */
function covered(headers: readonly string[]): string[] {
  return headers.filter((_, at) => {
    const name = headers[at - (at % 2)] ?? "";
    return (
      name.startsWith("x-amz-") ||
      name === "content-type" ||
      name === "content-md5" ||
      name === "content-encoding"
    );
  });
}

function sent(body: Signable, signature: Signature, date: string): Buffer | Readable | null {
  if (body.kind === "whole") return body.bytes;
  if (body.kind === "stream") return body.stream;
  const encoder = new AwsChunkedEncoder(signature, date);
  // What breaks the source breaks what is sent, and the other way round.
  pipeline(body.stream, encoder, () => {});
  return encoder;
}
