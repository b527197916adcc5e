// A request body as the text that it is: its content-encoding removed, within the bounds of what is read. What was read goes on, without the
// encoding: no upstream unpacks it in another way.
import { promisify } from "node:util";
import { brotliDecompress, gunzip, inflate, zstdDecompress } from "node:zlib";

import { withoutHalves } from "../../policy/llm/json.ts";
import { ProxyError } from "../errors.ts";
import { tooLarge } from "./asked.ts";
import type { RequestHead } from "./head.ts";

type Decode = (body: Buffer, options: { readonly maxOutputLength: number }) => Promise<Buffer>;

/** RFC 9110 section 8.4.1, and RFC 8878 for zstd. Only one at a time is read: nobody sends two. */
const decoders: ReadonlyMap<string, Decode> = new Map<string, Decode>([
  ["gzip", promisify<Buffer, { readonly maxOutputLength: number }, Buffer>(gunzip)],
  ["x-gzip", promisify<Buffer, { readonly maxOutputLength: number }, Buffer>(gunzip)],
  ["deflate", promisify<Buffer, { readonly maxOutputLength: number }, Buffer>(inflate)],
  ["br", promisify<Buffer, { readonly maxOutputLength: number }, Buffer>(brotliDecompress)],
  ["zstd", promisify<Buffer, { readonly maxOutputLength: number }, Buffer>(zstdDecompress)],
]);

/**
 * Throws ProxyError for an encoding that is not known, a body that is not what it says, and one that is larger than the limit.
 *
 * @param what of whom it is, for the sentence: `a request to a language model`
 */
export async function decodedBody(
  body: Buffer,
  encoding: string | undefined,
  limit: number,
  what: string,
): Promise<Buffer> {
  if (encoding === undefined || encoding === "identity") return body;
  const decode = decoders.get(encoding);
  if (decode === undefined)
    throw new ProxyError(
      "MalformedRequest",
      `the Content-Encoding of ${what} is none of ${[...decoders.keys()].join(", ")}; send the body without one`,
    );
  try {
    return await decode(body, { maxOutputLength: limit });
  } catch (error) {
    if (error instanceof RangeError) throw tooLarge(limit, what);
    throw new ProxyError("MalformedRequest", `the body of ${what} is not encoded as it says`, {
      cause: error,
    });
  }
}

/**
 * JSON whose characters are all whole (policy/llm/json.ts), so that what was read is what goes on. What is no UTF-8 is left alone:
 * it is refused when it is read.
 */
export function settledJson(body: Buffer): Buffer {
  if (!body.includes(String.raw`\ud`) && !body.includes(String.raw`\uD`)) return body;
  try {
    return Buffer.from(
      withoutHalves(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body)),
    );
  } catch {
    return body;
  }
}

/** curl's `-d` and Go's `http.Post` without a type; servers that ask for none read JSON all the same. */
const unsaid: ReadonlySet<string> = new Set(["", "application/x-www-form-urlencoded"]);

/** The type that a request to a model goes on with: JSON that says nothing else, or what a client says unasked, says that it is JSON. */
export function settledType(head: RequestHead, body: Buffer): string | undefined {
  const type = head.all["content-type"] ?? "";
  if (typeof type !== "string" || !unsaid.has(type.trim().toLowerCase())) return undefined;
  return /^[ \t\r\n]*\{/.test(body.toString("latin1", 0, 64)) ? "application/json" : undefined;
}

/** The head of a body that was decoded; with another type where that is known better. */
export function decodedHead(head: RequestHead, contentType?: string): RequestHead {
  const untrue = (name: string): boolean =>
    name === "content-encoding" || (contentType !== undefined && name === "content-type");
  const kept: string[] = [];
  for (let at = 0; at + 1 < head.kept.length; at += 2) {
    const name = head.kept[at] ?? "";
    if (!untrue(name)) kept.push(name, head.kept[at + 1] ?? "");
  }
  const all = Object.fromEntries(Object.entries(head.all).filter(([name]) => !untrue(name)));
  if (contentType === undefined) return { ...head, kept, all, contentEncoding: undefined };
  kept.push("content-type", contentType);
  return {
    ...head,
    kept,
    all: { ...all, "content-type": contentType },
    contentEncoding: undefined,
  };
}
