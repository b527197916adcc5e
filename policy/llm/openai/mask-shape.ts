// Which strings of an OpenAI-compatible message are text to be masked: every one that is no identifier of the protocol.
import type { Shape, Treatment } from "../../mask/stream-json.ts";

const byName: Readonly<Record<string, Treatment>> = {
  // What the protocol itself means something by; tools are named by the agent.
  ...Object.fromEntries(
    [
      "id",
      "object",
      "model",
      "type",
      "role",
      "status",
      "finish_reason",
      "name",
      "call_id",
      "tool_call_id",
      "item_id",
      "response_id",
      "previous_response_id",
      "system_fingerprint",
      "service_tier",
      "obfuscation",
    ].map((name) => [name, "keep"]),
  ),
  arguments: "json",
  // Sound, pictures and what only the provider can read.
  b64_json: "opaque",
  partial_image_b64: "opaque",
  data: "opaque",
  result: "opaque",
  file_data: "opaque",
  encrypted_content: "opaque",
  embedding: "opaque",
  audio: "opaque",
  // Token by token, they spell what is masked in the text.
  logprobs: "drop",
};

/** Members that the agent or a tool fills: nothing below is an identifier. */
const foreign: ReadonlySet<string> = new Set([
  "metadata",
  "attributes",
  "schema",
  "parameters",
  "structured_content",
]);

export const openAiShape: Shape = (path) => {
  // The tokens of a conversation with Ollama spell it, as those below `logprobs` do.
  if (path.length === 1 && path[0] === "context") return "drop";
  for (const name of path) if (foreign.has(name)) return "text";
  return byName[path.at(-1) ?? ""] ?? "text";
};
