// Embeddings that depend on the text alone, in both encodings of the OpenAI API (its SDK asks for base64 unless told otherwise).
import { createHash } from "node:crypto";

export interface EmbeddingsRequest {
  readonly model: string;
  readonly input: string | readonly string[];
  readonly encoding_format?: "float" | "base64";
  readonly dimensions?: number;
}

/** Of text-embedding-3-small. */
const defaultDimensions = 1536;

export function embeddings(request: EmbeddingsRequest): unknown {
  const inputs = typeof request.input === "string" ? [request.input] : request.input;
  const data = inputs.map((input, index) => {
    const vector = vectorOf(input, request.dimensions ?? defaultDimensions);
    const embedding =
      request.encoding_format === "base64"
        ? Buffer.from(vector.buffer).toString("base64")
        : Array.from(vector);
    return { object: "embedding", index, embedding };
  });
  const tokens = inputs.reduce((sum, input) => sum + Math.ceil(input.length / 4), 0);
  return {
    object: "list",
    data,
    model: request.model,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  };
}

/** A unit vector drawn from hashes of the text. */
function vectorOf(text: string, dimensions: number): Float32Array<ArrayBuffer> {
  const vector = new Float32Array(dimensions);
  let length = 0;
  for (let at = 0; at < dimensions; at += 8) {
    const digest = createHash("sha256").update(`${at}:${text}`).digest();
    for (let part = 0; part < 8 && at + part < dimensions; part++) {
      const value = digest.readInt32LE(part * 4) / 2 ** 31;
      vector[at + part] = value;
      length += value * value;
    }
  }
  const scale = 1 / Math.sqrt(length);
  return vector.map((value) => value * scale);
}
