// Whether a running pod is really injected: our container and volumes exactly as the template says, and nobody else near them.
import { isDeepStrictEqual } from "node:util";
import { parseAddressMap } from "../../contract/addresses.ts";
import { fieldAt, isJsonObject, textAt, type JsonObject } from "../kube/objects.ts";
import { checkPod } from "./checks.ts";
import { knowsOnly } from "./known-authorities.ts";
import { annotations, ourVolumes, proxyContainerName } from "./names.ts";
import { misplaced, ownTemplates } from "./own-containers.ts";
import { annotationOf, nameOf, objectsAt, proxyContainerOf, volumesOf } from "./pod.ts";
import { otherNodeRules } from "./rules-by.ts";
import type { InjectionSettings } from "./settings.ts";
import { proxyVolumes } from "./template.ts";

/**
 * Why the pod only looks injected, as the rest of a sentence; undefined when it is injected. Connections are left out of it: they
 * change while pods live.
 */
export function notInjected(
  pod: JsonObject,
  settings: InjectionSettings,
  now: number,
): string | undefined {
  if (annotationOf(pod, annotations.version) === undefined)
    return `it has no annotation ${annotations.version}`;
  const refused = checkPod(pod, settings.uid);
  if (refused !== undefined) return refused.message;
  const order = misplaced(pod, settings);
  if (order !== undefined) return order;
  const first = proxyContainerOf(pod);
  return (
    otherContainers(pod, first, settings) ??
    otherVolume(pod) ??
    otherAuthority(first, settings, now) ??
    otherNodeRules(pod, settings) ??
    ownForeign(pod)
  );
}

function otherContainers(
  pod: JsonObject,
  proxy: unknown,
  settings: InjectionSettings,
): string | undefined {
  const image = textAt(proxy, "image") ?? "";
  if (![settings.image, ...settings.earlierImages].includes(image))
    return `${proxyContainerName} runs the image ${image}, which is none of this installation's; delete the pod, so that it is made anew`;
  // The operator's CA and the extra CAs rotate while pods live: what stands there is looked at by itself.
  const expected = ownTemplates(pod, {
    ...settings,
    image,
    operatorCa: variable(proxy, "CHAPERONE_OPERATOR_CA"),
    extraCa: variable(proxy, "CHAPERONE_EXTRA_CA"),
  });
  const present = objectsAt(pod, "spec", "initContainers");
  for (const [at, template] of expected.entries()) {
    const field = otherField(present[at], template);
    if (field !== undefined) return `${field} of ${nameOf(template)} is not what injection writes`;
  }
  return undefined;
}

function otherField(container: unknown, expected: JsonObject): string | undefined {
  const fields = new Set([
    ...Object.keys(expected),
    ...Object.keys(isJsonObject(container) ? container : {}),
  ]);
  return [...fields].find(
    (field) => !free.has(field) && !isDeepStrictEqual(fieldAt(container, field), expected[field]),
  );
}

/** A cluster's defaults and a resize may change how much it gets, and how it is pulled. */
const free: ReadonlySet<string> = new Set(["resources", "resizePolicy", "imagePullPolicy"]);

function otherVolume(pod: JsonObject): string | undefined {
  const ours = volumesOf(pod).filter((volume) => ourVolumes.includes(nameOf(volume)));
  for (const expected of proxyVolumes) {
    const present = ours.filter((volume) => nameOf(volume) === nameOf(expected));
    if (present.length !== 1 || !isDeepStrictEqual(present[0], expected))
      return `volume ${nameOf(expected)} is not what injection writes`;
  }
  return undefined;
}

function otherAuthority(
  container: unknown,
  { operatorCa, extraCa }: InjectionSettings,
  now: number,
): string | undefined {
  const known = { CHAPERONE_OPERATOR_CA: operatorCa, CHAPERONE_EXTRA_CA: extraCa };
  for (const [name, ours] of Object.entries(known))
    if (!knowsOnly(variable(container, name), ours, now))
      return `${name} of ${proxyContainerName} holds a CA that is none of this installation's; delete the pod, so that it is made anew`;
  return undefined;
}

/** Admission puts a Connection of another namespace into the map only where the pod names it: a map that says more was not written by it. */
function ownForeign(pod: JsonObject): string | undefined {
  const namespace = textAt(pod, "metadata", "namespace");
  const named = new Set(
    (annotationOf(pod, annotations.connections) ?? "").split(",").map((name) => name.trim()),
  );
  const foreign = connectionsIn(annotationOf(pod, annotations.addresses) ?? "").find(
    (name) => namespace !== undefined && !name.startsWith(`${namespace}/`) && !named.has(name),
  );
  return foreign === undefined
    ? undefined
    : `its annotation ${annotations.addresses} holds Connection ${foreign}, which its annotation ${annotations.connections} does not name`;
}

/** What cannot be read grants nothing: whoever reads the map for a grant says why. */
function connectionsIn(addresses: string): readonly string[] {
  try {
    return parseAddressMap(addresses).connections.map(({ connection }) => connection);
  } catch {
    return [];
  }
}

function variable(container: unknown, name: string): string {
  const found = objectsAt(container, "env").find((entry) => nameOf(entry) === name);
  return textAt(found, "value") ?? "";
}
