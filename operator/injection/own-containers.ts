// The containers of ours that a pod gets, in their order, and whether those that it has are these.
import type { Interception } from "../../contract/addresses.ts";
import { isInterception } from "../../contract/addresses.ts";
import { fieldAt, isJsonObject, textAt, type JsonObject } from "../kube/objects.ts";
import { annotations, containerNames } from "./names.ts";
import { annotationOf, nameOf, objectsAt } from "./pod.ts";
import { initContainer, verifyContainer } from "./redirect.ts";
import { rulesByOf } from "./rules-by.ts";
import type { InjectionSettings } from "./settings.ts";
import { proxyContainer } from "./template.ts";

/** What the pod asks for; undefined when there is no such way. */
export function interceptionOf(pod: JsonObject): Interception | undefined {
  const asked = annotationOf(pod, annotations.interception) ?? "hosts";
  return isInterception(asked) ? asked : undefined;
}

/** As the template says. In the order in which they start: the rules stand before the proxy, and are tried before the agent. */
export function ownTemplates(pod: JsonObject, settings: InjectionSettings): readonly JsonObject[] {
  const proxy = proxyContainer(
    { ...settings, operatorUrl: operatorUrlFor(pod, settings) },
    annotationOf(pod, annotations.chain) !== undefined,
  );
  if (interceptionOf(pod) !== "redirect") return [proxy];
  const by = rulesByOf(pod);
  const verify = verifyContainer(settings, by);
  return by === "init" ? [initContainer(settings, pod), proxy, verify] : [proxy, verify];
}

/** A pod that chooses its own name servers has no search list that would complete the name of a Service. */
function operatorUrlFor(pod: JsonObject, { operatorUrl }: InjectionSettings): string {
  return textAt(pod, "spec", "dnsPolicy") === "None"
    ? operatorUrl.replace(/\.svc(?=:|$)/, ".svc.cluster.local")
    : operatorUrl;
}

/** The same; of what is there already stay the additions that a cluster's own defaults make (LimitRanger, AlwaysPullImages). */
export function ownContainers(pod: JsonObject, settings: InjectionSettings): readonly JsonObject[] {
  const present = new Map(
    objectsAt(pod, "spec", "initContainers").map((container) => [nameOf(container), container]),
  );
  return ownTemplates(pod, settings).map((fresh) => settled(fresh, present.get(nameOf(fresh))));
}

function settled(fresh: JsonObject, present: JsonObject | undefined): JsonObject {
  if (present === undefined) return fresh;
  const merged = (part: "requests" | "limits"): JsonObject => ({
    ...objectAt(present, "resources", part),
    ...objectAt(fresh, "resources", part),
  });
  return {
    ...fresh,
    resources: { requests: merged("requests"), limits: merged("limits") },
    ...(present["resizePolicy"] === undefined ? {} : { resizePolicy: present["resizePolicy"] }),
    ...(present["imagePullPolicy"] === "Always" ? { imagePullPolicy: "Always" } : {}),
  };
}

function objectAt(value: unknown, ...path: readonly string[]): JsonObject {
  const found = fieldAt(value, ...path);
  return isJsonObject(found) ? found : {};
}

/** Why the containers with our names are not where they belong, as the rest of a sentence; undefined when they are. */
export function misplaced(pod: JsonObject, settings: InjectionSettings): string | undefined {
  const expected = ownTemplates(pod, settings).map(nameOf);
  const initNames = objectsAt(pod, "spec", "initContainers").map(nameOf);
  for (const [at, name] of expected.entries())
    if (initNames[at] !== name)
      return at === 0
        ? `${name} is not its first init container`
        : `${name} does not follow ${expected[at - 1] ?? ""}`;
  const more = initNames.slice(expected.length).find((name) => containerNames.includes(name));
  return more === undefined ? undefined : `it has a container ${more} that injection did not write`;
}
