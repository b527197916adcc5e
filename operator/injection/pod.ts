// Reads a pod as raw JSON, so that fields newer than this program survive injection untouched.
import { isJsonObject, listAt, textAt, type JsonObject } from "../kube/objects.ts";
import { containerNames, proxyContainerName } from "./names.ts";

export interface PlacedContainer {
  /** As a person finds it: `spec.containers[0]`. */
  readonly where: string;
  readonly list: "containers" | "initContainers" | "ephemeralContainers";
  readonly container: JsonObject;
}

const lists = ["initContainers", "containers", "ephemeralContainers"] as const;

export function containersOf(pod: JsonObject): readonly PlacedContainer[] {
  return lists.flatMap((list) =>
    objectsAt(pod, "spec", list).map((container, index) => ({
      where: `spec.${list}[${index}]`,
      list,
      container,
    })),
  );
}

/** All but the injected ones. */
export function agentContainers(pod: JsonObject): readonly PlacedContainer[] {
  return containersOf(pod).filter(
    ({ list, container }) =>
      list !== "initContainers" || !containerNames.includes(nameOf(container)),
  );
}

export function proxyContainerOf(pod: JsonObject): JsonObject | undefined {
  return objectsAt(pod, "spec", "initContainers").find(
    (container) => nameOf(container) === proxyContainerName,
  );
}

export function volumesOf(pod: JsonObject): readonly JsonObject[] {
  return objectsAt(pod, "spec", "volumes");
}

export function annotationOf(pod: JsonObject, name: string): string | undefined {
  return textAt(pod, "metadata", "annotations", name);
}

export function objectsAt(value: unknown, ...path: readonly string[]): readonly JsonObject[] {
  return listAt(value, ...path).filter(isJsonObject);
}

export function nameOf(object: JsonObject): string {
  return textAt(object, "name") ?? "";
}
