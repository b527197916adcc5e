// What a session says of a failure that has no code of its own.
import { ProxyError } from "./errors.ts";

export function asProxyError(error: unknown, connection: string): ProxyError {
  if (error instanceof ProxyError) return error;
  if (error instanceof Error && error.name === "AbortError")
    return new ProxyError("GrantEnded", `the session on connection ${connection} is over`, {
      cause: error,
    });
  return new ProxyError(
    "ControlPlaneUnavailable",
    `connection ${connection} cannot be used now: ${error instanceof Error ? error.message : "unknown failure"}`,
    { cause: error },
  );
}
