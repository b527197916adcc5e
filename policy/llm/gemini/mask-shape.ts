// Which strings of the Gemini API are text to be masked: every one that is no identifier of the protocol, in either spelling.
import type { Shape, Treatment } from "../../mask/stream-json.ts";
import { camelOf } from "./proto.ts";

const byName: ReadonlyMap<string, Treatment> = new Map<string, Treatment>([
  // What the protocol itself means something by; functions are named by the agent.
  ...[
    "role",
    "name",
    "id",
    "model",
    "modelVersion",
    "responseId",
    "mimeType",
    "responseMimeType",
    "finishReason",
    "blockReason",
    "category",
    "probability",
    "threshold",
    "language",
    "outcome",
    "taskType",
    "mode",
    "trafficType",
    "modality",
  ].map((name) => [name, "keep"] as const),
  // Numbers of an embedding.
  ["values", "keep"],
  // Pictures, sound, and what only the provider can read.
  ["data", "opaque"],
  ["imageBytes", "opaque"],
  ["thoughtSignature", "opaque"],
  // Token by token, they spell what is masked in the text.
  ["logprobsResult", "drop"],
]);

/** Members that the agent or a function fills: nothing below is an identifier. */
const foreign: ReadonlySet<string> = new Set([
  "args",
  "response",
  "parameters",
  "parametersJsonSchema",
  "responseSchema",
  "responseJsonSchema",
  "labels",
  "partialArgs",
]);

export const geminiShape: Shape = (path) => {
  for (const name of path) if (foreign.has(camelOf(name))) return "text";
  return byName.get(camelOf(path.at(-1) ?? "")) ?? "text";
};
