// Sends the names that agents dial to the proxy's addresses: hostAliases, and the sysctl that lets it listen on low ports.
import type { AddressMap } from "../../contract/addresses.ts";
import { fieldAt, isJsonObject, listAt, textAt, type JsonObject } from "../kube/objects.ts";
import { objectsAt } from "./pod.ts";

const lowPortSysctl = "net.ipv4.ip_unprivileged_port_start";
const firstUnprivilegedPort = 1024;

/** 127.0.64.0/18: nobody but injection sends names there. */
const proxyAddress = /^127\.0\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.\d{1,3}$/;

export function hostAliases(
  pod: JsonObject,
  addresses: AddressMap,
): { readonly aliases: readonly unknown[]; readonly warnings: readonly string[] } {
  // Under redirect the proxy's DNS says it, and a name of the pod's own that says otherwise leads nowhere.
  const isRedirected = addresses.interception === "redirect";
  const names = new Map(
    addresses.connections.flatMap(({ hosts }) =>
      hosts.map(({ name, address }) => [name, address] as const),
    ),
  );
  const warnings: string[] = [];
  const theirs = objectsAt(pod, "spec", "hostAliases").flatMap((alias) => {
    if (proxyAddress.test(textAt(alias, "ip") ?? "")) return [];
    const listed = listAt(alias, "hostnames");
    const taken = listed.filter((name) => typeof name === "string" && names.has(name));
    if (taken.length === 0) return [alias];
    warnings.push(`spec.hostAliases gives way to the proxy for ${taken.join(", ")}`);
    const hostnames = listed.filter((name) => !taken.includes(name));
    return hostnames.length === 0 ? [] : [{ ...alias, hostnames }];
  });
  return {
    aliases: [
      ...(isRedirected ? [] : [...names].map(([name, ip]) => ({ ip, hostnames: [name] }))),
      ...theirs,
    ],
    warnings,
  };
}

/** The pod's security context, with low ports open when the proxy has to listen on one. The sysctl is one of Kubernetes' safe ones. */
export function withLowPorts(pod: JsonObject, addresses: AddressMap): unknown {
  const context = fieldAt(pod, "spec", "securityContext");
  if (addresses.interception !== "hosts") return context;
  const ports = addresses.connections.flatMap(({ hosts, port }) =>
    hosts.length > 0 ? [port] : [],
  );
  const lowest = Math.min(firstUnprivilegedPort, ...ports);
  if (lowest >= firstUnprivilegedPort) return context;
  const sysctls = listAt(context, "sysctls");
  const set = sysctls.find((entry) => textAt(entry, "name") === lowPortSysctl);
  if (set !== undefined && Number(textAt(set, "value")) <= lowest) return context;
  return {
    ...(isJsonObject(context) ? context : {}),
    sysctls: [...sysctls.filter((entry) => entry !== set), { name: lowPortSysctl, value: "0" }],
  };
}
