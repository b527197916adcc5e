// Whether an operation's answer could hold what a policy masks while nothing on the way can mask it: then it is refused.
import type { Bundle } from "./bundle.ts";
import { connectionName } from "./describe.ts";
import type { Operation } from "./operation.ts";

/** Why the operation is refused although some rule may allow it; undefined where masks can be kept, or there are none. */
export function unmaskable(bundle: Bundle, operation: Operation): string | undefined {
  const { columnMasks, detectMasks, requestMasks } = bundle;
  const name = connectionName(bundle);
  if (requestMasks !== undefined && (operation.kind === "sql" || operation.kind === "passthrough"))
    return `only requests over HTTP are masked; give connection ${name} a policy whose masks have direction: response`;
  if (columnMasks.length === 0 && detectMasks.length === 0) return undefined;
  switch (operation.kind) {
    case "sql":
      // Statement by statement (mask/prove.ts), but for what nobody here can read.
      return operation.unparsed === undefined
        ? undefined
        : `connection ${name} has masks, and what this text would show cannot be told: the grammar of Chaperone cannot parse it (${operation.unrecognised ?? ""})`;
    case "passthrough":
      return `connection ${name} is passthrough: its TLS is not opened, so nothing in it can be masked; its policies must not mask`;
    case "http":
    case "llm":
    case "mcp":
      // Detectors look into every answer, and into the messages of WebSockets, on their way.
      if (columnMasks.length === 0) return undefined;
      return `answers over HTTP have no columns to mask; give connection ${name} a policy that masks by detect`;
    default:
      return operation satisfies never;
  }
}
