// Which strings of a message are text to be masked: every one that is no identifier of the protocol.
import type { Shape, Treatment } from "../mask/stream-json.ts";

/** By the names that lead to them; lists add none. */
const byPath: Readonly<Record<string, Treatment>> = {
  jsonrpc: "keep",
  id: "keep",
  method: "keep",
  "params.name": "keep",
  "params.cursor": "keep",
  "params.protocolVersion": "keep",
  "params.requestState": "keep",
  "params.requestId": "keep",
  "params.progressToken": "keep",
  "params._meta.progressToken": "keep",
  "params._meta.io.modelcontextprotocol/protocolVersion": "keep",
  "params._meta.io.modelcontextprotocol/subscriptionId": "keep",
  "params.task.taskId": "keep",
  "params.taskId": "keep",
  "result.protocolVersion": "keep",
  "result.supportedVersions": "keep",
  "result.nextCursor": "keep",
  "result.requestState": "keep",
  "result.resultType": "keep",
  "result.task.taskId": "keep",
  "result.tools.name": "keep",
  "result.prompts.name": "keep",
  // Pictures and sound; text that only claims to be base64 is masked.
  "result.content.data": "opaque",
  "result.contents.blob": "opaque",
  "result.content.resource.blob": "opaque",
  "result.messages.content.data": "opaque",
  "params.messages.content.data": "opaque",
};

/** Longest path in the table. */
const deepest = 4;

export const mcpShape: Shape = (path) =>
  path.length > deepest ? "text" : (byPath[path.join(".")] ?? "text");
