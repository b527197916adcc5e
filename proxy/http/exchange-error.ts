// The errors of an exchange, as those who read them need them.
import { ProxyError } from "../errors.ts";

/** Whoever has to mend it looks for the Connection, not for an address. */
export function named(error: ProxyError, connection: string | undefined): ProxyError {
  if (error.status < 500 || connection === undefined || error.message.includes(connection))
    return error;
  return new ProxyError(error.code, `connection ${connection}: ${error.message}`, { cause: error });
}

export function clientLeft(): ProxyError {
  return new ProxyError("ShuttingDown", "the client closed its connection");
}
