// What injection adds to the agent's own containers: variables that point at the proxy, and the roots that make it trusted.
import type { AddressMap } from "../../contract/addresses.ts";
import { trustEnvironment } from "../../contract/trust.ts";
import type { Connection } from "../../crds/types.gen.ts";
import { connectionName } from "../connections/endpoint.ts";
import { isJsonObject, listAt, textAt, type JsonObject } from "../kube/objects.ts";
import { injectedEnvironment, proxyVariables } from "./environment.ts";
import { trustDirectory, trustFile, volumeNames } from "./names.ts";
import { nameOf, objectsAt } from "./pod.ts";

export interface AgentEnvironment {
  readonly variables: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
}

/** Of all connections together; where two want one variable, the first by name has it. */
export function agentEnvironment(
  connections: readonly Connection[],
  addresses: AddressMap,
): AgentEnvironment {
  const variables = new Map<string, string>();
  const owners = new Map<string, string>();
  const warnings: string[] = [];
  for (const entry of addresses.connections) {
    const connection = connections.find((one) => connectionName(one) === entry.connection);
    if (connection === undefined) continue;
    const wanted = injectedEnvironment(connection, entry, addresses.interception);
    for (const [name, value] of Object.entries(wanted)) {
      const owner = owners.get(name);
      if (owner === undefined) {
        owners.set(name, entry.connection);
        variables.set(name, value);
      } else if (variables.get(name) !== value) {
        warnings.push(
          `Connections ${owner} and ${entry.connection} both inject ${name}; the pod gets that of ${owner}`,
        );
      }
    }
  }
  for (const [name, value] of Object.entries(
    addresses.forwardProxy === undefined ? {} : proxyVariables(addresses.forwardProxy),
  ))
    if (!variables.has(name)) variables.set(name, value);
  for (const [name, value] of Object.entries(trustEnvironment(trustFile, addresses.forwardProxy)))
    if (!variables.has(name)) variables.set(name, value);
  return { variables, warnings };
}

/** The container with our variables and the trust bundle; what it says itself stays. */
export function equipped(
  container: JsonObject,
  { variables }: AgentEnvironment,
): { readonly container: JsonObject; readonly warnings: readonly string[] } {
  const env = listAt(container, "env");
  const own = new Map(env.filter(isJsonObject).map((entry) => [nameOf(entry), entry] as const));
  const warnings: string[] = [];
  const added: JsonObject[] = [];
  for (const [name, plain] of variables) {
    const value = literal(plain);
    const set = own.get(name);
    if (set === undefined) added.push({ name, value });
    else if (textAt(set, "value") !== value)
      warnings.push(
        `container ${nameOf(container)} sets ${name} itself and keeps it; what injection would write there does not count`,
      );
  }
  const mounts = listAt(container, "volumeMounts");
  const hasTrust = objectsAt(container, "volumeMounts").some(
    (mount) => nameOf(mount) === volumeNames.trust && textAt(mount, "mountPath") === trustDirectory,
  );
  return {
    warnings,
    container: {
      ...container,
      // In front, so that variables of the container's own may refer to ours.
      env: [...added, ...env],
      volumeMounts: hasTrust
        ? mounts
        : [...mounts, { name: volumeNames.trust, mountPath: trustDirectory, readOnly: true }],
    },
  };
}

/** The kubelet expands `$(NAME)` in values; a doubled dollar sign is one. */
function literal(value: string): string {
  return value.replaceAll("$(", "$$$$(");
}
