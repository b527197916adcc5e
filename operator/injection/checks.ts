// What a pod may not be if its proxy is to stand between the agent and its targets: pure checks in order, the first that speaks refuses.
import { dnsPort, redirectPort } from "../../contract/redirect.ts";
import { podAudience } from "../../contract/control.ts";
import type { Connection } from "../../crds/types.gen.ts";
import { fieldAt, listAt, textAt, type JsonObject } from "../kube/objects.ts";
import { credentialSecretsOf } from "../connections/credential-secrets.ts";
import { secretsNamed } from "../kube/pod-secrets.ts";
import { annotations, containerNames, ourVolumes, trustDirectory, volumeNames } from "./names.ts";
import {
  agentContainers,
  annotationOf,
  containersOf,
  nameOf,
  objectsAt,
  volumesOf,
} from "./pod.ts";
import { refusal, type Refusal } from "./reasons.ts";
import { adminPort } from "./template.ts";

type Check = (pod: JsonObject, uid: number) => Refusal | undefined;

const checks: readonly Check[] = [
  ownNetwork,
  ownProcesses,
  onLinux,
  containerNamesAreOurs, // or the proxy's container would be the author's
  volumeNamesAreOurs,
  uidIsOurs, // or the agent could read the proxy's memory and files
  volumesAreOurs,
  trustPathIsOurs,
  audienceIsOurs, // or the agent could ask for grants itself
  noOtherMesh, // or neither proxy could listen
  portsAreOurs, // or the proxy could not
];

/** `uid`: the proxy's. */
export function checkPod(pod: JsonObject, uid: number): Refusal | undefined {
  for (const check of checks) {
    const refused = check(pod, uid);
    if (refused !== undefined) return refused;
  }
  return undefined;
}

/** Written by an earlier round of this very admission: injection brings it up to date instead of refusing it. */
export function wasInjected(pod: JsonObject): boolean {
  return annotationOf(pod, annotations.version) !== undefined;
}

function ownNetwork(pod: JsonObject): Refusal | undefined {
  return fieldAt(pod, "spec", "hostNetwork") === true
    ? refusal("HostNetwork", "spec.hostNetwork")
    : undefined;
}

function ownProcesses(pod: JsonObject): Refusal | undefined {
  if (fieldAt(pod, "spec", "hostPID") === true) return refusal("HostPID", "spec.hostPID");
  return fieldAt(pod, "spec", "shareProcessNamespace") === true
    ? refusal("ShareProcessNamespace", "spec.shareProcessNamespace")
    : undefined;
}

function onLinux(pod: JsonObject): Refusal | undefined {
  return textAt(pod, "spec", "os", "name") === "windows"
    ? refusal("Windows", "spec.os.name")
    : undefined;
}

function containerNamesAreOurs(pod: JsonObject): Refusal | undefined {
  const found = containersOf(pod).find(({ list, container }) => {
    const name = nameOf(container);
    // Injection writes its own anew, and drops those that the pod has no use for.
    const isOurs = list === "initContainers" && wasInjected(pod);
    return containerNames.includes(name) && !isOurs;
  });
  return found && refusal("ContainerName", `${found.where}.name`);
}

function volumeNamesAreOurs(pod: JsonObject): Refusal | undefined {
  if (wasInjected(pod)) return undefined;
  const index = volumesOf(pod).findIndex((volume) => ourVolumes.includes(nameOf(volume)));
  return index < 0 ? undefined : refusal("VolumeName", `spec.volumes[${index}].name`);
}

function uidIsOurs(pod: JsonObject, uid: number): Refusal | undefined {
  if (fieldAt(pod, "spec", "securityContext", "runAsUser") === uid)
    return refusal("ProxyUid", "spec.securityContext.runAsUser");
  const found = agentContainers(pod).find(
    ({ container }) => fieldAt(container, "securityContext", "runAsUser") === uid,
  );
  return found && refusal("ProxyUid", `${found.where}.securityContext.runAsUser`);
}

function volumesAreOurs(pod: JsonObject): Refusal | undefined {
  for (const { where, container } of agentContainers(pod)) {
    const index = objectsAt(container, "volumeMounts").findIndex((mount) => !mayMount(mount));
    if (index >= 0) return refusal("ProxyVolume", `${where}.volumeMounts[${index}]`);
    const device = objectsAt(container, "volumeDevices").findIndex((entry) =>
      ourVolumes.includes(nameOf(entry)),
    );
    if (device >= 0) return refusal("ProxyVolume", `${where}.volumeDevices[${device}]`);
  }
  return undefined;
}

/** The trust bundle is for reading. */
function mayMount(mount: JsonObject): boolean {
  const name = nameOf(mount);
  return !ourVolumes.includes(name) || (name === volumeNames.trust && mount["readOnly"] === true);
}

function trustPathIsOurs(pod: JsonObject): Refusal | undefined {
  for (const { where, container } of agentContainers(pod)) {
    const index = objectsAt(container, "volumeMounts").findIndex(
      (mount) =>
        textAt(mount, "mountPath")?.replace(/\/+$/, "") === trustDirectory &&
        nameOf(mount) !== volumeNames.trust,
    );
    if (index >= 0) return refusal("MountPathTaken", `${where}.volumeMounts[${index}].mountPath`);
  }
  return undefined;
}

function audienceIsOurs(pod: JsonObject): Refusal | undefined {
  for (const [index, volume] of volumesOf(pod).entries()) {
    if (nameOf(volume) === volumeNames.token) continue; // replaced by injection, compared afterwards
    const source = listAt(volume, "projected", "sources").findIndex(
      (entry) => fieldAt(entry, "serviceAccountToken", "audience") === podAudience,
    );
    if (source >= 0)
      return refusal(
        "ProxyAudience",
        `spec.volumes[${index}].projected.sources[${source}].serviceAccountToken.audience`,
      );
  }
  return undefined;
}

/** As Istio's injector names it, whether beside the agent's containers or a native sidecar among its init containers. */
const meshContainer = "istio-proxy";

function noOtherMesh(pod: JsonObject): Refusal | undefined {
  const found = agentContainers(pod).find(({ container }) => nameOf(container) === meshContainer);
  return found && refusal("MeshSidecar", `${found.where}.name`);
}

function portsAreOurs(pod: JsonObject): Refusal | undefined {
  const isRedirected = annotationOf(pod, annotations.interception) === "redirect";
  const taken: readonly unknown[] = [adminPort, ...(isRedirected ? [redirectPort, dnsPort] : [])];
  for (const { where, container } of agentContainers(pod)) {
    const index = objectsAt(container, "ports").findIndex((port) =>
      taken.includes(port["containerPort"]),
    );
    if (index >= 0) return refusal("ProxyPort", `${where}.ports[${index}].containerPort`);
  }
  return undefined;
}

/** A pod can only name Secrets of its own namespace; those of its Connections are for the proxy. */
export function checkSecrets(
  pod: JsonObject,
  connections: readonly Connection[],
): Refusal | undefined {
  const owners = new Map(
    connections.flatMap((connection) =>
      credentialSecretsOf(connection).map((secret) => [secret, connection.metadata.name] as const),
    ),
  );
  if (owners.size === 0) return undefined;
  for (const { where, secret } of secretsNamed(pod)) {
    const connection = owners.get(secret);
    if (connection !== undefined)
      return refusal(
        "ConnectionSecret",
        `${where} names Secret ${secret} of Connection ${connection}`,
      );
  }
  return undefined;
}
