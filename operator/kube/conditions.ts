// Conditions after Kubernetes' conventions: positive words, stable reasons, and a transition time that moves only with the status.
import type { Condition } from "../../crds/types.gen.ts";

export interface WantedCondition {
  readonly type: string;
  readonly status: "True" | "False" | "Unknown";
  /** CamelCase, stable, documented. */
  readonly reason: string;
  readonly message: string;
}

/** The schema's bound is 32 KiB; nobody reads more than this in `kubectl describe`. */
const maxMessageLength = 4_000;

/** The wanted conditions, with the times of those that were so before. Others are dropped. */
export function mergeConditions(
  before: readonly Condition[] | undefined,
  wanted: readonly WantedCondition[],
  generation: number | undefined,
  now: number,
): Condition[] {
  return wanted.map(({ type, status, reason, message }) => {
    const known = before?.find((condition) => condition.type === type);
    const lastTransitionTime =
      known?.status === status ? known.lastTransitionTime : new Date(now).toISOString();
    return {
      type,
      status,
      reason,
      message: message.slice(0, maxMessageLength),
      lastTransitionTime,
      ...(generation === undefined ? {} : { observedGeneration: generation }),
    };
  });
}
