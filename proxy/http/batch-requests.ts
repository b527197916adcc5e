// The requests that an upload brings for later are decided on with it: the upload is as forbidden as the worst of them.
import type { Decision } from "../../policy/decision.ts";
import { generates } from "../../policy/match/llm.ts";
import type { LlmOperation } from "../../policy/operation.ts";

/**
 * What is decided on in the place of an upload: itself where all its requests are allowed, else the request that is denied, or held for a person, who
 * is shown all of them.
 */
export function strictestOf(
  upload: LlmOperation,
  decide: (operation: LlmOperation) => Decision | undefined,
): LlmOperation {
  if (upload.requests === undefined || decide(upload)?.verdict === "deny") return upload;
  let held: LlmOperation | undefined;
  for (const request of upload.requests) {
    const decision = decide(request);
    if (decision?.verdict === "deny") return request;
    if (decision?.maxOutputTokens !== undefined && isLimitless(request))
      return {
        ...request,
        unrecognised: `a request of the batch names no limit, and the rule allows ${decision.maxOutputTokens} tokens: name it in each`,
      };
    if (decision?.verdict === "hold") held ??= request;
  }
  return held ?? upload;
}

function isLimitless({ facts }: LlmOperation): boolean {
  return generates(facts) && facts.maxOutputTokens === null;
}
