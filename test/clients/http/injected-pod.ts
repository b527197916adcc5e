// What injection makes of a plain agent pod: the environment of its container, the names it resolves, and the plan of addresses.
import fastJsonPatch from "fast-json-patch";
import type { Control } from "../../../cli/dev/control.ts";
import { parseAddressMap, type AddressMap } from "../../../contract/addresses.ts";
import { settings } from "../../../operator/injection/fixture.ts";
import { inject } from "../../../operator/injection/inject.ts";
import { annotations, injectLabel, trustDirectory } from "../../../operator/injection/names.ts";
import { annotationOf, objectsAt } from "../../../operator/injection/pod.ts";
import { isJsonObject, textAt, type JsonObject } from "../../../operator/kube/objects.ts";

export interface Injected {
  readonly env: Readonly<Record<string, string>>;
  readonly addresses: AddressMap;
  readonly trustDirectory: string;
}

/** @param asked annotations of the pod */
export function injectedPod(
  { view, namespace }: Pick<Control, "view" | "namespace">,
  asked: Readonly<Record<string, string>>,
): Injected {
  const pod: JsonObject = {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: "agent",
      labels: { [injectLabel]: "true" },
      annotations: asked,
    },
    spec: { containers: [{ name: "agent", image: "agent" }] },
  };
  const decision = inject(pod, { namespace, settings, view });
  if (decision.kind !== "patch") throw new Error(`the pod was not injected: ${decision.message}`);
  const patched: unknown = fastJsonPatch.applyPatch(structuredClone(pod), [
    ...decision.patch,
  ]).newDocument;
  if (!isJsonObject(patched)) throw new Error("the patched pod is no object");
  const [container] = objectsAt(patched, "spec", "containers");
  return {
    env: Object.fromEntries(
      objectsAt(container, "env").map((entry) => [
        textAt(entry, "name") ?? "",
        textAt(entry, "value") ?? "",
      ]),
    ),
    addresses: parseAddressMap(annotationOf(patched, annotations.addresses) ?? ""),
    trustDirectory,
  };
}
