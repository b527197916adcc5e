// Whatever keeps an operation from going on, as an error that its agent can be told.
import { ProxyError } from "./errors.ts";

/** @param connection `namespace/name` */
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
