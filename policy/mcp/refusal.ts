// How a refusal is said in MCP: of a tool call as its result, so that the model reads it and goes on; of another request as a JSON-RPC error.
import type { JsonObject } from "../operation.ts";
import type { MessageId } from "./message.ts";
import type { Generation } from "./version.ts";

export interface Refused {
  /** One sentence for whoever reads the answer. */
  readonly message: string;
  /** Of JSON-RPC; outside of the ranges that it and MCP keep for themselves where we say no. */
  readonly code: number;
  /** Stable words beside it: our error code, policy, rule, the access request. */
  readonly data?: RefusalData;
}

export type RefusalData = { readonly code: string } & JsonObject;

/** The key in `_meta` of a tool result that a policy, not the tool, gave. */
export const refusalKey = "chaperone.dev/refusal";

export interface Asking {
  readonly id: MessageId;
  readonly method: string;
  readonly generation: Generation;
}

export function refusalMessage({ id, method, generation }: Asking, refused: Refused): JsonObject {
  if (method !== "tools/call") return errorMessage(id, refused);
  const { message, data } = refused;
  return {
    jsonrpc: "2.0",
    id,
    result: {
      content: [{ type: "text", text: message }],
      isError: true,
      ...(generation === "sessionless" && { resultType: "complete" }),
      ...(data !== undefined && { _meta: { [refusalKey]: data } }),
    },
  };
}

/** @param id undefined: of a message whose id could not be read */
export function errorMessage(
  id: MessageId | undefined,
  { code, message, data }: Refused,
): JsonObject {
  return {
    jsonrpc: "2.0",
    ...(id !== undefined && { id }),
    error: { code, message, ...(data !== undefined && { data }) },
  };
}
