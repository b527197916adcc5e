// How a refusal is said to an MCP client, once it is known what it asked. Pure.
import type { Message, MessageProblem } from "../../../policy/mcp/message.ts";
import { errorMessage, refusalMessage } from "../../../policy/mcp/refusal.ts";
import type { Refused } from "../../../policy/mcp/refusal.ts";
import type { Decision } from "../../../policy/decision.ts";
import { knownVersions } from "../../../policy/mcp/version.ts";
import type { Generation } from "../../../policy/mcp/version.ts";
import type { ProxyError } from "../../errors.ts";
import { asked, explained, finish } from "../refusal.ts";
import type { Refusal } from "../refusal.ts";

export interface Heard {
  readonly message: Message | undefined;
  readonly generation: Generation;
  /** Why it was not understood. */
  readonly problem: MessageProblem | undefined;
}

export type Say = (error: ProxyError, decision: Decision | undefined) => Refusal;

/**
 * A request is answered with 200 and says the refusal in JSON-RPC: SDKs raise their own error with our sentence, where another
 * status would look like a broken transport. What was not understood is 400, as the protocol has it.
 */
export function sayer({ message, generation, problem }: Heard): Say {
  return (error, decision) => {
    const refused = refusedBy(error, decision, problem);
    if (problem !== undefined) return json(400, errorMessage(problem.id, refused));
    if (message?.kind === "request")
      return json(
        200,
        refusalMessage({ id: message.id, method: message.method, generation }, refused),
      );
    return json(error.status, errorMessage(undefined, refused));
  };
}

export function refusedBy(
  error: ProxyError,
  decision: Decision | undefined,
  problem?: MessageProblem,
): Refused {
  return {
    code: problem?.code ?? error.status,
    message: error.message,
    data: {
      code: error.code,
      ...asked(error),
      ...explained(decision),
      ...(problem?.versions === true && { supported: knownVersions }),
    },
  };
}

function json(status: number, body: unknown): Refusal {
  return finish(status, ["content-type", "application/json"], body);
}
