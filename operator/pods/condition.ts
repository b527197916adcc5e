// What the condition `chaperone.dev/Held` of a pod says: how strongly it is held, by what was proven in it, and the first thing that is
// missing. Pure.
import type { Condition } from "../../crds/types.gen.ts";
import { interceptionOf } from "../injection/own-containers.ts";
import { podCondition, verifyContainerName } from "../injection/names.ts";
import { nameOf, objectsAt } from "../injection/pod.ts";
import { judgeTier } from "../injection/tier.ts";
import type { WantedCondition } from "../kube/conditions.ts";
import { fieldAt, isJsonObject, textAt, type JsonObject } from "../kube/objects.ts";

export interface PodJudge {
  /** Why the pod only looks injected, as the rest of a sentence; undefined when it is injected. */
  readonly notInjected: (pod: JsonObject) => string | undefined;
  readonly proxyUid: number;
}

/**
 * | status | reason | when |
 * | --- | --- | --- |
 * | True | `Locked` | proven, and no container can gain what it would take to get past |
 * | False | `Redirected`, `Cooperative` | less than that; the message begins with the first thing that is missing |
 * | False | `NotInjected` | the pod only looks injected: its proxy gets no grant |
 * | False | `NotProven` | the verifier got past the proxy, so the agent does not start |
 *
 * Undefined while there is nothing to say yet: the verifier has not come to an end, or the pod is over.
 */
export function podHeld(pod: JsonObject, judge: PodJudge): WantedCondition | undefined {
  if (isOver(pod)) return undefined;
  const why = judge.notInjected(pod);
  if (why !== undefined)
    return held("False", "NotInjected", `the pod only looks injected and gets no grant: ${why}`);
  const interception = interceptionOf(pod) ?? "hosts";
  const proof = interception === "redirect" ? proofOf(pod) : "proven";
  if (proof === "none yet") return undefined;
  if (proof === "failed")
    return held(
      "False",
      "NotProven",
      `${verifyContainerName} got past the proxy, so no container of the agent starts; its log says by which way`,
    );
  const { tier, missing } = judgeTier(pod, interception, judge.proxyUid);
  return missing === undefined
    ? held(
        "True",
        tier,
        "whatever the pod sends comes to the proxy, and nothing in it can change that",
      )
    : held("False", tier, `${missing.reason}: ${missing.message}`);
}

function held(status: WantedCondition["status"], reason: string, message: string): WantedCondition {
  return { type: podCondition, status, reason, message };
}

/** What was said of it last stays. */
function isOver(pod: JsonObject): boolean {
  const phase = textAt(pod, "status", "phase");
  return phase === "Succeeded" || phase === "Failed";
}

type Proof = "proven" | "failed" | "none yet";

/** As the kubelet reports how the verifier ended; a container that is tried again failed before. */
function proofOf(pod: JsonObject): Proof {
  const status = objectsAt(pod, "status", "initContainerStatuses").find(
    (entry) => nameOf(entry) === verifyContainerName,
  );
  const code =
    fieldAt(status, "state", "terminated", "exitCode") ??
    fieldAt(status, "lastState", "terminated", "exitCode");
  if (typeof code !== "number") return "none yet";
  return code === 0 ? "proven" : "failed";
}

/** The condition as it stands in the pod, without the fields that we do not write. */
export function knownHeld(pod: JsonObject): Condition | undefined {
  const known = objectsAt(pod, "status", "conditions").find(
    (condition) => condition["type"] === podCondition,
  );
  if (!isJsonObject(known)) return undefined;
  const text = (field: string): string => textAt(known, field) ?? "";
  const status = (["True", "False"] as const).find((one) => one === known["status"]) ?? "Unknown";
  return {
    type: podCondition,
    status,
    reason: text("reason"),
    message: text("message"),
    lastTransitionTime: text("lastTransitionTime"),
  };
}
