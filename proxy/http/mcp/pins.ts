// Whether a tool is what it was when it was first seen.
import type { JsonObject } from "../../../policy/operation.ts";
import type { Gate } from "../../pipeline.ts";

export interface Pins {
  isPinned(gate: Gate, tool: JsonObject): boolean;
}
