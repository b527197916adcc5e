// A TLS connection that is not opened -> facts: the name in its ClientHello is all there is to decide on. Pure.
import { printable } from "../describe.ts";
import type { PassthroughOperation } from "../operation.ts";

/**
 * @param host the name in the ClientHello, lower case
 * @param port the one that was dialled
 */
export function recognisePassthrough(host: string, port: number): PassthroughOperation {
  return {
    kind: "passthrough",
    summary: printable(`TLS to ${host}:${port}`),
    accesses: [{ kind: "passthrough", host, port }],
    facts: { host, port },
  };
}
