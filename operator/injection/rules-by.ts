// Who loads the rules of a redirected pod: a container of its own, or the node that it starts on. Pure.
import { rulesAsked, type RulesBy } from "../../contract/redirect.ts";
import { fieldAt, isJsonObject, type JsonObject } from "../kube/objects.ts";
import { annotations } from "./names.ts";
import { annotationOf } from "./pod.ts";
import { refusal, type Refusal } from "./reasons.ts";
import { inboundPorts } from "./redirect.ts";
import type { InjectionSettings } from "./settings.ts";

const annotationPath = `metadata.annotations["${annotations.redirectBy}"]`;

/** What the pod says, which injection settles: where it says nothing, an init container. */
export function rulesByOf(pod: JsonObject): RulesBy {
  return isByNode(pod) ? "node" : "init";
}

function isByNode(pod: JsonObject): boolean {
  return (
    annotationOf(pod, annotations.interception) === "redirect" &&
    annotationOf(pod, annotations.redirectBy) === "node"
  );
}

/** The pod, saying who loads its rules where that is not an init container: the installation's choice may change while the pod lives. */
export function withRulesBy(pod: JsonObject, { redirectBy }: InjectionSettings): JsonObject {
  const isUnsaid = annotationOf(pod, annotations.redirectBy) === undefined;
  if (
    redirectBy === "init" ||
    !isUnsaid ||
    annotationOf(pod, annotations.interception) !== "redirect"
  )
    return pod;
  const metadata = fieldAt(pod, "metadata");
  const known = fieldAt(metadata, "annotations");
  return {
    ...pod,
    metadata: {
      ...(isJsonObject(metadata) ? metadata : {}),
      annotations: { ...(isJsonObject(known) ? known : {}), [annotations.redirectBy]: redirectBy },
    },
  };
}

export function refusedRulesBy(
  pod: JsonObject,
  { hasNodeRules }: InjectionSettings,
): Refusal | undefined {
  if (annotationOf(pod, annotations.interception) !== "redirect") return undefined;
  const asked = annotationOf(pod, annotations.redirectBy) ?? "init";
  if (asked !== "init" && asked !== "node") return refusal("RedirectByUnknown", annotationPath);
  return asked === "node" && !hasNodeRules ? refusal("NodeRulesAbsent", annotationPath) : undefined;
}

/** What the node's plugin is to load; undefined for pods that it lets pass. */
export function nodeRulesOf(pod: JsonObject, { uid }: InjectionSettings): string | undefined {
  return isByNode(pod) ? rulesAsked(uid, inboundPorts(pod)) : undefined;
}

/** As the rest of a sentence. */
export function otherNodeRules(pod: JsonObject, settings: InjectionSettings): string | undefined {
  return annotationOf(pod, annotations.rules) === nodeRulesOf(pod, settings)
    ? undefined
    : `its annotation ${annotations.rules} is not what injection writes`;
}
