// Which messages a client may send, and which of them where the server takes COPY data.
import { WireError } from "./framer.ts";
import { frontend } from "./messages.ts";

/** Nothing is gathered of a message that could only be refused. */
const clientTypes: ReadonlySet<number> = new Set(
  Object.values(frontend).filter((type) => type !== frontend.password),
);

/** The server calls their bodies an error, at a Flush one that makes it skip to Sync. */
export const emptyTypes: ReadonlySet<number> = new Set([
  frontend.sync,
  frontend.flush,
  frontend.copyDone,
  frontend.terminate,
]);

/** What may come while the server takes COPY data. */
export const copyTypes: ReadonlySet<number> = new Set([
  frontend.copyData,
  frontend.copyFail,
  ...emptyTypes,
]);

/** Throws for a type that no client sends. */
export function checkType(type: number): void {
  if (!clientTypes.has(type))
    throw new WireError(`a client message of type ${type} is not expected here`);
}

/** The server says so and closes, for it cannot tell where the next message begins. */
export function amidCopy(type: number): WireError {
  return new WireError(`a message of type ${type} came where COPY data was expected`);
}
