// Which Connections a pod gets: all of its namespace, or those its annotation names, which alone may name another namespace's.
import type { Connection } from "../../crds/types.gen.ts";
import { compilePattern, matches } from "../../policy/pattern.ts";
import { connectionName } from "../connections/endpoint.ts";
import type { JsonObject } from "../kube/objects.ts";
import type { ResourceView } from "../resources.ts";
import { annotations } from "./names.ts";
import { annotationOf } from "./pod.ts";
import { refusal, type Refusal } from "./reasons.ts";

export type ConnectionView = Pick<ResourceView, "connection" | "connectionsIn">;

/** More names than any pod may have connections, and no more work than that. */
const maxAnnotationLength = 64 * 1024;

const namePattern = /^(?:[a-z0-9]([-a-z0-9]*[a-z0-9])?\/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;

export function chosenConnections(
  pod: JsonObject,
  namespace: string,
  view: ConnectionView,
): { readonly connections: readonly Connection[] } | { readonly refused: Refusal } {
  const annotation = annotationOf(pod, annotations.connections);
  if (annotation === undefined) return { connections: view.connectionsIn(namespace) };
  const where = `metadata.annotations["${annotations.connections}"]`;
  if (annotation.length > maxAnnotationLength)
    return { refused: refusal("ConnectionsMalformed", where) };
  const chosen = new Map<string, Connection>();
  for (const name of annotation.split(",").map((part) => part.trim())) {
    if (name === "") continue; // a comma at the end, or an annotation that asks for none
    if (!namePattern.test(name))
      return { refused: refusal("ConnectionsMalformed", `${where} "${name.slice(0, 100)}"`) };
    const [within, local] = name.includes("/") ? name.split("/") : [namespace, name];
    const connection = view.connection(within ?? "", local ?? "");
    if (connection === undefined)
      return { refused: refusal("ConnectionNotFound", `${where} ${name}`) };
    if (!admits(connection, namespace))
      return { refused: refusal("ConnectionNotAllowed", `${where} ${name}`) };
    chosen.set(connectionName(connection), connection);
  }
  return { connections: [...chosen.values()] };
}

function admits({ metadata, spec }: Connection, namespace: string): boolean {
  return (
    metadata.namespace === namespace ||
    (spec.allowedNamespaces ?? []).some((pattern) => matches(compilePattern(pattern), namespace))
  );
}
