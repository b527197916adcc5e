// Which strings of an Anthropic message are text to be masked: every one that is no identifier of the protocol.
import type { Shape, Treatment } from "../../mask/stream-json.ts";

const byName: Readonly<Record<string, Treatment>> = {
  // What the protocol itself means something by; tools are named by the agent.
  ...Object.fromEntries(
    [
      "id",
      "type",
      "role",
      "model",
      "name",
      "toolset_name",
      "stop_reason",
      "tool_use_id",
      "file_id",
      "custom_id",
      "request_id",
      "first_id",
      "last_id",
      "results_url",
      "media_type",
      "service_tier",
      "anthropic_version",
    ].map((name) => [name, "keep"]),
  ),
  // The arguments of a tool, piece by piece.
  partial_json: "json",
  // Pictures, documents, and what only the provider can read.
  data: "opaque",
  signature: "opaque",
  encrypted_content: "opaque",
  encrypted_index: "opaque",
  encrypted_stdout: "opaque",
};

/** Members that the agent or a tool fills: nothing below is an identifier. */
const foreign: ReadonlySet<string> = new Set(["input", "input_schema", "schema", "metadata"]);

export const anthropicShape: Shape = (path) => {
  for (const name of path) if (foreign.has(name)) return "text";
  return byName[path.at(-1) ?? ""] ?? "text";
};
