// A request body as the text that it is: its content-encoding removed, within the bounds of what is read. What was read goes on, without the
// encoding: no upstream unpacks it in another way.
import { withoutHalves } from "../../policy/llm/json.ts";
import { ProxyError } from "../errors.ts";
import { tooLarge } from "./asked.ts";
import { decoders } from "./decoders.ts";
import { Gathered } from "./gathered.ts";
import type { RequestHead } from "./head.ts";

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
  const decoder = decode();
  const text = new Gathered();
  try {
    decoder.end(body);
    for await (const piece of decoder) {
      if (!Buffer.isBuffer(piece)) continue;
      text.add(piece);
      if (text.length > limit) throw tooLarge(limit, what);
    }
  } catch (error) {
    throw error instanceof ProxyError ? error : falselyEncoded(what, error);
  }
  if (decoder.bytesWritten !== body.length) throw falselyEncoded(what);
  return Buffer.from(text.whole());
}

function falselyEncoded(what: string, cause?: unknown): ProxyError {
  return new ProxyError("MalformedRequest", `the body of ${what} is not encoded as it says`, {
    cause,
  });
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
